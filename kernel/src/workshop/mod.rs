//! The prebuilt library: where it lives, when it is stale, how a session gets it in a moment.
//!
//! The library is compiled once, at optimisation level 3 (another: [`LEVEL`]), into `CACHE/KEY/base`, a finished session
//! folder. Beside it stands the *recipe*: the arguments with which cargo called rustc for the cell
//! crate. A session compiles its cells by that recipe against the finished library where it lies, so it
//! neither copies nor compiles anything, and cargo runs only for further dependencies ([`shim`]).
//!
//! | file | what is in it | stands on |
//! |---|---|---|
//! | `tools`, `features`, `key` | what a build depends on | |
//! | [`cargo`] | the real cargo with evcxr's settings | |
//! | `prepared` | a compiled library | `tools`, `features` |
//! | `interface` | what cells can see of the library's dependencies | |
//! | `crates` | which crates the library consists of | `cargo`, `prepared` |
//! | `link` | folders of artefacts, by links | |
//! | `recipe` | how cargo calls rustc for a cell | |
//! | `lean` | what rustc searches and calls for a cell | `recipe`, `tools` |
//! | `seal` | whether a finished build is still as it was made | `lean` |
//! | [`hidden`] | code that evcxr's analyser need not read | |
//! | [`session_files`] | what lies in a session's folder | `prepared` |
//! | `externs` | where the compiled crates of that interface lie | `cargo`, `interface` |
//! | `build`, `cache` | compiling the library, finding it again | all of these |
//! | `folder` | the folder of a session | `cargo`, `session_files` |
//! | [`shim`] | our cargo and rustup, which sessions call | all but `build`, `cache`, `folder` |

mod build;
mod cache;
pub mod cargo;
mod crates;
mod externs;
mod features;
mod folder;
pub mod hidden;
mod interface;
mod key;
mod lean;
mod link;
mod prepared;
mod recipe;
mod seal;
pub mod session_files;
pub mod shim;
mod tools;

pub use cache::{is_prepared, prepare};
pub use crates::version_in_library;
pub use features::{FEATURES, Features, LEVEL};
pub use folder::{SessionFolder, home};
pub use interface::{NAMED_BY_CELLS, cut_down};
pub use prepared::{BuildProgress, Prepared};
pub use tools::{Tools, environment};
