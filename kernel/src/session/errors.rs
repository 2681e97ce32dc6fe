//! Compile errors as coloured reports that point into the cell.

use evcxr::CompilationError;

use super::history::{History, Place};
use super::rewrite::Cell;
use super::text::Text;
use crate::output::Failure;

const RED: &str = "\x1b[1;31m";
const BLUE: &str = "\x1b[1;34m";
const CYAN: &str = "\x1b[1;36m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

/// One marked piece of the cell.
struct Label {
    line: usize,
    from: usize,
    to: usize,
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
}

/// All errors of one compilation as one failure.
pub fn failure(errors: &[CompilationError], sources: &Sources<'_>) -> Failure {
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
        traceback.extend(report(error, sources));
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

fn report(error: &CompilationError, sources: &Sources<'_>) -> Vec<String> {
    let code = error.code().map(|c| format!("[{c}]")).unwrap_or_default();
    let message = error.message();
    let mut lines = vec![format!("{RED}error{code}{RESET}{BOLD}: {message}{RESET}")];
    lines.extend(snippet(
        &labels(error, sources.text),
        &sources.cell.user,
        "cell",
    ));
    for (place, label) in earlier(error, sources) {
        let name = format!("cell {}", place.number);
        lines.extend(snippet(&[label], &place.user, &name));
    }
    let mut helps = error.help();
    helps.dedup();
    for help in helps {
        lines.push(format!(
            "{CYAN}help{RESET}: {}",
            help.replace('\n', "\n      ")
        ));
    }
    for note in notes(error) {
        lines.push(format!("{BLUE}note{RESET}: {note}"));
    }
    if let Some(mover) = moved(error, sources.history) {
        lines.push(format!("{CYAN}hint{RESET}: {mover}"));
    }
    let hint = error.evcxr_extra_hint().or(match error.code() {
        Some("E0384" | "E0596") => {
            Some("a variable of an earlier cell becomes mutable with `let mut x = x;`")
        }
        _ => None,
    });
    if let Some(hint) = hint {
        lines.push(format!("{CYAN}hint{RESET}: {hint}"));
    }
    lines
}

fn labels(error: &CompilationError, text: &Text) -> Vec<Label> {
    let mut labels: Vec<Label> = error
        .spanned_messages()
        .iter()
        .filter_map(|message| {
            let span = message.span?;
            let (line, from) = text.original(span.start_line, span.start_column);
            let (end_line, to) = text.original(span.end_line, span.end_column);
            Some(Label {
                line,
                from,
                to: if end_line == line { to } else { usize::MAX },
                text: message.label.clone(),
                primary: message.is_primary,
            })
        })
        .collect();
    labels.sort_by_key(|l| (l.line, !l.primary, l.from));
    labels
}

/// Says which cell took the variable that is missed.
fn moved(error: &CompilationError, history: &History) -> Option<String> {
    let message = error.message();
    let name = message
        .strip_prefix("cannot find value `")?
        .split('`')
        .next()?;
    let number = history.mover(name)?;
    Some(format!(
        "`{name}` was moved by cell {number}: run the cell again that made it, or clone it there"
    ))
}

/// The places of an error in earlier cells.
fn earlier(error: &CompilationError, sources: &Sources<'_>) -> Vec<(Place, Label)> {
    let spans = error.json["spans"].as_array().into_iter().flatten();
    let mut found: Vec<(Place, Label)> = Vec::new();
    for span in spans {
        let Some(span) = local(span) else { continue };
        let number = |name: &str| span[name].as_u64().unwrap_or(0) as usize;
        let (line, column) = (number("line_start"), number("column_start"));
        let place = sources
            .history
            .place(&sources.generated, (line, column), sources.cell);
        let Some(place) = place else { continue };
        let width = match number("line_end") == line {
            true => number("column_end").saturating_sub(column),
            false => usize::MAX - place.column,
        };
        let label = Label {
            line: place.line,
            from: place.column,
            to: place.column + width,
            text: span["label"].as_str().unwrap_or("").to_string(),
            primary: span["is_primary"] == true,
        };
        let known = found
            .iter()
            .any(|(old, _)| (old.number, old.line) == (place.number, place.line));
        if !known {
            found.push((place, label));
        }
    }
    found
}

/// A span in the generated source: itself, or where the macro was called that it is in.
fn local(span: &serde_json::Value) -> Option<&serde_json::Value> {
    if span["file_name"] == "src/lib.rs" {
        return Some(span);
    }
    let outer = &span["expansion"]["span"];
    outer.is_object().then(|| local(outer)).flatten()
}

fn notes(error: &CompilationError) -> Vec<String> {
    error.json["children"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|child| child["level"] == "note")
        .filter_map(|child| child["message"].as_str())
        .filter(|text| !text.contains("evcxr") && !text.contains("#[warn("))
        .map(str::to_string)
        .collect()
}

/// The marked lines with their marks below them.
fn snippet(labels: &[Label], user: &str, name: &str) -> Vec<String> {
    let Some(primary) = labels.iter().find(|l| l.primary).or(labels.first()) else {
        return Vec::new();
    };
    let source: Vec<&str> = user.lines().collect();
    let width = labels
        .iter()
        .map(|l| l.line.to_string().len())
        .max()
        .unwrap_or(1);
    let bar = format!("{BLUE}{:width$} |{RESET}", "");
    let mut lines = vec![
        format!(
            "{BLUE}{:width$}-->{RESET} {name}:{}:{}",
            "", primary.line, primary.from
        ),
        bar.clone(),
    ];
    let mut last = 0;
    for label in labels {
        let text = source.get(label.line - 1).copied().unwrap_or("");
        if label.line != last {
            if last != 0 && label.line > last + 1 {
                lines.push(format!("{BLUE}...{RESET}"));
            }
            lines.push(format!("{BLUE}{:>width$} |{RESET} {text}", label.line));
            last = label.line;
        }
        let length = text.chars().count();
        let from = label.from.min(length + 1);
        let to = label.to.min(length + 1).max(from + 1);
        let (colour, mark) = if label.primary {
            (RED, "^")
        } else {
            (BLUE, "-")
        };
        lines.push(format!(
            "{bar} {:skip$}{colour}{} {}{RESET}",
            "",
            mark.repeat(to - from),
            label.text,
            skip = from - 1,
        ));
    }
    lines
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

/// A panic in a function of an earlier cell.
pub fn panic_in(message: &str, place: &Place) -> Failure {
    let mut failure = plain("panic", message);
    let label = Label {
        line: place.line,
        from: place.column,
        to: place.column + 1,
        text: "panicked here".to_string(),
        primary: true,
    };
    let name = format!("cell {}", place.number);
    failure
        .traceback
        .extend(snippet(&[label], &place.user, &name));
    failure
}

/// A panic: its message, and the line of the cell where it happened.
pub fn panic(message: &str, place: Option<(usize, usize)>, user: &str) -> Failure {
    let mut failure = plain("panic", message);
    if let Some((line, column)) = place {
        let label = Label {
            line,
            from: column,
            to: column + 1,
            text: "panicked here".to_string(),
            primary: true,
        };
        failure.traceback.extend(snippet(&[label], user, "cell"));
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

    fn bare(text: &str) -> String {
        let mut out = String::new();
        let mut escape = false;
        for c in text.chars() {
            match c {
                '\x1b' => escape = true,
                'm' if escape => escape = false,
                c if !escape => out.push(c),
                _ => {}
            }
        }
        out
    }

    #[test]
    fn a_panic_points_at_its_line() {
        let failure = panic("boom", Some((2, 3)), "let a = 1;\n  f();");
        let lines: Vec<String> = failure.traceback.iter().map(|l| bare(l)).collect();
        assert_eq!(
            lines,
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
    fn marks_stay_inside_their_line() {
        let label = |line, from, to, primary| Label {
            line,
            from,
            to,
            text: "x".into(),
            primary,
        };
        let labels = [label(1, 5, usize::MAX, true), label(3, 90, 91, false)];
        let lines: Vec<String> = snippet(&labels, "let ä = 1;\n\nf()", "cell")
            .iter()
            .map(|l| bare(l))
            .collect();
        assert_eq!(
            lines,
            [
                " --> cell:1:5",
                "  |",
                "1 | let ä = 1;",
                "  |     ^^^^^^ x",
                "...",
                "3 | f()",
                "  |    - x",
            ]
        );
    }

    #[test]
    fn lost_variables_are_named() {
        let failure = with_lost(
            plain("crashed", "exit status 3"),
            vec!["a".into(), "b".into()],
        );
        assert_eq!(bare(failure.traceback.last().unwrap()), "lost: a, b");
        assert_eq!(failure.evalue, "exit status 3");
    }
}
