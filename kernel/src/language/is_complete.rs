//! Is a cell finished, or does its author still write? Answered by a real lexer and parser.
//!
//! A cell is a sequence of items and statements which may end in an expression, behind lines that start
//! with `:` or `!` and belong to the kernel. Open brackets, strings and comments are found by the lexer;
//! what remains is parsed by `syn`: an error at the very end asks for more input, an error before it is a
//! mistake.

use syn::parse::Parser as _;

use super::commands::code_start;
use super::lexer::{Balance, balance};
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

/// Judges a cell.
///
/// ```
/// use rebit_kernel::language::is_complete::{Completeness::*, judge};
/// assert_eq!(judge("let x = 1 + 1;\nx"), Complete);
/// assert_eq!(judge("for i in 0..3 {"), Incomplete(4));
/// assert_eq!(judge("let x = );"), Invalid);
/// ```
pub fn judge(cell: &str) -> Completeness {
    let code = &cell[code_start(cell)..];
    match balance(code) {
        Balance::Mismatched => Completeness::Invalid,
        Balance::InsideText => Completeness::Incomplete(0),
        Balance::Open(depth) => Completeness::Incomplete(4 * depth.min(DEEPEST_INDENT)),
        // The session says why it cannot run.
        Balance::Balanced if depth::check(code).is_err() => Completeness::Complete,
        Balance::Balanced => parse(code),
    }
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
