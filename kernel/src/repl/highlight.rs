//! Colours for Rust while it is typed.

use nu_ansi_term::{Color, Style};
use reedline::{Highlighter, StyledText};

use crate::language::commands::{code_start, is_command};
use crate::language::lexer::{KEYWORDS, LiteralKind, Token, TokenKind, tokens};

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A reserved word.
    Keyword,
    /// A name that starts with a capital: a type, trait or variant.
    Type,
    /// A name followed by `!`.
    Macro,
    /// A name followed by `(`.
    Function,
    /// A number.
    Number,
    /// A string or character.
    Text,
    /// A comment.
    Comment,
    /// A command of the kernel.
    Command,
    /// A lifetime or label.
    Lifetime,
    /// Everything else.
    Plain,
}

impl Class {
    fn style(self) -> Style {
        match self {
            Class::Keyword => Color::Magenta.bold(),
            Class::Type => Color::Yellow.normal(),
            Class::Macro => Color::Cyan.bold(),
            Class::Function => Color::Blue.normal(),
            Class::Number => Color::Cyan.normal(),
            Class::Text => Color::Green.normal(),
            Class::Comment => Color::DarkGray.italic(),
            Class::Command => Color::Red.bold(),
            Class::Lifetime => Color::Red.normal(),
            Class::Plain => Style::new(),
        }
    }
}

/// Longer texts, which somebody has pasted, stay without colours: all of it is drawn again at each key.
const LONGEST: usize = 64 << 10;

/// Colours the line that is being edited.
pub struct Colours;

impl Highlighter for Colours {
    fn highlight(&self, line: &str, _cursor: usize) -> StyledText {
        let mut styled = StyledText::new();
        if line.len() > LONGEST {
            styled.push((Class::Plain.style(), line.to_string()));
            return styled;
        }
        for (class, text) in pieces(line) {
            styled.push((class.style(), text.to_string()));
        }
        styled
    }
}

/// The text in pieces, each with its class; together they are the whole text.
pub fn pieces(text: &str) -> Vec<(Class, &str)> {
    let (head, code) = text.split_at(code_start(text));
    let mut found: Vec<(Class, &str)> = head
        .split_inclusive('\n')
        .map(|line| match line {
            line if is_command(line) => (Class::Command, line),
            line if line.trim().is_empty() => (Class::Plain, line),
            line => (Class::Comment, line),
        })
        .collect();
    found.extend(tokens(code).map(|token| {
        let piece = &code[token.range()];
        (class(&token, piece, &code[token.end..]), piece)
    }));
    found
}

fn class(token: &Token, piece: &str, after: &str) -> Class {
    use LiteralKind::{Float, Int};
    match token.kind {
        TokenKind::LineComment { .. } | TokenKind::BlockComment { .. } => Class::Comment,
        TokenKind::Literal { kind, .. } => match kind {
            Int { .. } | Float { .. } => Class::Number,
            _ => Class::Text,
        },
        TokenKind::Lifetime { .. } | TokenKind::RawLifetime => Class::Lifetime,
        _ if token.is_word() => word(piece, after),
        _ => Class::Plain,
    }
}

fn word(word: &str, after: &str) -> Class {
    if KEYWORDS.contains(&word) {
        Class::Keyword
    } else if after.starts_with('!') && !after.starts_with("!=") {
        Class::Macro
    } else if word.starts_with(char::is_uppercase) {
        Class::Type
    } else if after.starts_with('(') {
        Class::Function
    } else {
        Class::Plain
    }
}

#[cfg(test)]
mod tests {
    use super::{Class::*, *};

    fn classes(text: &str) -> Vec<(Class, &str)> {
        let found = pieces(text);
        let whole: String = found.iter().map(|(_, piece)| *piece).collect();
        assert_eq!(whole, text, "nothing is lost");
        found
            .into_iter()
            .filter(|(class, _)| *class != Plain)
            .collect()
    }

    #[test]
    fn rust_is_taken_apart() {
        assert_eq!(
            classes("let x: Vec<u8> = f(1.5, \"a\\\"b\"); // end"),
            [
                (Keyword, "let"),
                (Type, "Vec"),
                (Function, "f"),
                (Number, "1.5"),
                (Text, "\"a\\\"b\""),
                (Comment, "// end")
            ]
        );
        assert_eq!(
            classes("println!('\\'', 'é', r#\"a\"b\"#)"),
            [
                (Macro, "println"),
                (Text, "'\\''"),
                (Text, "'é'"),
                (Text, "r#\"a\"b\"#")
            ]
        );
        assert_eq!(
            classes("&'a str; 0..9"),
            [(Lifetime, "'a"), (Number, "0"), (Number, "9")]
        );
        assert_eq!(
            classes(":dep rand\n1"),
            [(Command, ":dep rand\n"), (Number, "1")]
        );
    }

    #[test]
    fn unfinished_text_is_coloured_to_its_end() {
        assert_eq!(classes("\"abc"), [(Text, "\"abc")]);
        assert_eq!(classes("/* abc"), [(Comment, "/* abc")]);
        assert_eq!(classes("r#\"abc\""), [(Text, "r#\"abc\"")]);
        assert_eq!(classes("'"), [(Text, "'")]);
        assert_eq!(classes("'\\"), [(Text, "'\\")]);
    }
}
