//! The prebuilt library: where it lives, when it is stale, how a session gets it in a moment.
//!
//! The library is compiled once, at optimisation level 3, into `CACHE/KEY/base`, a finished session
//! folder. Beside it stands the *recipe*: the arguments with which cargo called rustc for the cell
//! crate. A session compiles its cells by that recipe against the finished library where it lies, so it
//! neither copies nor compiles anything, and cargo runs only for further dependencies ([`shim`]).

mod answers;
pub mod build;
mod cache;
mod features;
mod folder;
mod key;
pub mod shim;
mod tools;

use std::path::{Path, PathBuf};

pub use cache::{cache_folder, is_prepared, prepare};
pub use features::{FEATURES, Features};
pub use folder::{SessionFolder, home};
pub use tools::{Tools, environment};

use crate::error::{Error, Result};

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
    /// The features it was built with.
    pub features: Features,
    /// The finished build that sessions start from; never written to.
    pub master: PathBuf,
    /// The tools it was built with.
    pub tools: Tools,
}

impl Prepared {
    /// Where the cells of a session find their shared libraries, whatever their relative paths say.
    ///
    /// # Errors
    /// When a folder's name contains a colon, or the session's folder cannot be written.
    pub fn search_path(&self, session: &Path) -> Result<std::ffi::OsString> {
        let artefacts = Path::new("target")
            .join(self.tools.host())
            .join("debug/deps");
        // The loader never again looks into a folder that was not there at first.
        let own = session.join(&artefacts);
        std::fs::create_dir_all(&own).map_err(|e| Error::io(&own, e))?;
        let ours = [
            own,
            self.master.join("base").join(&artefacts),
            self.tools.library_path(),
        ];
        let inherited = std::env::var_os("LD_LIBRARY_PATH");
        let inherited = inherited.iter().flat_map(std::env::split_paths);
        std::env::join_paths(ours.into_iter().chain(inherited))
            .map_err(|e| Error::Session(format!("LD_LIBRARY_PATH: {e}")))
    }

    /// The line that makes the library a dependency of the cells.
    pub fn dependency(&self) -> String {
        let path = self.library.display().to_string();
        match self.features.names() {
            [] => format!("rebit = {{ path = {path:?} }}"),
            names => format!("rebit = {{ path = {path:?}, features = {names:?} }}"),
        }
    }
}

/// The source folder of the library: `REBIT_LIBRARY`, else the one this binary was built beside.
pub fn library_folder() -> PathBuf {
    let folder = match std::env::var_os("REBIT_LIBRARY") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../lib"),
    };
    folder.canonicalize().unwrap_or(folder)
}
