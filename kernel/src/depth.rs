//! How deep a text is nested, before anything that recurses reads it.
//!
//! Parsers follow brackets, operators and types by recursion, and a stack that runs out ends the process with every
//! variable. No cell that somebody wrote comes near the limits.

use std::fmt;

use ra_ap_rustc_lexer::TokenKind::{self, *};
use ra_ap_rustc_lexer::{FrontmatterAllowed, tokenize};

/// Brackets inside each other.
const MOST_BRACKETS: usize = 256;
/// Operators, `else`s and angle brackets of one expression: each may be a level.
const MOST_OPERATORS: usize = 2000;

/// What is too deep, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooDeep {
    /// Line, from 1.
    pub line: usize,
    what: &'static str,
    limit: usize,
}

impl fmt::Display for TooDeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooDeep { line, what, limit } = self;
        write!(
            f,
            "line {line}: more than {limit} {what}: no compiler follows so deep"
        )
    }
}

/// Checks a cell.
///
/// # Errors
/// The first place that is deeper than the limits.
pub fn check(code: &str) -> Result<(), TooDeep> {
    let (mut at, mut brackets, mut operators) = (0, 0usize, 0);
    // A block has ended: perhaps a statement, perhaps the beginning of an expression.
    let mut behind_block = false;
    for token in tokenize(code, FrontmatterAllowed::No) {
        let text = &code[at..at + token.len as usize];
        let level = is_level(token.kind, text);
        match token.kind {
            Whitespace | LineComment { .. } | BlockComment { .. } => {}
            _ if std::mem::take(&mut behind_block) && !level => operators = 0,
            _ => {}
        }
        match token.kind {
            OpenParen | OpenBrace | OpenBracket => brackets += 1,
            CloseParen | CloseBracket => brackets = brackets.saturating_sub(1),
            CloseBrace => {
                brackets = brackets.saturating_sub(1);
                behind_block = true;
            }
            Semi | Comma => operators = 0,
            _ if level => operators += 1,
            _ => {}
        }
        for (found, limit, what) in [
            (brackets, MOST_BRACKETS, "brackets inside each other"),
            (operators, MOST_OPERATORS, "operators in one expression"),
        ] {
            if found > limit {
                let line = 1 + code[..at].matches('\n').count();
                return Err(TooDeep { line, what, limit });
            }
        }
        at += token.len as usize;
    }
    Ok(())
}

/// Whether a token can nest what stands beside it.
fn is_level(kind: TokenKind, text: &str) -> bool {
    match kind {
        Dot
        | Question
        | Eq
        | Bang
        | Lt
        | Minus
        | And
        | Or
        | Plus
        | Star
        | Slash
        | Caret
        | Percent
        | Lifetime { .. } => true,
        Ident => matches!(
            text,
            "else" | "as" | "dyn" | "return" | "break" | "move" | "ref" | "mut"
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_people_pass() {
        for code in [
            String::new(),
            "let a = [1; 3]; a.iter().map(|x| x + 1).sum::<i32>()".to_string(),
            "fn f(x: &Vec<Vec<i32>>) -> i32 { x[0][0] }\n".repeat(10_000),
            format!("let a = \"{}\"; /* {0} */ // {0}", "(<->)".repeat(10_000)),
            "if a < b { c - d } else { e }\n".repeat(10_000),
            format!("let a = [{}];", "1.5, -2.5, ".repeat(100_000)),
            "let a = 1;\n// A line - of - text ------------------------------------\n\n"
                .repeat(5000),
            format!("let a = {}1{};", "(".repeat(100), ")".repeat(100)),
            format!("let a = 1{};", " + 1".repeat(1000)),
        ] {
            assert_eq!(check(&code), Ok(()), "{:.80}", code);
        }
    }

    #[test]
    fn what_recursion_cannot_follow_is_named_with_its_line() {
        for (code, line) in [
            ("\n".to_string() + &"(".repeat(1000), 2),
            (format!("1{}", "+1".repeat(5000)), 1),
            (format!("1{}", "\n+1".repeat(5000)), 2002),
            ("if a {}".to_string() + &" else if a {}".repeat(5000), 1),
            ("!".repeat(5000), 1),
            ("|| ".repeat(5000), 1),
            ("Vec<".repeat(5000), 1),
            ("{}+".repeat(5000), 1),
            ("return ".repeat(5000), 1),
            ("1".to_string() + &" as i32".repeat(5000), 1),
        ] {
            let found = check(&code).unwrap_err();
            assert_eq!(found.line, line, "{found} in {code:.40}");
        }
    }
}
