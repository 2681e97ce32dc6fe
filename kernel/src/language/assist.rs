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

/// Starts an assistant, which becomes ready in the background.
pub type StartAssistant = Box<dyn Fn() -> Result<Box<dyn Assistant>> + Send>;

/// Answers from what is known and, once it is ready, from an assistant.
#[derive(Default)]
pub struct Answers {
    start: Option<StartAssistant>,
    assistant: Option<Box<dyn Assistant>>,
}

impl Answers {
    /// Answers with the help of an assistant, which is started now so that it is ready when somebody asks.
    pub fn new(start: StartAssistant) -> Answers {
        let mut answers = Answers {
            start: Some(start),
            assistant: None,
        };
        answers.ready();
        // A front end waits a second for names, and on a slow machine reading them all takes that long.
        index::read_library();
        answers
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
        let index = index::library();
        let found = known::inspect(known, index, code, cursor);
        if known::is_command(code, cursor) {
            return found;
        }
        // Of a type the assistant shows private fields and no methods.
        if known::is_library_type(known, index, code, cursor) {
            return found;
        }
        self.ask(known, code, cursor).map(bundle).or(found)
    }

    /// Help for a name given as text (`quant::round`, `a.shape`, `println`).
    pub fn describe(&mut self, known: &Known, name: &str) -> Option<Bundle> {
        let name = name.trim().trim_end_matches(['!', '(', ')', ';']);
        if name.is_empty() || name.starts_with(':') {
            return known::describe_name(known, index::library(), name);
        }
        // The name of a macro or a type is no expression.
        let as_type = format!("let _: {name}");
        [name, &format!("{name}!()"), &as_type]
            .into_iter()
            .find_map(|code| {
                let end = code.find(name)? + name.len();
                self.inspect(known, code, end)
            })
    }

    fn ask(&mut self, known: &Known, code: &str, cursor: usize) -> Option<Help> {
        let help = self.ready()?.inspect(&known.preamble, code, cursor);
        help.unwrap_or_else(|e| {
            self.lose(&e);
            None
        })
    }

    /// The assistant, if it can answer at once; one that went away is started again.
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
        ("text/markdown".to_string(), help.markdown.into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Ready, and gone with its first question.
    struct Brief;

    impl Assistant for Brief {
        fn ready(&self) -> bool {
            true
        }
        fn complete(&mut self, _: &str, _: &str, _: usize) -> Result<Completions> {
            Err(crate::Error::Session("gone".to_string()))
        }
        fn inspect(&mut self, _: &str, code: &str, _: usize) -> Result<Option<Help>> {
            Ok(code.ends_with("!()").then(|| Help {
                text: "a macro".to_string(),
                markdown: "a *macro*".to_string(),
            }))
        }
    }

    #[test]
    fn the_assistant_starts_before_anybody_asks_and_again_when_it_is_gone() {
        let started = Arc::new(AtomicUsize::new(0));
        let count = started.clone();
        let mut answers = Answers::new(Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(Box::new(Brief))
        }));
        assert_eq!(started.load(Ordering::SeqCst), 1);
        let found = answers.complete(&Known::default(), "rand", 4);
        assert!(
            found.items.iter().any(|item| item.text == "randn"),
            "{found:?}"
        );
        let known = Known::default();
        assert_eq!(
            answers.describe(&known, "no_such").unwrap()["text/plain"],
            "a macro"
        );
        assert_eq!(started.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn types_are_described_with_what_belongs_to_them() {
        let mut answers = Answers::default();
        let found = answers.describe(&Known::default(), "Net").unwrap();
        let text = found["text/plain"].as_str().unwrap();
        assert!(text.starts_with("pub struct Net"), "{text}");
        assert!(text.contains("\n- `fn predict("), "{text}");
    }
}
