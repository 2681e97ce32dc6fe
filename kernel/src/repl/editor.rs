//! The line editor: prompt, continuation, completion, history.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use reedline::{
    ColumnarMenu, Completer, DefaultHinter, EditCommand, Emacs, FileBackedHistory, KeyCode,
    KeyModifiers, MenuBuilder, Prompt, PromptEditMode, PromptHistorySearch,
    PromptHistorySearchStatus, Reedline, ReedlineEvent, ReedlineMenu, Span, Suggestion,
    ValidationResult, Validator, default_emacs_keybindings,
};

use super::highlight::Colours;
use crate::language::assist::Answers;
use crate::language::is_complete::{Completeness, judge};
use crate::language::known::Known;
use crate::locked;

/// Lines of history that are kept.
const HISTORY: usize = 10_000;

/// What completion knows; the loop renews it after each cell.
#[derive(Default)]
pub struct Knowledge {
    /// What the last cell left behind.
    pub known: Known,
    /// Answers from it, and from the assistant.
    pub answers: Arc<Mutex<Answers>>,
}

/// Completes what is being typed.
struct Tab(Arc<Mutex<Knowledge>>);

impl Completer for Tab {
    fn complete(&mut self, line: &str, cursor: usize) -> Vec<Suggestion> {
        let (known, answers) = {
            let knowledge = locked(&self.0);
            (knowledge.known.clone(), knowledge.answers.clone())
        };
        let found = locked(&answers).complete(&known, line, cursor);
        let span = Span::new(
            found.start.min(cursor),
            found.end.max(cursor).min(line.len()),
        );
        found
            .items
            .into_iter()
            .map(|item| Suggestion {
                value: item.text,
                description: (!item.label.is_empty()).then_some(item.label),
                span,
                ..Suggestion::default()
            })
            .collect()
    }
}

/// Lets Enter continue an unfinished cell.
struct Unfinished;

impl Validator for Unfinished {
    fn validate(&self, line: &str) -> ValidationResult {
        match judge(line) {
            Completeness::Incomplete(_) => ValidationResult::Incomplete,
            Completeness::Complete | Completeness::Invalid => ValidationResult::Complete,
        }
    }
}

/// `[3] >` and, for further lines, dots of the same width.
pub struct CellPrompt {
    /// The number of the cell that is being typed.
    pub number: usize,
}

impl Prompt for CellPrompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Owned(format!("[{}]", self.number))
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed(" > ")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        let width = self.number.to_string().len() + 2;
        Cow::Owned(format!("{} . ", " ".repeat(width)))
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        let failing = match search.status {
            PromptHistorySearchStatus::Passing => "",
            PromptHistorySearchStatus::Failing => "not found, ",
        };
        Cow::Owned(format!(" ({failing}search: {}) ", search.term))
    }
}

/// Where the typed cells are kept: beside the kernel's history.
fn history_file() -> Option<PathBuf> {
    let file = crate::folders::history_file()?.with_file_name("repl_history.txt");
    // As private as the kernel's.
    crate::jupyter::history::private_file(&file).ok()?;
    Some(file)
}

/// An editor that completes from `knowledge`.
pub fn editor(knowledge: Arc<Mutex<Knowledge>>) -> Reedline {
    let mut keys = default_emacs_keybindings();
    keys.add_binding(
        KeyModifiers::NONE,
        KeyCode::Tab,
        ReedlineEvent::UntilFound(vec![
            ReedlineEvent::Menu("completion".to_string()),
            ReedlineEvent::MenuNext,
        ]),
    );
    keys.add_binding(
        KeyModifiers::ALT,
        KeyCode::Enter,
        ReedlineEvent::Edit(vec![EditCommand::InsertNewline]),
    );
    let menu = ColumnarMenu::default().with_name("completion");
    let editor = Reedline::create()
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .with_completer(Box::new(Tab(knowledge)))
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(menu)))
        .with_quick_completions(true)
        .with_partial_completions(true)
        .with_highlighter(Box::new(Colours))
        .with_hinter(Box::new(DefaultHinter::default()))
        .with_validator(Box::new(Unfinished))
        .use_bracketed_paste(true);
    let history = history_file().map(|file| FileBackedHistory::with_file(HISTORY, file));
    match history {
        Some(Ok(history)) => editor.with_history(Box::new(history)),
        _ => editor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enter_continues_what_is_open() {
        let result = |line| matches!(Unfinished.validate(line), ValidationResult::Incomplete);
        assert!(result("for i in 0..3 {"));
        assert!(!result("1 + 1"));
        assert!(!result("let = ;"));
    }

    #[test]
    fn suggestions_replace_the_word_under_the_cursor() {
        let knowledge = Knowledge {
            known: Known {
                variables: vec![("zz_images".into(), "Images".into())],
                preamble: String::new(),
            },
            ..Knowledge::default()
        };
        let mut tab = Tab(Arc::new(Mutex::new(knowledge)));
        let found = tab.complete("f(zz_", 5);
        assert_eq!(found[0].value, "zz_images");
        assert_eq!((found[0].span.start, found[0].span.end), (2, 5));
    }
}
