//! What stands around the cursor: the word, and what it is a part of.

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
    let (before, after) = code.split_at(cursor);
    let start = cursor - trailing_word(before).len();
    let end = cursor
        + after
            .find(|c: char| !word_character(c))
            .unwrap_or(after.len());
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    let line = &code[line_start..start];
    let (start, context) = if line.trim() == ":" && !code[line_start..].contains("::") {
        (start - 1, Context::Command)
    } else {
        (start, context(&code[..start]))
    };
    Place {
        start,
        end,
        typed: code[start..cursor].to_string(),
        word: code[start..end].to_string(),
        context,
    }
}

fn context(before: &str) -> Context {
    let trimmed = before.trim_end();
    if let Some(path) = before.strip_suffix("::") {
        let mut start = path.len();
        loop {
            let word = trailing_word(&path[..start]);
            start -= word.len();
            if word.is_empty() || !path[..start].ends_with("::") {
                return Context::Path(path[start..].to_string());
            }
            start -= 2;
        }
    }
    match trimmed.strip_suffix('.') {
        // `0..x` is a range.
        Some(rest) if !rest.ends_with('.') => {
            let receiver = trailing_word(rest.trim_end());
            let deeper = rest.trim_end()[..rest.trim_end().len() - receiver.len()].ends_with('.');
            Context::Member(match deeper {
                true => String::new(),
                false => receiver.to_string(),
            })
        }
        _ => Context::Name,
    }
}

fn word_character(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn trailing_word(text: &str) -> &str {
    let start = text
        .char_indices()
        .rev()
        .take_while(|(_, c)| word_character(*c))
        .last()
        .map_or(text.len(), |(offset, _)| offset);
    &text[start..]
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
