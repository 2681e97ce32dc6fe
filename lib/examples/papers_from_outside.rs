//! The papers and the room of post-training quantisation, compiled as somebody else's crate: they may use what a user of
//! the library can use, and nothing else.
//!
//! `crate::NAME` in `lib/src/papers/` and `lib/src/ptq/` resolves to the library's public `NAME` here, so a path or a
//! method that only the library itself can see ends the build of this program, and with it the tests. Not seen: their own
//! `#[cfg(test)]` modules, which may look behind the doors, and public items that no documentation mentions.

#![allow(dead_code, unused_imports, reason = "nobody calls the papers here")]

pub use rebit::*;

#[path = "../src/papers/mod.rs"]
pub mod papers;
#[path = "../src/ptq/mod.rs"]
pub mod ptq;

fn main() {}
