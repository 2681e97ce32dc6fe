//! The papers, compiled as somebody else's crate: a paper may use what a user of the library can use, and nothing else.
//!
//! `crate::NAME` in `lib/src/papers/` resolves to the library's public `NAME` here, so a path or a method that only the
//! library itself can see ends the build of this program, and with it the tests. Not seen: the papers' own `#[cfg(test)]`
//! modules, which may look behind the doors, and public items that no documentation mentions.

#![allow(dead_code, unused_imports, reason = "nobody calls the papers here")]

pub use rebit::*;

#[path = "../src/papers/mod.rs"]
pub mod papers;

fn main() {}
