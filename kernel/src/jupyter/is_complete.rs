//! Is a cell finished, or does its author still write? Answered by a real lexer and parser.
//!
//! A cell is a sequence of items and statements which may end in an expression, between lines that start
//! with `:` or `!` and belong to the kernel. Open brackets, strings and comments are found by a small
//! scanner (a token stream cannot hold them); what remains is parsed by `syn`: an error at the very end
//! asks for more input, an error before it is a mistake.

use jupyter_protocol::messaging::IsCompleteReply;
use syn::parse::Parser as _;

use crate::depth;

/// Levels by which a line is indented at most.
const DEEPEST_INDENT: usize = 20;

/// What a prompt should do with the text typed so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completeness {
    /// Run it.
    Complete,
    /// Ask for another line, indented by this many spaces.
    Incomplete(usize),
    /// No further input can make it right.
    Invalid,
}

impl From<Completeness> for IsCompleteReply {
    fn from(found: Completeness) -> Self {
        match found {
            Completeness::Complete => IsCompleteReply::complete(),
            Completeness::Incomplete(indent) => IsCompleteReply::incomplete(" ".repeat(indent)),
            Completeness::Invalid => IsCompleteReply::invalid(),
        }
    }
}

/// Judges a cell.
///
/// ```
/// use rebit_kernel::jupyter::is_complete::{Completeness::*, judge};
/// assert_eq!(judge("let x = 1 + 1;\nx"), Complete);
/// assert_eq!(judge("for i in 0..3 {"), Incomplete(4));
/// assert_eq!(judge("let x = );"), Invalid);
/// ```
pub fn judge(cell: &str) -> Completeness {
    let code = without_commands(cell);
    match scan(&code) {
        Scan::Mismatched => Completeness::Invalid,
        Scan::InsideText => Completeness::Incomplete(0),
        Scan::Open(depth) => Completeness::Incomplete(4 * depth.min(DEEPEST_INDENT)),
        // The session says why it cannot run.
        Scan::Balanced if depth::check(&code).is_err() => Completeness::Complete,
        Scan::Balanced => parse(&code),
    }
}

/// The code with the kernel's own lines (`:dep`, `!ls`) blanked.
fn without_commands(cell: &str) -> String {
    let own = |line: &&str| {
        let line = line.trim_start();
        line.starts_with(':') && !line.starts_with("::") || line.starts_with('!')
    };
    // Such lines stand only before the first line of Rust.
    let head = cell
        .lines()
        .take_while(|line| own(line) || line.trim().is_empty())
        .count();
    cell.lines().skip(head).collect::<Vec<_>>().join("\n")
}

fn parse(code: &str) -> Completeness {
    let error = match syn::Block::parse_within.parse_str(code) {
        Ok(statements) => return missing_semicolon(&statements),
        Err(error) => error,
    };
    // `let x = 5` lacks its semicolon only: with one it is right.
    let with_semicolon = || syn::Block::parse_within.parse_str(&format!("{code}\n;"));
    let at_end =
        error.to_string().starts_with("unexpected end of input") || with_semicolon().is_ok();
    match at_end {
        true => Completeness::Incomplete(4),
        false => Completeness::Invalid,
    }
}

/// `a` newline `b`: only the last expression may stand without a semicolon.
fn missing_semicolon(statements: &[syn::Stmt]) -> Completeness {
    let [earlier @ .., _] = statements else {
        return Completeness::Complete;
    };
    let block_like = |expression: &syn::Expr| {
        use syn::Expr::*;
        matches!(
            expression,
            If(_) | Match(_) | Block(_) | Unsafe(_) | While(_) | Loop(_) | ForLoop(_) | Const(_)
        )
    };
    let wrong = earlier
        .iter()
        .any(|statement| matches!(statement, syn::Stmt::Expr(e, None) if !block_like(e)));
    match wrong {
        true => Completeness::Invalid,
        false => Completeness::Complete,
    }
}

/// How the brackets and quotes of a text stand at its end.
#[derive(Debug, PartialEq, Eq)]
enum Scan {
    Balanced,
    /// This many brackets are open.
    Open(usize),
    /// A string or a block comment is open.
    InsideText,
    /// A bracket closes what was not opened.
    Mismatched,
}

fn scan(code: &str) -> Scan {
    let text: Vec<char> = code.chars().collect();
    let at = |i: usize| text.get(i).copied().unwrap_or('\0');
    let mut open = Vec::new();
    let mut i = 0;
    while i < text.len() {
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < text.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => match end_of_comment(&text, i) {
                Some(end) => i = end,
                None => return Scan::InsideText,
            },
            '"' => match end_of_string(&text, i + 1) {
                Some(end) => i = end,
                None => return Scan::InsideText,
            },
            // r"..", r#".."#, br#".."#, cr".." but not the raw identifier r#fn.
            'r' if raw_quotes(&text, i).is_some() => {
                let hashes = raw_quotes(&text, i).unwrap_or(0);
                match end_of_raw_string(&text, i + 2 + hashes, hashes) {
                    Some(end) => i = end,
                    None => return Scan::InsideText,
                }
            }
            '\'' => i = end_of_char_or_lifetime(&text, i),
            bracket @ ('(' | '[' | '{') => {
                open.push(bracket);
                i += 1;
            }
            bracket @ (')' | ']' | '}') => {
                let opener = match bracket {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                if open.pop() != Some(opener) {
                    return Scan::Mismatched;
                }
                i += 1;
            }
            c if c.is_alphanumeric() || c == '_' => {
                // A whole word, so that the r in `for"x"` is not taken for a raw string's.
                let start = i;
                while at(i).is_alphanumeric() || at(i) == '_' {
                    if at(i) == 'r'
                        && i - start <= 1
                        && (i == start || matches!(at(start), 'b' | 'c'))
                        && raw_quotes(&text, i).is_some()
                    {
                        break;
                    }
                    i += 1;
                }
                if i == start {
                    i += 1;
                }
            }
            _ => i += 1,
        }
    }
    match open.len() {
        0 => Scan::Balanced,
        depth => Scan::Open(depth),
    }
}

/// The number of `#` between the `r` at `i` and its quote, if this starts a raw string.
fn raw_quotes(text: &[char], i: usize) -> Option<usize> {
    let hashes = text[i + 1..].iter().take_while(|&&c| c == '#').count();
    (text.get(i + 1 + hashes) == Some(&'"')).then_some(hashes)
}

fn end_of_comment(text: &[char], start: usize) -> Option<usize> {
    let mut depth = 0;
    let mut i = start;
    while i + 1 < text.len() {
        match (text[i], text[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return Some(i);
        }
    }
    None
}

fn end_of_string(text: &[char], mut i: usize) -> Option<usize> {
    while i < text.len() {
        match text[i] {
            '\\' => i += 2,
            '"' => return Some(i + 1),
            _ => i += 1,
        }
    }
    None
}

fn end_of_raw_string(text: &[char], start: usize, hashes: usize) -> Option<usize> {
    (start..text.len()).find_map(|i| {
        let closed = text[i] == '"'
            && text.len() >= i + 1 + hashes
            && text[i + 1..i + 1 + hashes].iter().all(|&c| c == '#');
        closed.then_some(i + 1 + hashes)
    })
}

fn end_of_char_or_lifetime(text: &[char], i: usize) -> usize {
    let at = |i: usize| text.get(i).copied().unwrap_or('\0');
    if at(i + 1) == '\\' {
        let mut end = i + 3;
        while end < text.len() && text[end] != '\'' && text[end] != '\n' {
            end += 1;
        }
        end + 1
    } else if at(i + 2) == '\'' {
        i + 3
    } else {
        i + 1
    }
}

#[cfg(test)]
mod tests {
    use super::{Completeness::*, *};

    #[test]
    fn whole_cells_are_complete() {
        for cell in [
            "",
            "1 + 1",
            "let x = 5;",
            "fn f(a: u8) -> u8 { a }",
            "use std::fmt;\nlet s = \"}\";\ns",
            ":dep rand = \"0.9\"",
            ":dep rand\nlet x = '{';",
            "let c = '\\''; // a comment with (",
            "let s = r#\"a \" b\"#;",
            "let s = br\"(\";",
            "fn f<'a>(x: &'a str) -> &'a str { x }",
            "if true { 1 } else { 2 }",
            "for i in 0..3 { println!(\"{i}\"); }\ni",
            "/* outer /* inner */ */ 1",
            "println!(\"a\")",
            "let r#type = 1;",
            "a.b()\n    .c()",
        ] {
            assert_eq!(judge(cell), Complete, "{cell:?}");
        }
    }

    #[test]
    fn open_ends_ask_for_more() {
        for (cell, indent) in [
            ("fn f() {", 4),
            ("f(1,", 4),
            ("let v = vec![Some(", 8),
            ("let x = 5", 4),
            ("1 +", 4),
            ("let x =", 4),
            ("fn f()", 4),
            ("#[derive(Debug)]", 4),
            ("struct A", 4),
            ("match x", 4),
            ("x.", 4),
            ("let s = \"abc", 0),
            ("let s = r#\"abc\"", 0),
            ("/* comment", 0),
        ] {
            assert_eq!(judge(cell), Incomplete(indent), "{cell:?}");
        }
    }

    #[test]
    fn mistakes_are_invalid() {
        for cell in [
            ")",
            "let x = );",
            "fn f( {}]",
            "let = 1;",
            "a b",
            "= 3;",
            "a\nb",
            "fn 1() {}",
        ] {
            assert_eq!(judge(cell), Invalid, "{cell:?}");
        }
    }
}
