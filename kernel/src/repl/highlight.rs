//! Colours for Rust while it is typed: by a scanner that also reads unfinished text.

use nu_ansi_term::{Color, Style};
use reedline::{Highlighter, StyledText};

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

const KEYWORDS: &[&str] = &[
    "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else", "enum", "extern",
    "false", "fn", "for", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub",
    "ref", "return", "self", "Self", "static", "struct", "super", "trait", "true", "type",
    "unsafe", "use", "where", "while",
];

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
    let mut found = Vec::new();
    let mut rest = text;
    let mut line_start = true;
    while !rest.is_empty() {
        let (class, length) = first(rest, line_start);
        let (piece, after) = rest.split_at(length);
        line_start = piece.ends_with('\n') || line_start && piece.trim().is_empty();
        found.push((class, piece));
        rest = after;
    }
    found
}

/// The class and length of the first piece of a text that is not empty.
fn first(text: &str, line_start: bool) -> (Class, usize) {
    let until = |end: Option<usize>| end.unwrap_or(text.len());
    let Some(c) = text.chars().next() else {
        return (Class::Plain, 0);
    };
    if text.starts_with("//") || line_start && text.starts_with(':') && !text.starts_with("::") {
        let class = match c {
            '/' => Class::Comment,
            _ => Class::Command,
        };
        return (class, until(text.find('\n')));
    }
    if text.starts_with("/*") {
        return (Class::Comment, until(text.find("*/").map(|i| i + 2)));
    }
    if let Some(length) = raw_string(text) {
        return (Class::Text, length);
    }
    match c {
        '"' => (Class::Text, quoted(text)),
        '\'' => quote_or_lifetime(text),
        c if c.is_ascii_digit() => {
            let number = |c: char| !(c.is_alphanumeric() || c == '_' || c == '.');
            let end = until(text.find(number));
            // `0..n` is a range, `1.max(2)` a call.
            let end = match text[..end].find('.') {
                Some(dot) if !text[dot + 1..].starts_with(|c: char| c.is_ascii_digit()) => dot,
                _ => end,
            };
            (Class::Number, end)
        }
        c if c.is_alphabetic() || c == '_' => {
            let end = until(text.find(|c: char| !(c.is_alphanumeric() || c == '_')));
            (word(&text[..end], &text[end..]), end)
        }
        _ => (Class::Plain, c.len_utf8()),
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

/// The length of a string literal, to its closing quote or the end.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return i + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

fn raw_string(text: &str) -> Option<usize> {
    let body = text.strip_prefix('r')?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let inside = body[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let opening = text.len() - inside.len();
    Some(
        inside
            .find(&close)
            .map_or(text.len(), |i| opening + i + close.len()),
    )
}

fn quote_or_lifetime(text: &str) -> (Class, usize) {
    let mut chars = text.char_indices().skip(1);
    let (Some((_, c)), next) = (chars.next(), chars.next()) else {
        return (Class::Text, text.len());
    };
    if c == '\\' {
        let end = text[2..].char_indices().skip(1).find(|(_, c)| *c == '\'');
        return (Class::Text, end.map_or(text.len(), |(i, _)| i + 3));
    }
    if let Some((i, '\'')) = next {
        return (Class::Text, i + 1);
    }
    let end = text[1..].find(|c: char| !(c.is_alphanumeric() || c == '_'));
    (Class::Lifetime, end.map_or(text.len(), |i| i + 1).max(1))
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
            [(Command, ":dep rand"), (Number, "1")]
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
