//! Tests of rebit from outside, in `tests/*.rs`, and what they need of the repository.

use std::path::PathBuf;

pub mod readme;

/// The program to test: that of `REBIT_BIN`, else the one that was built beside the tests.
pub fn rebit() -> PathBuf {
    if let Some(path) = std::env::var_os("REBIT_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap().parent().unwrap();
    let path = folder.join("rebit");
    assert!(
        path.is_file(),
        "{} is missing: build it first (cargo build --release --bin rebit)",
        path.display()
    );
    path
}
