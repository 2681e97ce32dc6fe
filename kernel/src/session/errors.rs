//! Compile errors as coloured reports that point into the cell.

use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Level, Message, Renderer, Snippet, Title};
use evcxr::CompilationError;

use super::absent;
use super::history::History;
use super::kept::{NotKept, without_places};
use super::places::Spot;
use super::rewrite::Cell;
use super::text::{Text, byte_of};
use crate::language::lexer::tokens;
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

/// What errors are about.
pub struct Sources<'a> {
    /// The cell.
    pub cell: &'a Cell,
    /// What evcxr got of it.
    pub text: &'a Text,
    /// The cells before it.
    pub history: &'a History,
    /// What evcxr made of all of them.
    pub generated: String,
    /// The finished library.
    pub master: &'a Path,
}

/// All errors of one compilation as one failure.
pub fn failure(errors: &[CompilationError], sources: &Sources<'_>) -> Failure {
    let mut real: Vec<&CompilationError> =
        errors.iter().filter(|e| e.level() != "warning").collect();
    if real.is_empty() {
        return plain(
            "error",
            "the cell does not compile, and the compiler gives no reason",
        );
    }
    // rustc may have several reasons why one variable cannot be kept.
    let mut kept = Vec::new();
    real.retain(|error| match NotKept::from_error(error) {
        Some(variable) if kept.contains(&variable) => false,
        variable => {
            kept.extend(variable);
            true
        }
    });
    let mut traceback = Vec::new();
    for error in &real {
        if !traceback.is_empty() {
            traceback.push(String::new());
        }
        traceback.extend(report(error, sources));
    }
    let first = real.first();
    Failure {
        ename: first
            .and_then(|e| e.code())
            .filter(|code| code.starts_with('E'))
            .unwrap_or("error")
            .to_string(),
        evalue: first
            .map(|e| match NotKept::from_error(e) {
                Some(variable) => variable.message(),
                None => evalue(&e.message()),
            })
            .unwrap_or_default(),
        traceback,
        lost: Vec::new(),
    }
}

fn report(error: &CompilationError, sources: &Sources<'_>) -> Vec<String> {
    let message = without_places(&error.message());
    if let Some(of) = without_display(&message) {
        return not_shown(error, &of, sources);
    }
    if let Some(variable) = NotKept::from_error(error) {
        return not_kept(&variable, error.code(), sources.cell);
    }
    let mut title = Level::ERROR.primary_title(&message);
    if let Some(code) = error.code() {
        title = title.id(code);
    }
    let mut helps = error.help();
    helps.dedup();
    let mut below: Vec<_> = helps
        .into_iter()
        .map(|help| without_places(&help))
        .filter(|help| !speaks_of_us(help) && !absent::is_about_manifest(help))
        .map(|help| Level::HELP.message(help))
        .chain(notes(error).map(|note| Level::NOTE.message(note)))
        .collect();
    let hint = error.evcxr_extra_hint().or(match error.code() {
        Some("E0384" | "E0596") => {
            Some("a variable of an earlier cell becomes mutable with `let mut x = x;`")
        }
        _ => None,
    });
    let hints = hint
        .map(str::to_string)
        .into_iter()
        .chain(moved(error, sources.history))
        .chain(absent::help(&error.json, sources.master));
    below.extend(hints.map(|hint| Level::HELP.with_name("hint").message(hint)));
    let user = sources.cell.user.as_str();
    let mut pieces = vec![Piece {
        name: "cell".to_string(),
        user: user.to_string(),
        labels: labels(error, user, sources.text),
    }];
    pieces.extend(earlier(error, sources));
    if pieces.iter().all(|piece| piece.labels.is_empty()) {
        pieces[0].labels = by_name(error, user);
    }
    render(title, &pieces, below)
}

/// The marked words of an error as the cell has them, where evcxr has rewritten the code around them (imports).
fn by_name(error: &CompilationError, user: &str) -> Vec<Label> {
    let spans = error.json["spans"].as_array().into_iter().flatten();
    let mut primary = spans
        .filter(|span| span["is_primary"] == true)
        .filter_map(local);
    let label = primary.find_map(|span| {
        let line = span["text"][0]["text"].as_str()?;
        let number = |name: &str| span["text"][0][name].as_u64().map(|n| n as usize);
        let (from, to) = (number("highlight_start")?, number("highlight_end")?);
        let word: String = line
            .chars()
            .skip(from - 1)
            .take(to.checked_sub(from)?)
            .collect();
        let word = word.rsplit("::").next().unwrap_or(&word);
        let found = tokens(user).find(|token| token.is_word() && user[token.range()] == *word)?;
        Some(Label {
            span: found.range(),
            text: span["label"].as_str().unwrap_or("").to_string(),
            primary: true,
        })
    });
    label.into_iter().collect()
}

/// A variable that cannot be kept.
fn not_kept(variable: &NotKept, code: Option<&str>, cell: &Cell) -> Vec<String> {
    let message = variable.message();
    let mut title = Level::ERROR.primary_title(&message);
    if let Some(code) = code {
        title = title.id(code);
    }
    let bound = cell.bound.iter().find(|bound| bound.name == variable.name);
    let labels = bound.map(|bound| Label {
        span: bound.at..bound.at + bound.name.len(),
        text: "this variable".to_string(),
        primary: true,
    });
    let piece = Piece {
        name: "cell".to_string(),
        user: cell.user.clone(),
        labels: labels.into_iter().collect(),
    };
    render(title, &[piece], vec![Level::HELP.message(variable.help())])
}

/// A variable that cannot be kept, as the failure of its cell.
pub fn of_variable(variable: &NotKept, cell: &Cell) -> Failure {
    Failure {
        traceback: not_kept(variable, None, cell),
        ..plain("error", &variable.message())
    }
}

/// Whether a text of rustc's is about what the user has not written.
fn speaks_of_us(text: &str) -> bool {
    let ours = [
        "evcxr",
        "Evcxr",
        "ByDebug",
        "VariableStore",
        "src/lib.rs",
        "rebit_value",
        "REBIT_BLOCK",
    ];
    ours.iter().any(|word| text.contains(word))
}

/// What stands at a marked place; nothing where it is about what the user has not written.
fn label_of(text: &str) -> String {
    match speaks_of_us(&without_places(text)) {
        true => String::new(),
        false => without_places(text),
    }
}

/// The type that a message says cannot be shown.
fn without_display(message: &str) -> Option<String> {
    if !message.contains("`evcxr_display`") {
        return None;
    }
    let named = message.split('`').skip(1).step_by(2);
    let of = named.filter(|name| *name != "evcxr_display").last()?;
    Some(of.trim_start_matches('&').to_string())
}

fn evalue(message: &str) -> String {
    let message = &without_places(message);
    match without_display(message) {
        Some(of) if is_function(&of) => "a function cannot be shown".to_string(),
        Some(of) => format!("a value of type `{of}` cannot be shown: it has no `Debug`"),
        None => message.to_string(),
    }
}

/// Whether a type is that of one function: `fn(i32) -> i32 {i32::abs}`.
fn is_function(of: &str) -> bool {
    of.contains("fn(") && of.contains(" {")
}

/// The last value of a cell has no form in which it could be shown.
fn not_shown(error: &CompilationError, of: &str, sources: &Sources<'_>) -> Vec<String> {
    let message = evalue(&error.message());
    let own = sources.history.defines(of) || sources.cell.defined_names().iter().any(|n| n == of);
    let help = match own {
        _ if is_function(of) => {
            "call it with its arguments, or read about it with `:doc`".to_string()
        }
        true => {
            format!("write `#[derive(Debug)]` in front of `{of}`, or a semicolon behind the value")
        }
        false => "write a semicolon behind the value, or show a part of it that has `Debug`".into(),
    };
    let user = sources.cell.user.clone();
    let last = sources.cell.statements.last();
    let span = last.map_or(0..0, |part| part.at..part.at + part.text.len());
    let label = Label {
        span,
        text: "this value".to_string(),
        primary: true,
    };
    let piece = Piece {
        name: "cell".to_string(),
        user,
        labels: vec![label],
    };
    let title = Level::ERROR
        .primary_title(&message)
        .id(error.code().unwrap_or("E0599"));
    render(title, &[piece], vec![Level::HELP.message(help)])
}

/// A cell with marked pieces.
struct Piece {
    name: String,
    user: String,
    labels: Vec<Label>,
}

/// A report with the marked lines of cells and what there is to say below them.
fn render(title: Title<'_>, pieces: &[Piece], below: Vec<Message<'_>>) -> Vec<String> {
    let pieces = pieces.iter().filter(|piece| !piece.labels.is_empty());
    let snippets = pieces.map(|piece| {
        let marks = piece.labels.iter().map(|label| {
            let kind = match label.primary {
                true => AnnotationKind::Primary,
                false => AnnotationKind::Context,
            };
            let text = Some(label.text.as_str()).filter(|text| !text.is_empty());
            kind.span(label.span.clone()).label(text)
        });
        Snippet::source(piece.user.as_str())
            .path(piece.name.as_str())
            .annotations(marks)
    });
    let report = [title.elements(snippets).elements(below)];
    let text = Renderer::styled().render(&report);
    text.lines().map(str::to_string).collect()
}

fn labels(error: &CompilationError, user: &str, text: &Text) -> Vec<Label> {
    let place = |line, column| {
        let (line, column) = text.original(line, column);
        byte_of(user, line, column)
    };
    let spans = error.spanned_messages().iter().filter_map(|message| {
        let span = message.span?;
        let start = place(span.start_line, span.start_column);
        let end = place(span.end_line, span.end_column);
        Some(Label {
            span: start..end.max(start),
            text: label_of(&message.label),
            primary: message.is_primary,
        })
    });
    spans.collect()
}

/// Says which cell took the variable that is missed.
fn moved(error: &CompilationError, history: &History) -> Option<String> {
    let message = error.message();
    let name = message
        .strip_prefix("cannot find value `")
        .or_else(|| message.strip_prefix("cannot find function `"))?
        .split('`')
        .next()?;
    let number = history.mover(name)?;
    Some(format!(
        "`{name}` was moved by cell {number}: run the cell again that made it, or clone it there"
    ))
}

/// The places of an error in earlier cells.
fn earlier(error: &CompilationError, sources: &Sources<'_>) -> Vec<Piece> {
    let spans = error.json["spans"].as_array().into_iter().flatten();
    let mut found: Vec<(usize, Piece)> = Vec::new();
    for span in spans {
        let Some(span) = local(span) else { continue };
        let number = |name: &str| span[name].as_u64().unwrap_or(0) as usize;
        let place = |line, column| {
            let place = (number(line), number(column));
            sources
                .history
                .place(&sources.generated, place, sources.cell)
        };
        let Some(start) = place("line_start", "column_start") else {
            continue;
        };
        let from = byte_of(&start.user, start.line, start.column);
        let to = place("line_end", "column_end")
            .filter(|end| end.number == start.number)
            .map_or(from, |end| byte_of(&end.user, end.line, end.column));
        let label = Label {
            span: from..to.max(from),
            text: label_of(span["label"].as_str().unwrap_or("")),
            primary: span["is_primary"] == true,
        };
        match found.iter_mut().find(|(number, _)| *number == start.number) {
            Some((_, piece)) => piece.labels.push(label),
            None => {
                let name = format!("cell {}", start.number);
                let piece = Piece {
                    name,
                    user: start.user,
                    labels: vec![label],
                };
                found.push((start.number, piece));
            }
        }
    }
    found.into_iter().map(|(_, piece)| piece).collect()
}

/// A span in the generated source: itself, or where the macro was called that it is in.
pub fn local(span: &serde_json::Value) -> Option<&serde_json::Value> {
    if span["file_name"] == "src/lib.rs" {
        return Some(span);
    }
    let outer = &span["expansion"]["span"];
    outer.is_object().then(|| local(outer)).flatten()
}

fn notes(error: &CompilationError) -> impl Iterator<Item = String> {
    error.json["children"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|child| child["level"] == "note")
        .filter_map(|child| child["message"].as_str().map(without_places))
        .filter(|text| !speaks_of_us(text) && !text.contains("#[warn("))
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

/// What ended a running cell, and where: `ename` is `panic` or `error`, `label` stands at the place.
pub fn ended_at(ename: &str, message: &str, label: &str, spot: &Spot) -> Failure {
    let start = byte_of(&spot.user, spot.line, spot.column);
    let length = spot.user[start..].chars().next().map_or(0, char::len_utf8);
    let label = Label {
        span: start..start + length,
        text: label.to_string(),
        primary: true,
    };
    let title = Level::ERROR.with_name(ename).primary_title(message.trim());
    let piece = Piece {
        name: spot.name.clone(),
        user: spot.user.clone(),
        labels: vec![label],
    };
    Failure {
        traceback: render(title, &[piece], Vec::new()),
        ..plain(ename, message)
    }
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
        let spot = Spot {
            name: "cell".to_string(),
            user: "let a = 1;\n  f();".to_string(),
            line: 2,
            column: 3,
        };
        let failure = ended_at("panic", "boom", "panicked here", &spot);
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
            span: byte_of(user, line, from)..byte_of(user, line, to),
            text: "x".into(),
            primary,
        };
        let labels = [label(1, 5, usize::MAX, true), label(3, 6, 90, false)];
        let piece = Piece {
            name: "cell".to_string(),
            user: user.to_string(),
            labels: labels.into(),
        };
        let lines = render(Level::ERROR.primary_title("e"), &[piece], Vec::new());
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
        assert_eq!(byte_of(user, 99, 1), user.len());
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
