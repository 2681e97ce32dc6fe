//! Completion and help, from a second context in a process of its own.
//!
//! It knows the real standard library (several seconds and several hundred megabytes), so it is
//! started on the first request, and it answers also while a cell runs.

use crate::error::{Error, Result};
use crate::workshop::Prepared;

/// One way to complete the text before the cursor.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Completion {
    /// What to insert between `start` and `end`.
    pub text: String,
    /// What to show in a list.
    pub label: String,
    /// Jupyter's kind: `function`, `module`, `keyword`, `instance`, `magic`, ...
    pub kind: String,
}

/// All completions at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Completions {
    /// First byte of the cell that is replaced.
    pub start: usize,
    /// Byte after the last one that is replaced.
    pub end: usize,
    /// The candidates.
    pub items: Vec<Completion>,
}

/// Help for one place in a cell.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Help {
    /// Signature and documentation as plain text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
}

/// The second context; it can be asked while a cell runs.
pub struct Analyser {
    _private: (),
}

impl Analyser {
    /// Starts the process; it becomes ready in the background.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(library: &Prepared) -> Result<Analyser> {
        let _ = library;
        Err(Error::Session("not built yet".to_string()))
    }

    /// Whether it can answer at once.
    pub fn ready(&self) -> bool {
        false
    }

    /// Completions at byte `cursor` of `code`, in a session described by `preamble`
    /// ([`Session::preamble`](super::Session::preamble)).
    ///
    /// # Errors
    /// When the process has ended.
    pub fn complete(&mut self, preamble: &str, code: &str, cursor: usize) -> Result<Completions> {
        let _ = (preamble, code, cursor);
        Ok(Completions::default())
    }

    /// Help for the name at byte `cursor` of `code`; `None` when there is none.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn inspect(&mut self, preamble: &str, code: &str, cursor: usize) -> Result<Option<Help>> {
        let _ = (preamble, code, cursor);
        Ok(None)
    }
}
