//! What stands around the cursor: the word, and what it is a part of.

use super::commands::code_start;
use super::lexer::{Token, TokenKind, is_id_continue, tokens};

/// What a word belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Context {
    /// A command of the kernel: the line starts with `:`.
    Command,
    /// A field or method of this variable (`a` in `a.b|`); empty for any other expression.
    Member(String),
    /// A name inside this path (`quant::fake` in `quant::fake::x|`).
    Path(String),
    /// A free name.
    Name,
}

/// The word around a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// First byte of the word.
    pub start: usize,
    /// Byte after the word.
    pub end: usize,
    /// The part of the word before the cursor.
    pub typed: String,
    /// The whole word.
    pub word: String,
    /// What it belongs to.
    pub context: Context,
}

/// The byte offset of the code point number `position`; the end of the text if there are fewer.
pub fn byte_offset(code: &str, position: usize) -> usize {
    code.char_indices()
        .nth(position)
        .map_or(code.len(), |(offset, _)| offset)
}

/// The number of code points before a byte.
pub fn code_point(code: &str, byte: usize) -> usize {
    let byte = byte.min(code.len());
    code.char_indices()
        .take_while(|(offset, _)| *offset < byte)
        .count()
}

/// The place at byte `cursor` of `code`.
pub fn at(code: &str, cursor: usize) -> Place {
    let mut cursor = cursor.min(code.len());
    while !code.is_char_boundary(cursor) {
        cursor -= 1;
    }
    let line = code[..cursor].rfind('\n').map_or(0, |i| i + 1);
    let rust = code_start(code);
    // A command is not Rust, but what it is about is, and that stands in its line.
    let begin = if cursor < rust || rust == code.len() {
        line
    } else {
        rust
    };
    let text = &code[begin..];
    let tokens: Vec<Token> = tokens(text)
        .map(|t| Token {
            start: t.start + begin,
            end: t.end + begin,
            ..t
        })
        .take_while(|t| t.start <= cursor)
        .collect();
    let touches = |t: &&Token| t.start <= cursor && cursor <= t.end;
    let word = tokens.iter().rev().filter(touches).find(|t| t.is_word());
    let inside = tokens.iter().find(|t| t.start < cursor && cursor < t.end);
    let (start, end, context) = match (word, inside) {
        (Some(word), _) => (word.start, word.end, context(code, &tokens, word.start)),
        // A word inside a string or a comment.
        (None, Some(token)) => {
            let (start, end) = word_within(code, token, cursor);
            (start, end, Context::Name)
        }
        (None, None) => (cursor, cursor, context(code, &tokens, cursor)),
    };
    let in_head = line < rust || rust == code.len();
    let (start, context) = match in_head && code[line..start].trim() == ":" {
        true => (start - 1, Context::Command),
        false => (start, context),
    };
    Place {
        start,
        end,
        typed: code[start..cursor].to_string(),
        word: code[start..end].to_string(),
        context,
    }
}

fn word_within(code: &str, token: &Token, cursor: usize) -> (usize, usize) {
    let before = &code[token.start..cursor];
    let after = &code[cursor..token.end];
    let length = before
        .chars()
        .rev()
        .take_while(|c| is_id_continue(*c))
        .map(char::len_utf8)
        .sum::<usize>();
    let rest = after.find(|c| !is_id_continue(c)).unwrap_or(after.len());
    (cursor - length, cursor + rest)
}

/// What the word that begins at `start` belongs to.
fn context(code: &str, tokens: &[Token], start: usize) -> Context {
    let before: Vec<&Token> = tokens
        .iter()
        .filter(|t| t.end <= start && !t.is_trivia())
        .collect();
    match before.as_slice() {
        [path @ .., a, b] if is_path_mark(a, b) => Context::Path(path_before(code, path)),
        // `0..x` is a range.
        [
            ..,
            Token {
                kind: TokenKind::Dot,
                ..
            },
            Token {
                kind: TokenKind::Dot,
                ..
            },
        ] => Context::Name,
        [
            rest @ ..,
            Token {
                kind: TokenKind::Dot,
                ..
            },
        ] => Context::Member(match rest {
            [
                ..,
                Token {
                    kind: TokenKind::Dot,
                    ..
                },
                _,
            ] => String::new(),
            [.., receiver] if receiver.is_word() => code[receiver.range()].to_string(),
            _ => String::new(),
        }),
        _ => Context::Name,
    }
}

/// Whether two tokens are `::`.
fn is_path_mark(a: &Token, b: &Token) -> bool {
    a.kind == TokenKind::Colon && b.kind == TokenKind::Colon && a.end == b.start
}

/// The names of a path that stand before its last `::`.
fn path_before(code: &str, mut tokens: &[&Token]) -> String {
    let mut names = Vec::new();
    while let [rest @ .., name] = tokens
        && name.is_word()
    {
        names.push(&code[name.range()]);
        match rest {
            [before @ .., a, b] if is_path_mark(a, b) => tokens = before,
            _ => break,
        }
    }
    names.reverse();
    names.join("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(marked: &str) -> Place {
        let cursor = marked.find('|').unwrap();
        at(&marked.replace('|', ""), cursor)
    }

    #[test]
    fn words_and_what_they_belong_to() {
        use Context::*;
        for (marked, typed, word, context) in [
            ("let a = fo|o;", "fo", "foo", Name),
            ("a.le|", "le", "le", Member("a".into())),
            ("a.b.le|", "le", "le", Member(String::new())),
            ("f(1).|", "", "", Member(String::new())),
            ("v\n    .it|er()", "it", "iter", Member("v".into())),
            ("quant::fake::r|", "r", "r", Path("quant::fake".into())),
            ("0..n|", "n", "n", Name),
            (":de|", ":de", ":de", Command),
            ("let é = 1;\né|", "é", "é", Name),
            ("|", "", "", Name),
            (":doc a.b|", "b", "b", Member("a".into())),
            ("!ls \"x\na.b|", "b", "b", Member("a".into())),
            ("let a = 1;\n:de|", "de", "de", Name),
            ("f(\"é {im|ages}\")", "im", "images", Name),
            ("Vec::<u8>::ne|", "ne", "ne", Path(String::new())),
            ("a /* . */ . b|", "b", "b", Member("a".into())),
        ] {
            let found = place(marked);
            assert_eq!(
                (found.typed.as_str(), found.word.as_str(), found.context),
                (typed, word, context),
                "{marked}"
            );
        }
    }

    #[test]
    fn positions_are_code_points() {
        assert_eq!(byte_offset("é🦀x", 2), 6);
        assert_eq!(code_point("é🦀x", 6), 2);
        assert_eq!(byte_offset("ab", 9), 2);
    }
}
