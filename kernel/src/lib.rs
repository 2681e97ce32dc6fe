//! The rebit kernel: sessions of compiled cells, and the front ends that use them.

pub mod analyser;
mod depth;
pub mod doctor;
pub mod error;
pub mod files;
pub mod folders;
pub mod install;
pub mod jupyter;
pub mod language;
pub mod notebook;
mod orphans;
pub mod output;
mod priority;
pub mod render;
pub mod repl;
pub mod session;
pub mod supervisor;
mod terminal;
pub mod workshop;

pub use error::{Error, Result};

/// The value inside a lock; a panic elsewhere never spoils it, since every change is a single step.
pub fn locked<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The program that plays the parts of our children: this one, or `REBIT_EXE` where this one is a test.
pub fn executable() -> Result<std::path::PathBuf> {
    match std::env::var_os("REBIT_EXE") {
        Some(path) => Ok(path.into()),
        None => std::env::current_exe()
            .map(replaced)
            .map_err(|e| Error::io("this program", e)),
    }
}

/// Of a program that was installed anew while it runs: the new one, where the old one was.
fn replaced(path: std::path::PathBuf) -> std::path::PathBuf {
    let name = path.to_string_lossy();
    match name.strip_suffix(" (deleted)").map(std::path::Path::new) {
        Some(new) if new.is_file() => new.to_path_buf(),
        _ => path,
    }
}
