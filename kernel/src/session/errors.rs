//! Compile errors as coloured reports that point into the cell.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Message, Renderer, Snippet, Title};
use evcxr::CompilationError;

use super::rewrite::Cell;
use crate::output::Failure;

const RED: &str = "\x1b[1;91m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

/// One marked piece of the cell.
struct Label {
    /// Its bytes.
    span: Range<usize>,
    text: String,
    primary: bool,
}

/// All errors of one compilation as one failure.
pub fn failure(errors: &[CompilationError], user: &str, cell: &Cell) -> Failure {
    let mut real: Vec<&CompilationError> =
        errors.iter().filter(|e| e.level() != "warning").collect();
    if real.is_empty() {
        real = errors.iter().collect();
    }
    let mut traceback = Vec::new();
    for error in &real {
        if !traceback.is_empty() {
            traceback.push(String::new());
        }
        traceback.extend(report(error, user, cell));
    }
    let first = real.first();
    Failure {
        ename: first
            .and_then(|e| e.code())
            .filter(|code| code.starts_with('E'))
            .unwrap_or("error")
            .to_string(),
        evalue: first.map(|e| e.message()).unwrap_or_default(),
        traceback,
        lost: Vec::new(),
    }
}

fn report(error: &CompilationError, user: &str, cell: &Cell) -> Vec<String> {
    let message = error.message();
    let mut title = Level::ERROR.primary_title(&message);
    if let Some(code) = error.code() {
        title = title.id(code);
    }
    let mut helps = error.help();
    helps.dedup();
    let mut below: Vec<_> = helps
        .into_iter()
        .map(|help| Level::HELP.message(help))
        .chain(notes(error).map(|note| Level::NOTE.message(note)))
        .collect();
    let hint = error.evcxr_extra_hint().or(match error.code() {
        Some("E0384" | "E0596") => {
            Some("a variable of an earlier cell becomes mutable with `let mut x = x;`")
        }
        _ => None,
    });
    below.extend(hint.map(|hint| Level::HELP.with_name("hint").message(hint)));
    render(title, &labels(error, user, cell), user, below)
}

/// A report with the marked lines of the cell and what there is to say below them.
fn render(title: Title<'_>, labels: &[Label], user: &str, below: Vec<Message<'_>>) -> Vec<String> {
    let marks = labels.iter().map(|label| {
        let kind = match label.primary {
            true => AnnotationKind::Primary,
            false => AnnotationKind::Context,
        };
        let text = Some(label.text.as_str()).filter(|text| !text.is_empty());
        kind.span(label.span.clone()).label(text)
    });
    let snippet = Snippet::source(user).path("cell").annotations(marks);
    let snippet = (!labels.is_empty()).then_some(snippet);
    let report = [title.elements(snippet).elements(below)];
    let text = Renderer::styled().render(&report);
    text.lines().map(str::to_string).collect()
}

/// The byte at a line and column (characters, both from 1) of a text; the nearest there is.
fn byte_at(text: &str, line: usize, column: usize) -> usize {
    let mut start = 0;
    for (number, content) in text.split_inclusive('\n').enumerate() {
        if number + 1 == line {
            let content = content.trim_end_matches(['\n', '\r']);
            let within = content.char_indices().nth(column.saturating_sub(1));
            return start + within.map_or(content.len(), |(at, _)| at);
        }
        start += content.len();
    }
    text.len()
}

fn labels(error: &CompilationError, user: &str, cell: &Cell) -> Vec<Label> {
    let place = |line, column| {
        let (line, column) = cell.original(line, column);
        byte_at(user, line, column)
    };
    let spans = error.spanned_messages().iter().filter_map(|message| {
        let span = message.span?;
        let start = place(span.start_line, span.start_column);
        let end = place(span.end_line, span.end_column);
        Some(Label {
            span: start..end.max(start),
            text: message.label.clone(),
            primary: message.is_primary,
        })
    });
    spans.collect()
}

fn notes(error: &CompilationError) -> impl Iterator<Item = &str> {
    error.json["children"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|child| child["level"] == "note")
        .filter_map(|child| child["message"].as_str())
        .filter(|text| !text.contains("evcxr") && !text.contains("#[warn("))
}

/// A message of evcxr or of ours as a failure.
pub fn plain(ename: &str, message: &str) -> Failure {
    let mut lines = message.trim().lines();
    let first = lines.next().unwrap_or_default().to_string();
    let mut traceback = vec![format!("{RED}{ename}{RESET}{BOLD}: {first}{RESET}")];
    traceback.extend(lines.map(str::to_string));
    Failure {
        ename: ename.to_string(),
        evalue: first,
        traceback,
        lost: Vec::new(),
    }
}

/// A panic: its message, and the place in the cell where it happened.
pub fn panic(message: &str, place: Option<(usize, usize)>, user: &str) -> Failure {
    let mut failure = plain("panic", message);
    if let Some((line, column)) = place {
        let start = byte_at(user, line, column);
        let length = user[start..].chars().next().map_or(0, char::len_utf8);
        let label = Label {
            span: start..start + length,
            text: "panicked here".to_string(),
            primary: true,
        };
        let title = Level::ERROR
            .with_name("panic")
            .primary_title(message.trim());
        failure.traceback = render(title, &[label], user, Vec::new());
    }
    failure
}

/// Adds what was lost to a failure.
pub fn with_lost(mut failure: Failure, lost: Vec<String>) -> Failure {
    if !lost.is_empty() {
        failure
            .traceback
            .push(format!("{RED}lost{RESET}: {}", lost.join(", ")));
    }
    failure.lost = lost;
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(lines: &[String]) -> Vec<String> {
        let bare = |line: &String| anstream::adapter::strip_str(line).to_string();
        lines.iter().map(bare).collect()
    }

    #[test]
    fn a_panic_points_at_its_line() {
        let failure = panic("boom", Some((2, 3)), "let a = 1;\n  f();");
        assert_eq!(
            bare(&failure.traceback),
            [
                "panic: boom",
                " --> cell:2:3",
                "  |",
                "2 |   f();",
                "  |   ^ panicked here",
            ]
        );
    }

    #[test]
    fn marks_stay_inside_their_line_and_stand_below_what_they_mark() {
        let user = "let \u{e4} = 1;\n\n\u{65e5}\u{672c} + f()\r\n";
        let label = |line, from, to, primary| Label {
            span: byte_at(user, line, from)..byte_at(user, line, to),
            text: "x".into(),
            primary,
        };
        let labels = [label(1, 5, usize::MAX, true), label(3, 6, 90, false)];
        let lines = render(Level::ERROR.primary_title("e"), &labels, user, Vec::new());
        assert_eq!(
            bare(&lines),
            [
                "error: e",
                " --> cell:1:5",
                "  |",
                "1 | let \u{e4} = 1;",
                "  |     ^^^^^^ x",
                "2 |",
                "3 | \u{65e5}\u{672c} + f()",
                "  |        --- x",
            ]
        );
        assert_eq!(byte_at(user, 99, 1), user.len());
    }

    #[test]
    fn lost_variables_are_named() {
        let failure = with_lost(
            plain("crashed", "exit status 3"),
            vec!["a".into(), "b".into()],
        );
        assert_eq!(bare(&failure.traceback).last().unwrap(), "lost: a, b");
        assert_eq!(failure.evalue, "exit status 3");
    }
}
