//! What lies in the folder of a session, beside the cell crate.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Prepared, Tools};
use crate::error::Result;
use crate::files;

/// Environment: the folder whose tools a process uses ([`super::home`]).
pub const SESSION: &str = "REBIT_SESSION";
/// What the tools of a session know.
pub const SETTINGS: &str = "rebit.json";
/// The last cell as evcxr generated it.
pub const GENERATED: &str = "generated.rs";
/// The names of the items that the next cell defines.
pub const FRESH: &str = "fresh";
/// Names that are imported from a module of the user's before all globs, with the module.
pub const PREFERRED: &str = "preferred.json";
/// While this file is there, `check` says nothing.
pub const NO_CHECK: &str = "no-check";
/// While this file is there, a cell that did not compile is not compiled again for its message.
pub const TOLD: &str = "told";
/// While this file is there, `check` names types in full.
pub const FULL_TYPES: &str = "full-types";
/// Lines of the real cargo that the session shows.
pub const BUILD_LOG: &str = "build.log";

/// What the names of macros begin with whose bodies are calls that make items: our `cargo` calls them.
pub const MADE: &str = "rebit_made_";
/// The body of a macro that only takes the place of an item: our `cargo` leaves it alone.
pub const GONE: &str = "rebit_gone";

/// What the tools of a session know.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Settings {
    /// The finished build.
    pub master: PathBuf,
    /// The line that makes the library a dependency.
    pub dependency: String,
    /// The tools it was built with.
    pub tools: Tools,
}

impl Settings {
    /// Those of a session that uses this build.
    pub fn new(prepared: &Prepared) -> Settings {
        Settings {
            master: prepared.master.clone(),
            dependency: prepared.dependency(),
            tools: prepared.tools.clone(),
        }
    }

    /// Those in a session's folder, if they are whole.
    pub fn read(session: &Path) -> Option<Settings> {
        serde_json::from_slice(&fs::read(session.join(SETTINGS)).ok()?).ok()
    }

    /// Writes them into a session's folder.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, session: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).expect("plain data");
        files::write(&session.join(SETTINGS), &text)
    }
}

/// The folders of all sessions that use a cache, dead ones too.
pub fn session_folders(cache: &Path) -> Vec<PathBuf> {
    fs::read_dir(cache.join("sessions"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}
