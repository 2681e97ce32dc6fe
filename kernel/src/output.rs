//! What a running cell says: text, figures, progress, claims, and how it ended.
//!
//! [`Session::execute`](crate::session::Session::execute) hands these to its caller *while the cell
//! runs*; Jupyter, the REPL and `rebit run` each turn them into their own form.

use std::collections::BTreeMap;

/// One value in several forms: MIME type to content (a string, or JSON for `application/*json`).
pub type Bundle = BTreeMap<String, serde_json::Value>;

/// Which of the two text streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamName {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl StreamName {
    /// The name Jupyter uses.
    pub fn as_str(self) -> &'static str {
        match self {
            StreamName::Stdout => "stdout",
            StreamName::Stderr => "stderr",
        }
    }
}

/// How far a long loop is.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// The bar: later messages with the same id replace earlier ones.
    pub id: String,
    /// What is being done.
    pub label: String,
    /// Steps done.
    pub done: u64,
    /// Steps in all, when known.
    pub total: Option<u64>,
    /// Steps per second, when known.
    pub rate: Option<f64>,
    /// Estimated seconds to the end, when known.
    pub eta_seconds: Option<f64>,
    /// Something to show beside the bar (a loss, an accuracy); may be empty.
    pub note: String,
    /// Whether the loop has ended.
    pub finished: bool,
}

/// A sentence of a paper, checked.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Claim {
    /// The sentence.
    pub text: String,
    /// Whether it holds here.
    pub holds: bool,
    /// Our figure.
    pub ours: String,
    /// The paper's figure.
    pub paper: String,
}

/// A sentence of a paper that is measured but not judged.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Finding {
    /// The sentence.
    pub text: String,
    /// Our figure.
    pub ours: String,
    /// The paper's figure.
    pub paper: String,
    /// Why the two differ.
    pub why: String,
}

/// One thing a cell says, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Text written to standard output or standard error; chunks follow the cell's own writes, not lines.
    Stream {
        /// Which stream.
        name: StreamName,
        /// The text; `\r` and escape sequences are kept.
        text: String,
    },
    /// A figure, table or other rich value.
    Display {
        /// With an id it can be replaced later by [`Output::UpdateDisplay`].
        id: Option<String>,
        /// Its forms.
        data: Bundle,
        /// Jupyter metadata.
        metadata: Bundle,
    },
    /// Replaces every display with this id.
    UpdateDisplay {
        /// Which display.
        id: String,
        /// Its new forms.
        data: Bundle,
        /// Jupyter metadata.
        metadata: Bundle,
    },
    /// Clears the outputs of this cell.
    ClearOutput {
        /// Only when the next output arrives.
        wait: bool,
    },
    /// A progress bar moved.
    Progress(Progress),
    /// A claim was checked.
    Claim(Claim),
    /// A finding was stated.
    Finding(Finding),
    /// The value of the cell's last expression.
    Result {
        /// Its forms; always has `text/plain`.
        data: Bundle,
        /// Jupyter metadata.
        metadata: Bundle,
    },
}

impl Output {
    /// Text on standard output.
    pub fn stdout(text: impl Into<String>) -> Self {
        Output::Stream {
            name: StreamName::Stdout,
            text: text.into(),
        }
    }

    /// Text on standard error.
    pub fn stderr(text: impl Into<String>) -> Self {
        Output::Stream {
            name: StreamName::Stderr,
            text: text.into(),
        }
    }
}

/// Why a cell did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// `E0308` and the like for compile errors (`error` when rustc gives no code), `panic`, `error` (a
    /// failed `?`, a refused command), `interrupted`, `crashed`.
    pub ename: String,
    /// One line: the message.
    pub evalue: String,
    /// The coloured report (ANSI), line by line, pointing into the cell.
    pub traceback: Vec<String>,
    /// Variables that existed before the cell and are gone now.
    pub lost: Vec<String>,
}

/// How a cell ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// It ran to its end.
    Ok {
        /// The value of its last expression, also sent as [`Output::Result`].
        value: Option<Bundle>,
    },
    /// It did not compile, panicked, returned an error, was interrupted or crashed.
    Error(Failure),
}

impl Reply {
    /// Whether the cell ran to its end.
    pub fn is_ok(&self) -> bool {
        matches!(self, Reply::Ok { .. })
    }
}
