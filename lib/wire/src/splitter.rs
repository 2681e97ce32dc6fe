//! Separates the user's bytes from messages in a stream that arrives in arbitrary pieces.

use crate::{Message, decode};

/// What a stream turned out to hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// Bytes of the user, to be passed on at once.
    User(Vec<u8>),
    /// A message of the library.
    Message(Message),
}

/// Feeds on the bytes of a cell's standard output.
///
/// The user's bytes go through without waiting for a line end; only what may be the beginning of a
/// prefix is held back. A message may follow an unfinished line of the user, as after `print!`.
///
/// ```
/// use rebit_wire::{Message, Piece, Splitter, encode};
/// let prefix = "\u{1}rebit 5f0c9a:";
/// let mut splitter = Splitter::new(prefix);
/// let stream = format!("loading ... {}done", encode(prefix, &Message::Interrupted));
/// assert_eq!(
///     splitter.push(stream.as_bytes()),
///     [
///         Piece::User(b"loading ... ".to_vec()),
///         Piece::Message(Message::Interrupted),
///         Piece::User(b"done".to_vec()),
///     ]
/// );
/// ```
#[derive(Debug)]
pub struct Splitter {
    prefix: String,
    /// Held back: starts with a prefix or the beginning of one.
    held: Vec<u8>,
    /// Bytes of `held` already searched for a line end.
    searched: usize,
}

impl Splitter {
    /// A splitter for the session whose messages begin with `prefix`.
    pub fn new(prefix: impl Into<String>) -> Self {
        Splitter {
            prefix: prefix.into(),
            held: Vec::new(),
            searched: 0,
        }
    }

    /// What can be told after these bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        if self.prefix.is_empty() {
            add_user(&mut pieces, bytes);
            return pieces;
        }
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let mut rest = &held[..];
        let mut searched = std::mem::take(&mut self.searched);
        let prefix = self.prefix.as_bytes();
        loop {
            let start = first_possible(rest, prefix);
            add_user(&mut pieces, &rest[..start]);
            rest = &rest[start..];
            searched = searched.saturating_sub(start).max(prefix.len());
            if rest.len() < searched {
                break;
            }
            let Some(end) = rest[searched..].iter().position(|&b| b == b'\n') else {
                self.searched = rest.len();
                break;
            };
            let (line, after) = rest.split_at(searched + end + 1);
            let message = std::str::from_utf8(line).ok();
            match message.and_then(|line| decode(&self.prefix, line)) {
                Some(message) => pieces.push(Piece::Message(message)),
                None => add_user(&mut pieces, line),
            }
            rest = after;
            searched = 0;
        }
        self.held = rest.to_vec();
        pieces
    }

    /// What was held back, at the end of the stream: all of it is the user's.
    pub fn finish(&mut self) -> Vec<u8> {
        self.searched = 0;
        std::mem::take(&mut self.held)
    }
}

/// Where in `bytes` a prefix begins, or may begin with its first bytes at the very end.
fn first_possible(bytes: &[u8], prefix: &[u8]) -> usize {
    (0..bytes.len())
        .find(|&i| {
            let tail = &bytes[i..];
            let n = tail.len().min(prefix.len());
            tail[..n] == prefix[..n]
        })
        .unwrap_or(bytes.len())
}

fn add_user(pieces: &mut Vec<Piece>, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    match pieces.last_mut() {
        Some(Piece::User(last)) => last.extend_from_slice(bytes),
        _ => pieces.push(Piece::User(bytes.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode;

    const PREFIX: &str = "\u{1}rebit 77:";

    /// Neighbouring pieces of the user are the same as one.
    fn merged(pieces: impl IntoIterator<Item = Piece>) -> Vec<Piece> {
        let mut out = Vec::new();
        for piece in pieces {
            match piece {
                Piece::User(bytes) => add_user(&mut out, &bytes),
                message => out.push(message),
            }
        }
        out
    }

    #[test]
    fn any_cut_of_the_stream_gives_the_same_pieces() {
        let clear = Message::ClearOutput { wait: true };
        let stream = format!(
            "a{}{}line\n\u{1}rebit 7 not ours\n\u{1}{}tail\u{1}re",
            encode(PREFIX, &clear),
            encode(PREFIX, &Message::Interrupted),
            encode(PREFIX, &clear),
        );
        let expected = [
            Piece::User(b"a".to_vec()),
            Piece::Message(clear.clone()),
            Piece::Message(Message::Interrupted),
            Piece::User(b"line\n\x01rebit 7 not ours\n\x01".to_vec()),
            Piece::Message(clear),
            Piece::User(b"tail\x01re".to_vec()),
        ];
        for size in 1..=stream.len() {
            let mut splitter = Splitter::new(PREFIX);
            let mut pieces = Vec::new();
            for part in stream.as_bytes().chunks(size) {
                pieces.extend(splitter.push(part));
            }
            pieces.push(Piece::User(splitter.finish()));
            assert_eq!(merged(pieces), expected, "pieces of {size} bytes");
        }
    }

    #[test]
    fn bytes_of_the_user_do_not_wait_for_a_line_end() {
        let mut splitter = Splitter::new(PREFIX);
        let progress = b"\r 10 %".to_vec();
        assert_eq!(splitter.push(&progress), [Piece::User(progress)]);
    }

    #[test]
    fn a_prefix_without_a_message_after_it_is_text() {
        let mut splitter = Splitter::new(PREFIX);
        let line = format!("{PREFIX}oops\n").into_bytes();
        assert_eq!(splitter.push(&line), [Piece::User(line)]);
    }

    #[test]
    fn bytes_that_are_not_text_go_through() {
        let mut splitter = Splitter::new(PREFIX);
        let bytes = vec![0xff, 0x00, 0xfe, b'\n'];
        assert_eq!(splitter.push(&bytes), [Piece::User(bytes)]);
    }
}
