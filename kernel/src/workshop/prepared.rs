//! A compiled library, and how far one is that is being compiled.

use std::path::{Path, PathBuf};

use super::{Features, Tools};
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
