//! A user's text with pieces put in and taken out, and the way back.

use std::ops::Range;

/// One change of the user's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Bytes of the user's text that it replaces; empty for what is put in.
    pub at: Range<usize>,
    /// What stands there instead.
    pub text: String,
}

impl Edit {
    /// Puts a text in before a byte.
    pub fn insert(at: usize, text: impl Into<String>) -> Edit {
        Edit {
            at: at..at,
            text: text.into(),
        }
    }

    /// Takes bytes of a text out, and leaves its lines where they are.
    pub fn blank(text: &str, at: Range<usize>) -> Edit {
        let lines = text[at.clone()].matches('\n').count();
        Edit {
            at,
            text: "\n".repeat(lines),
        }
    }
}

/// A user's text after some edits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// What became of it.
    pub source: String,
    user: String,
    /// Pieces of the user's text: where they begin there, and which bytes of the source they are.
    pieces: Vec<(usize, Range<usize>)>,
}

impl Text {
    /// The text after edits that do not overlap; those at one place stand in their order.
    pub fn new(user: &str, edits: &[Edit]) -> Text {
        let mut edits: Vec<&Edit> = edits.iter().collect();
        edits.sort_by_key(|edit| edit.at.start);
        let mut this = Text {
            source: String::with_capacity(user.len() + 64),
            user: user.to_string(),
            pieces: Vec::new(),
        };
        let mut done = 0;
        for edit in edits {
            this.keep(done..edit.at.start.max(done));
            this.source += &edit.text;
            done = done.max(edit.at.end);
        }
        this.keep(done..user.len());
        this
    }

    fn keep(&mut self, bytes: Range<usize>) {
        if bytes.is_empty() {
            return;
        }
        let start = self.source.len();
        self.source += &self.user[bytes.clone()];
        self.pieces.push((bytes.start, start..self.source.len()));
    }

    /// The byte of the user's text that a byte of the source is; for what was put in, where that stands.
    pub fn user_byte(&self, byte: usize) -> usize {
        let next = self
            .pieces
            .partition_point(|(_, source)| source.start <= byte);
        match next.checked_sub(1).map(|last| &self.pieces[last]) {
            Some((user, source)) => user + byte.min(source.end) - source.start,
            None => self.pieces.first().map_or(0, |(user, _)| *user),
        }
    }

    /// Where a place of the source (line and column from 1, columns in characters) stands in the user's text.
    pub fn original(&self, line: usize, column: usize) -> (usize, usize) {
        let byte = byte_of(&self.source, line, column);
        place_of(&self.user, self.user_byte(byte))
    }
}

/// The byte at a place (line and column from 1, columns in characters).
pub fn byte_of(text: &str, line: usize, column: usize) -> usize {
    let mut start = 0;
    for _ in 1..line {
        match text[start..].find('\n') {
            Some(length) => start += length + 1,
            None => return text.len(),
        }
    }
    let line = text[start..].split('\n').next().unwrap_or("");
    let inside = line.char_indices().nth(column.saturating_sub(1));
    start + inside.map_or(line.len(), |(at, _)| at)
}

/// The place (line and column from 1, columns in characters) of a byte.
pub fn place_of(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(byte.min(text.len()))];
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[start..].chars().count() + 1)
}

/// Where a byte of a text is in one of the pieces of that text that are `part`.
pub fn inside(text: &str, part: &str, byte: usize) -> Option<usize> {
    let mut pieces = text.match_indices(part).map(|(at, _)| at);
    pieces.find_map(|at| byte.checked_sub(at).filter(|inside| *inside < part.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back() {
        let user = "let ä = f();\n  ä + b";
        let last = user.find("ä + b").unwrap();
        let edits = [
            Edit::insert(last, "match &(\n"),
            Edit::insert(12 + 1, " let ä: T = ä;"),
            Edit::insert(user.len(), "\n) { v => {} }"),
        ];
        let text = Text::new(user, &edits);
        assert_eq!(
            text.source,
            "let ä = f(); let ä: T = ä;\n  match &(\nä + b\n) { v => {} }"
        );
        assert_eq!(text.original(1, 9), (1, 9));
        // What was put in stands where it was put in.
        assert_eq!(text.original(1, 20), (1, 13));
        assert_eq!(text.original(3, 5), (2, 7));
        assert_eq!(text.original(4, 3), (2, 8));
        assert_eq!(text.original(99, 1), (2, 8));
    }

    #[test]
    fn what_was_taken_out_is_not_missed() {
        let user = ":clear\nlet x = 1;";
        let text = Text::new(
            user,
            &[Edit {
                at: 0..6,
                text: String::new(),
            }],
        );
        assert_eq!(text.source, "\nlet x = 1;");
        assert_eq!(text.original(2, 5), (2, 5));
    }

    #[test]
    fn places_and_bytes_are_inverse() {
        let text = "a\n\nöß\n";
        for byte in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            let (line, column) = place_of(text, byte);
            assert_eq!(byte_of(text, line, column), byte);
        }
    }
}
