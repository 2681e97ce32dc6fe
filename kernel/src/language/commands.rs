//! The commands a cell may start with, and those which are answered without the session.

use std::ops::Range;
use std::sync::Mutex;

use super::assist::Answers;
use super::known::Known;
use super::lexer::{self, TokenKind};
use crate::locked;
use crate::output::{Bundle, Failure};

/// The commands worth knowing, with one line each.
pub const LIST: &[(&str, &str)] = &[
    (":help", "what a cell can do"),
    (":vars", "the variables and their types"),
    (":type", ":type NAME: the type of a variable"),
    (
        ":doc",
        ":doc NAME: documentation of a variable, function, type or module",
    ),
    (":dep", ":dep rand = \"0.9\": add a crate"),
    (":show_deps", "the crates that were added"),
    (":clear", "forget all variables and items"),
    (":restart", "a fresh child process; variables are lost"),
    (":opt", ":opt 2: the optimisation level of cells"),
    (":timing", "show how long each cell takes"),
    (
        ":fmt",
        ":fmt {:#?}: how values are shown that have only their Debug form",
    ),
    (":types", "show the type of such values"),
    (":efmt", ":efmt {:?}: how errors returned by `?` are shown"),
    (":explain", "explain the last compile error"),
    (
        ":env",
        ":env KEY=VALUE: an environment variable of the cells",
    ),
    (":offline", ":offline 1: never use the network"),
    (":version", "the version of the evaluator"),
];

/// Whether a line at the head of a cell is a command (`:dep`) or for a shell (`!ls`).
pub fn is_command(line: &str) -> bool {
    let word = line.trim_start_matches(' ');
    line.starts_with('!') || word.starts_with(':') && !word.starts_with("::")
}

/// What a line before the code of a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `:dep ...`
    Command,
    /// `!ls`
    Shell,
    /// A comment, of one line or several.
    Comment,
    /// White space.
    Blank,
}

/// A line before the code of a cell (of a block comment all its lines).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its bytes, with its end.
    pub at: Range<usize>,
    /// What it is.
    pub kind: Kind,
}

impl Line {
    /// Whether it is a command, of ours or for a shell.
    pub fn is_command(&self) -> bool {
        matches!(self.kind, Kind::Command | Kind::Shell)
    }
}

/// The lines before the Rust code of a cell.
pub fn head(cell: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut at = 0;
    while at < cell.len() {
        let rest = &cell[at..];
        let line = rest.split_inclusive('\n').next().unwrap_or(rest);
        let word = line.trim_start();
        let (kind, length) = match word {
            "" => (Kind::Blank, line.len()),
            _ if line.starts_with('!') => (Kind::Shell, line.len()),
            _ if is_command(line) => (Kind::Command, line.len()),
            _ if word.starts_with("//") => (Kind::Comment, line.len()),
            _ if word.starts_with("/*") => match block_comment(rest) {
                Some(length) => (Kind::Comment, length),
                None => break,
            },
            _ => break,
        };
        lines.push(Line {
            at: at..at + length,
            kind,
        });
        at += length;
    }
    lines
}

/// The length of a block comment at the beginning of a text, when nothing else stands on its lines.
fn block_comment(text: &str) -> Option<usize> {
    let comment = lexer::tokens(text).find(|token| token.kind != TokenKind::Whitespace)?;
    if comment.is_open() {
        return None;
    }
    let rest = text[comment.end..]
        .split_inclusive('\n')
        .next()
        .unwrap_or("");
    rest.trim().is_empty().then_some(comment.end + rest.len())
}

/// Where the Rust code of a cell begins: behind commands, and comments and empty lines among them.
pub fn code_start(cell: &str) -> usize {
    head(cell).last().map_or(0, |line| line.at.end)
}

/// The commands at the head of a cell, without the white space around them.
pub fn commands(cell: &str) -> impl Iterator<Item = &str> {
    let commands = head(cell).into_iter().filter(Line::is_command);
    commands.map(|line| cell[line.at].trim())
}

/// What the kernel says to a command.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// A text for the pager.
    Page(Bundle),
    /// The command cannot be followed.
    Failed(Failure),
}

/// The answer to a cell that is one of the kernel's own commands (`:help`, `:doc NAME`, `?NAME`);
/// `None` for every other cell.
pub fn answer(cell: &str, known: &Known, answers: &Mutex<Answers>) -> Option<Answer> {
    let cell = cell.trim();
    if cell.contains('\n') {
        return None;
    }
    if cell == ":help" {
        return Some(Answer::Page(help()));
    }
    let asked = cell
        .strip_prefix('?')
        .or_else(|| cell.strip_prefix(":doc ").map(str::trim));
    let name = asked?.trim();
    if let Some(found) = locked(answers).describe(known, name) {
        return Some(Answer::Page(found));
    }
    // The session's own `:doc` may know more; `?name` is not Rust and would only confuse it.
    cell.starts_with('?').then(|| {
        let evalue = format!("nothing is known about `{name}`");
        Answer::Failed(Failure {
            ename: "error".to_string(),
            traceback: vec![evalue.clone(), "`:vars` lists the variables.".to_string()],
            evalue,
            lost: Vec::new(),
        })
    })
}

/// The help page.
pub fn help() -> Bundle {
    let width = LIST.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut plain = String::from(
        "A cell holds Rust items and statements; the value of a last expression without `;` is shown.\n\
         Variables and items stay for later cells. `use rebit::prelude::*` is already in effect.\n\n",
    );
    let mut rows = String::from("| command | meaning |\n|---|---|\n");
    for (name, meaning) in LIST {
        plain.push_str(&format!("{name:width$}  {meaning}\n"));
        rows.push_str(&format!("| `{name}` | {} |\n", meaning.replace('|', "\\|")));
    }
    plain.push_str("\n?NAME     documentation of NAME, like :doc\n!COMMAND  run a shell command\n");
    Bundle::from([
        ("text/plain".to_string(), plain.into()),
        ("text/markdown".to_string(), rows.into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_stand_before_the_first_line_of_rust() {
        for (cell, code) in [
            (
                ":dep a = \"1\"\n\n// note\n!ls\nlet x = 1;\n:vars",
                "let x = 1;\n:vars",
            ),
            ("  :vars", ""),
            ("::std::mem::drop(1)", "::std::mem::drop(1)"),
            (" !flag", " !flag"),
            ("  // note\n:vars\n1", "1"),
            ("/* :no\n:no */\n:vars\n/* b */ 1", "/* b */ 1"),
            ("/* open\n:vars", "/* open\n:vars"),
            ("", ""),
        ] {
            assert_eq!(&cell[code_start(cell)..], code, "{cell}");
        }
        let found: Vec<&str> = commands("// :no\n  :dep a\n!ls \n1").collect();
        assert_eq!(found, [":dep a", "!ls"]);
    }

    #[test]
    fn only_the_kernels_own_commands_are_answered() {
        let known = Known {
            variables: vec![("x".into(), "i32".into())],
            preamble: String::new(),
        };
        let answers = Mutex::default();
        let answer = |cell: &str| answer(cell, &known, &answers);
        let page = |cell: &str| match answer(cell) {
            Some(Answer::Page(data)) => Some(data["text/plain"].as_str().unwrap().to_string()),
            _ => None,
        };
        assert!(page(":help").unwrap().contains(":vars"));
        assert_eq!(page(":doc x").unwrap(), "let x: i32");
        assert_eq!(page("?x").unwrap(), "let x: i32");
        assert!(answer(":vars").is_none());
        assert!(answer("x").is_none());
        assert!(answer(":doc no_such_name_anywhere").is_none());
        assert!(matches!(
            answer("?no_such_name_anywhere"),
            Some(Answer::Failed(_))
        ));
    }
}
