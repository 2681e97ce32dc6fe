//! Completion and help from what is known at once and, where it runs, from an analyser.

use super::known::{self, Known};
use super::{Completions, Help, index};
use crate::error::Result;
use crate::output::Bundle;

/// Answers questions about code, also while a cell runs.
pub trait Assistant: Send {
    /// Whether it can answer at once.
    fn ready(&self) -> bool;
    /// Completions at a byte of the cell, in a session described by `preamble`.
    ///
    /// # Errors
    /// When it is gone or takes too long.
    fn complete(&mut self, preamble: &str, code: &str, cursor: usize) -> Result<Completions>;
    /// Help for the name at a byte of the cell.
    ///
    /// # Errors
    /// When it is gone or takes too long.
    fn inspect(&mut self, preamble: &str, code: &str, cursor: usize) -> Result<Option<Help>>;
}

/// Starts an assistant in the background.
pub type StartAssistant = Box<dyn Fn() -> Result<Box<dyn Assistant>> + Send>;

/// Answers from what is known and, once it runs, from the assistant.
#[derive(Default)]
pub struct Answers {
    start: Option<StartAssistant>,
    assistant: Option<Box<dyn Assistant>>,
}

impl Answers {
    /// Answers with the help of an assistant that is started when somebody first asks.
    pub fn new(start: Option<StartAssistant>) -> Answers {
        Answers {
            start,
            assistant: None,
        }
    }

    /// Everything that may stand at byte `cursor`.
    pub fn complete(&mut self, known: &Known, code: &str, cursor: usize) -> Completions {
        let found = known::complete(known, index::library(), code, cursor);
        // Commands are ours; for Rust the assistant knows more.
        let ours = found.items.iter().any(|item| item.text.starts_with(':'));
        if !ours && let Some(assistant) = self.ready() {
            match assistant.complete(&known.preamble, code, cursor) {
                Ok(better) if !better.items.is_empty() => return better,
                Ok(_) => {}
                Err(e) => self.lose(&e),
            }
        }
        found
    }

    /// Help for the name at byte `cursor`.
    pub fn inspect(&mut self, known: &Known, code: &str, cursor: usize) -> Option<Bundle> {
        if let Some(found) = known::inspect(known, index::library(), code, cursor) {
            return Some(found);
        }
        let help = self.ready()?.inspect(&known.preamble, code, cursor);
        help.unwrap_or_else(|e| {
            self.lose(&e);
            None
        })
        .map(bundle)
    }

    /// The assistant, if it can answer at once; the first call starts it.
    fn ready(&mut self) -> Option<&mut Box<dyn Assistant>> {
        if self.assistant.is_none()
            && let Some(start) = &self.start
        {
            match start() {
                Ok(assistant) => self.assistant = Some(assistant),
                Err(e) => {
                    log::warn!("the analyser did not start: {e}");
                    self.start = None;
                }
            }
        }
        self.assistant.as_mut().filter(|a| a.ready())
    }

    fn lose(&mut self, error: &dyn std::fmt::Display) {
        log::warn!("the analyser went away: {error}; a new one starts at the next request");
        self.assistant = None;
    }
}

fn bundle(help: Help) -> Bundle {
    Bundle::from([
        ("text/plain".to_string(), help.text.into()),
        ("text/html".to_string(), help.html.into()),
    ])
}
