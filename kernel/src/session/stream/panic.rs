//! A panic of a cell, and its place in the cell.

/// A panic as the library reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct PanicReport {
    /// Its message.
    pub message: String,
    /// Source file.
    #[serde(default)]
    pub file: String,
    /// Line, from 1.
    #[serde(default)]
    pub line: usize,
    /// Column, from 1.
    #[serde(default)]
    pub column: usize,
}

impl PanicReport {
    /// As Rust itself prints it.
    pub fn text(&self) -> String {
        let PanicReport {
            message,
            file,
            line,
            column,
        } = self;
        format!("thread panicked at {file}:{line}:{column}:\n{message}\n")
    }
}
