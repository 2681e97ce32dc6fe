//! The tokens of a cell, by rustc's own lexer, which also reads unfinished and broken text.

use std::ops::Range;

use ra_ap_rustc_lexer::{FrontmatterAllowed, is_ident, tokenize};
pub use ra_ap_rustc_lexer::{LiteralKind, TokenKind, is_id_continue};

/// Words that no name may be.
pub const KEYWORDS: &[&str] = &[
    "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else", "enum", "extern",
    "false", "fn", "for", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub",
    "ref", "return", "self", "Self", "static", "struct", "super", "trait", "true", "type",
    "unsafe", "use", "where", "while",
];

/// A token and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Its first byte.
    pub start: usize,
    /// The byte after it.
    pub end: usize,
}

impl Token {
    /// The bytes it covers.
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Whether it is a name or keyword.
    pub fn is_word(&self) -> bool {
        matches!(self.kind, TokenKind::Ident | TokenKind::RawIdent)
    }

    /// Whether the compiler passes over it: white space and comments.
    pub fn is_trivia(&self) -> bool {
        use TokenKind::*;
        matches!(
            self.kind,
            Whitespace | LineComment { .. } | BlockComment { .. }
        )
    }

    /// Whether it is a string, a raw string or a block comment that does not end.
    pub fn is_open(&self) -> bool {
        use LiteralKind::*;
        match self.kind {
            TokenKind::BlockComment { terminated, .. } => !terminated,
            TokenKind::Literal { kind, .. } => match kind {
                Str { terminated } | ByteStr { terminated } | CStr { terminated } => !terminated,
                RawStr { n_hashes } | RawByteStr { n_hashes } | RawCStr { n_hashes } => {
                    n_hashes.is_none()
                }
                _ => false,
            },
            _ => false,
        }
    }
}

/// The tokens of a text; together they are the whole text.
pub fn tokens(text: &str) -> impl Iterator<Item = Token> {
    let mut end = 0;
    tokenize(text, FrontmatterAllowed::No).map(move |token| {
        let start = end;
        end += token.len as usize;
        Token {
            kind: token.kind,
            start,
            end,
        }
    })
}

/// The names in a text, in their order, without keywords, comments and what stands in strings.
pub fn names(text: &str) -> impl Iterator<Item = &str> {
    tokens(text)
        .filter(Token::is_word)
        .map(|token| &text[token.range()])
        .filter(|word| !KEYWORDS.contains(word))
}

/// Whether a text could be the name of a variable.
pub fn is_name(text: &str) -> bool {
    is_ident(text) && !KEYWORDS.contains(&text)
}

/// How the brackets and quotes of a text stand at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Everything that was opened is closed.
    Balanced,
    /// This many brackets are open.
    Open(usize),
    /// A string or a block comment is open.
    InsideText,
    /// A bracket closes what was not opened.
    Mismatched,
}

/// How the brackets and quotes of a text stand at its end.
pub fn balance(text: &str) -> Balance {
    let mut open = Vec::new();
    for token in tokens(text) {
        use TokenKind::*;
        match token.kind {
            OpenParen => open.push(CloseParen),
            OpenBracket => open.push(CloseBracket),
            OpenBrace => open.push(CloseBrace),
            CloseParen | CloseBracket | CloseBrace if open.pop() != Some(token.kind) => {
                return Balance::Mismatched;
            }
            _ if token.is_open() => return Balance::InsideText,
            _ => {}
        }
    }
    match open.len() {
        0 => Balance::Balanced,
        depth => Balance::Open(depth),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_whole_text() {
        for text in [
            "let é = '\\'';",
            "\"",
            "r#\"a\"",
            "/* a",
            "",
            "\u{0}#!\\",
            "b'",
        ] {
            let whole: String = tokens(text).map(|token| &text[token.range()]).collect();
            assert_eq!(whole, text);
        }
    }

    #[test]
    fn names_are_no_keywords_and_not_in_text() {
        let found: Vec<&str> = names("let a = b(\"c\"); // d\nr#type").collect();
        assert_eq!(found, ["a", "b", "r#type"]);
        assert!(is_name("été") && !is_name("fn") && !is_name("a b") && !is_name(""));
    }

    #[test]
    fn brackets_in_text_do_not_count() {
        use Balance::*;
        for (text, expected) in [
            ("f('(', \"[\", r#\"{\"#) // (", Balanced),
            ("fn f<'a>(x: &'a str) {", Open(1)),
            ("[(", Open(2)),
            ("(]", Mismatched),
            ("br#\"x\"", InsideText),
            ("c\"x", InsideText),
            ("/* /* */", InsideText),
        ] {
            assert_eq!(balance(text), expected, "{text}");
        }
    }

    #[test]
    fn time_grows_with_the_length_only() {
        let text = "{".repeat(1 << 20);
        assert_eq!(balance(&text), Balance::Open(1 << 20));
    }
}
