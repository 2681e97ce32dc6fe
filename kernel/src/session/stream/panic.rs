//! A panic of a cell, or an error that a `?` ended it with, and where it happened.

use std::path::PathBuf;

/// A panic as the library reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct PanicReport {
    /// Its message.
    pub message: String,
    /// The thread, unless it is the cells' own.
    #[serde(default)]
    pub thread: Option<String>,
    /// Where it happened.
    #[serde(flatten)]
    pub place: Place,
}

/// An error that a `?` ended a cell with.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct ErrorReport {
    /// Its message.
    pub text: String,
    /// Where the `?` stands.
    #[serde(flatten)]
    pub place: Place,
}

/// A place in the sources that were compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct Place {
    /// Source file; empty when it is not known.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// The calls in cells that led to a place elsewhere, innermost first.
    pub calls: Vec<Call>,
}

/// A call in a compiled cell.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Call {
    /// The cell's library.
    pub file: PathBuf,
    /// The address there.
    pub address: u64,
}

impl PanicReport {
    /// As Rust itself prints it, with the place as the reader knows it.
    pub fn text(&self, place: &str) -> String {
        let thread = match &self.thread {
            Some(name) => format!("thread '{name}'"),
            None => "thread".to_string(),
        };
        format!("{thread} panicked at {place}:\n{}\n", self.message)
    }
}
