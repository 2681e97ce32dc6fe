//! Tells what the library and the runtime say to the kernel from the user's own bytes, on one stream.
//!
//! The cells' standard output carries both. Everything that is meant for the kernel stands behind the
//! session's secret, up to the end of its line; a mark is found anywhere, also behind a line without its end,
//! and also inside a content block that was not closed. Whatever else is printed is the user's, evcxr's own
//! words too, with one exception: its content blocks are blocks while a value shows itself
//! (`evcxr_display`), and in cells whose source speaks of them.

use memchr::memmem::Finder;

const BEGIN: &[u8] = b"EVCXR_BEGIN_CONTENT ";
const END: &[u8] = b"EVCXR_END_CONTENT";
/// A MIME type, with what may follow it on its line.
const LONGEST_TYPE: usize = 1 << 10;

/// One thing found on the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of the user.
    User(Vec<u8>),
    /// A rich value in one form.
    Content {
        /// MIME type.
        mime: String,
        /// Content.
        body: Vec<u8>,
    },
    /// A message of the library, without the secret.
    Wire(Vec<u8>),
    /// The cell has run.
    Complete,
    /// The cell panicked.
    Panic,
    /// A `?` ended the cell; what the library says of it.
    UserError(Vec<u8>),
    /// So many bytes of standard error were written here.
    Errors(usize),
    /// This variable is lost.
    Lost(Vec<u8>),
    /// The cell asks for a line.
    Question {
        /// What to show.
        prompt: Vec<u8>,
        /// Whether the answer must not be seen.
        password: bool,
    },
}

enum State {
    /// Between marks.
    Text,
    /// Behind the secret, until the end of the line.
    Mark,
    /// Behind [`BEGIN`], until the end of the line.
    Type,
    /// Inside a content block.
    Content(String),
}

/// Cuts a byte stream into [`Piece`]s.
pub struct Splitter {
    secret: Finder<'static>,
    begin: Finder<'static>,
    end: Finder<'static>,
    state: State,
    held: Vec<u8>,
    /// So much of `held` has been looked through.
    seen: usize,
    /// A value shows itself.
    in_value: bool,
    /// The running cell speaks of content blocks.
    in_cell: bool,
}

impl Splitter {
    /// A splitter; `secret` stands before everything that is meant for the kernel in this session.
    pub fn new(secret: &str) -> Self {
        Splitter {
            secret: Finder::new(secret).into_owned(),
            begin: Finder::new(BEGIN),
            end: Finder::new(END),
            state: State::Text,
            held: Vec::new(),
            seen: 0,
            in_value: false,
            in_cell: false,
        }
    }

    /// Takes more bytes and returns what they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Piece> {
        self.held.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        // A cut from the front moves the rest: once for all pieces.
        let mut at = 0;
        while self.step(&mut at, &mut pieces) {}
        self.held.drain(..at);
        self.seen -= at.min(self.seen);
        pieces
    }

    /// Bytes that look like the beginning of a mark but were not continued: the user's after all.
    pub fn release(&mut self) -> Option<Piece> {
        match self.state {
            State::Text if !self.held.is_empty() => {
                self.seen = 0;
                Some(Piece::User(std::mem::take(&mut self.held)))
            }
            _ => None,
        }
    }

    /// Whether [`release`](Self::release) would return something.
    pub fn holds_text(&self) -> bool {
        matches!(self.state, State::Text) && !self.held.is_empty()
    }

    /// The end of the stream: whatever is left. A mark that was begun stays between us.
    pub fn finish(&mut self) -> Option<Piece> {
        self.seen = 0;
        match std::mem::replace(&mut self.state, State::Text) {
            State::Text => self.release(),
            State::Mark => {
                self.held.clear();
                None
            }
            State::Type => {
                let line = std::mem::take(&mut self.held);
                Some(Piece::User([BEGIN, &line].concat()))
            }
            State::Content(mime) => {
                let body = std::mem::take(&mut self.held);
                Some(Piece::Content { mime, body })
            }
        }
    }

    fn blocks(&self) -> bool {
        self.in_value || self.in_cell
    }

    fn step(&mut self, at: &mut usize, pieces: &mut Vec<Piece>) -> bool {
        match &self.state {
            State::Text => self.text(at, pieces),
            State::Mark => {
                let Some(line) = self.take_line(at) else {
                    return false;
                };
                self.state = State::Text;
                self.mark(line, pieces);
                true
            }
            State::Type => self.kind(at, pieces),
            State::Content(_) => self.content(at, pieces),
        }
    }

    /// The end of the line that begins at `at`, once it is whole; looks at each byte once.
    fn end_of_line(&mut self, at: usize) -> Option<usize> {
        let from = self.seen.max(at);
        let end = memchr::memchr(b'\n', &self.held[from..]).map(|end| from + end);
        self.seen = end.map_or(self.held.len(), |end| end + 1);
        end
    }

    /// The line that begins at `at`.
    fn line(&mut self, at: &mut usize) -> Option<Vec<u8>> {
        let end = self.end_of_line(*at)?;
        let line = self.held[*at..end].to_vec();
        *at = end + 1;
        Some(line)
    }

    /// The same, taken out of what is held: a line that came in many pieces is nearly all of that, and what is behind it
    /// is copied instead.
    fn take_line(&mut self, at: &mut usize) -> Option<Vec<u8>> {
        if *at > 0 {
            return self.line(at);
        }
        let end = self.end_of_line(0)?;
        let behind = self.held.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.held, behind);
        line.truncate(end);
        self.seen = 0;
        Some(line)
    }

    fn text(&mut self, at: &mut usize, pieces: &mut Vec<Piece>) -> bool {
        let rest = &self.held[*at..];
        let secret = self.secret.find(rest);
        let begin = match self.blocks() {
            true => self.begin.find(&rest[..secret.unwrap_or(rest.len())]),
            false => None,
        };
        let (end, state, length) = match (begin, secret) {
            (Some(begin), _) => (begin, State::Type, BEGIN.len()),
            (None, Some(secret)) => (secret, State::Mark, self.secret.needle().len()),
            (None, None) => {
                let mut keep = overlap(rest, self.secret.needle());
                if self.blocks() {
                    keep = keep.max(overlap(rest, BEGIN));
                }
                (rest.len() - keep, State::Text, 0)
            }
        };
        if end > 0 {
            pieces.push(Piece::User(rest[..end].to_vec()));
        }
        *at += end + length;
        self.seen = *at;
        let found = length > 0;
        if found {
            self.state = state;
        }
        found
    }

    fn mark(&mut self, line: Vec<u8>, pieces: &mut Vec<Piece>) {
        let piece = match line.split(|b| *b == b' ').next().unwrap_or_default() {
            b"cell:blocks" => {
                self.in_cell = true;
                return;
            }
            b"cell:complete" => {
                (self.in_cell, self.in_value) = (false, false);
                Piece::Complete
            }
            b"cell:panicked" => {
                self.in_value = false;
                Piece::Panic
            }
            b"cell:failed" => {
                self.in_value = false;
                Piece::UserError(after_word(&line))
            }
            b"cell:stderr" => {
                let number = String::from_utf8_lossy(&after_word(&line)).parse();
                Piece::Errors(number.unwrap_or(0))
            }
            b"cell:lost" => Piece::Lost(after_word(&line)),
            word @ (b"cell:ask" | b"cell:ask-password") => Piece::Question {
                password: word.ends_with(b"password"),
                prompt: after_word(&line),
            },
            word => {
                match word {
                    b"cell:value" => self.in_value = true,
                    b"cell:value-end" => self.in_value = false,
                    _ => {}
                }
                Piece::Wire(line)
            }
        };
        pieces.push(piece);
    }

    fn kind(&mut self, at: &mut usize, pieces: &mut Vec<Piece>) -> bool {
        let start = *at;
        let line = match self.line(at) {
            Some(line) if line.len() <= LONGEST_TYPE && self.secret.find(&line).is_none() => line,
            None if self.held.len() - start <= LONGEST_TYPE => return false,
            _ => {
                // No type is so long: text after all.
                *at = start;
                self.seen = start;
                self.state = State::Text;
                pieces.push(Piece::User(BEGIN.to_vec()));
                return true;
            }
        };
        let mime = String::from_utf8_lossy(&line);
        let mime = mime.split(' ').next().unwrap_or_default().to_string();
        self.state = State::Content(mime);
        true
    }

    fn content(&mut self, at: &mut usize, pieces: &mut Vec<Piece>) -> bool {
        // A word may have begun at the end of what was seen.
        let margin = END.len().max(self.secret.needle().len()) + 2;
        let mut from = self.seen.saturating_sub(margin).max(*at);
        let secret = self
            .secret
            .find(&self.held[from..])
            .map(|found| from + found);
        let limit = secret.unwrap_or(self.held.len());
        let end = loop {
            let Some(found) = self
                .end
                .find(&self.held[from..limit])
                .map(|found| from + found)
            else {
                break None;
            };
            let behind = found + END.len();
            let alone = (found == *at || self.held[found - 1] == b'\n')
                && self.held.get(behind).is_none_or(|b| *b == b'\n');
            match alone {
                // Its line has not ended yet: the next bytes decide.
                true if behind == self.held.len() => return false,
                true => break Some((found, behind + 1)),
                false => from = behind,
            }
        };
        // A block that was not closed ends with the next word to the kernel, which is not part of it.
        let Some((body_end, next)) = end.or(secret.map(|secret| (secret, secret))) else {
            self.seen = self.held.len();
            return false;
        };
        let body = &self.held[*at..body_end];
        let body = body.strip_suffix(b"\n").unwrap_or(body).to_vec();
        *at = next;
        self.seen = next;
        if let State::Content(mime) = std::mem::replace(&mut self.state, State::Text) {
            pieces.push(Piece::Content { mime, body });
        }
        true
    }
}

fn after_word(line: &[u8]) -> Vec<u8> {
    match memchr::memchr(b' ', line) {
        Some(at) => line[at + 1..].to_vec(),
        None => Vec::new(),
    }
}

/// Length of the longest end of `text` that is a beginning of `word`.
fn overlap(text: &[u8], word: &[u8]) -> usize {
    (1..word.len().min(text.len() + 1))
        .rev()
        .find(|&n| text.ends_with(&word[..n]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "@@s3cret@@";

    fn user(text: &str) -> Piece {
        Piece::User(text.as_bytes().to_vec())
    }

    fn content(mime: &str, body: &str) -> Piece {
        Piece::Content {
            mime: mime.into(),
            body: body.as_bytes().to_vec(),
        }
    }

    fn wire(text: &str) -> Piece {
        Piece::Wire(text.as_bytes().to_vec())
    }

    fn split(text: &str) -> Vec<Piece> {
        let mut splitter = Splitter::new(SECRET);
        let mut pieces = splitter.feed(text.as_bytes());
        pieces.extend(splitter.finish());
        joined(pieces)
    }

    /// Neighbouring bytes of the user together.
    fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
        let mut joined: Vec<Piece> = Vec::new();
        for piece in pieces {
            match (joined.last_mut(), piece) {
                (Some(Piece::User(a)), Piece::User(b)) => a.extend(b),
                (_, piece) => joined.push(piece),
            }
        }
        joined
    }

    #[test]
    fn a_mark_behind_an_unterminated_line_is_found() {
        assert_eq!(
            split("no newline@@s3cret@@cell:complete\n"),
            [user("no newline"), Piece::Complete]
        );
    }

    /// What a cell prints is text, whatever it is.
    #[test]
    fn words_without_the_secret_are_text() {
        for text in [
            "EVCXR_EXECUTION_COMPLETE\n",
            "EVCXR_PANIC_NOTIFICATION\n",
            "EVCXR_ERROR_OCCURRED\n",
            "EVCXR_VARIABLE_CHANGED_TYPE:x\n",
            "EVCXR_INPUT_REQUEST:name?\n",
            "EVCXR_INPUT_REQUEST_PASSWORD:your password?\n",
            "EVCXR_BEGIN_CONTENT text/html\n<script>\nEVCXR_END_CONTENT\n",
            "EVCXR_END_CONTENT\n",
            "cell:complete\n",
            "@@s3cr{\"k\":1}\n",
            "@@s3cret@cell:complete\n",
            "LOAD_AND_RUN /tmp/x.so f\n",
        ] {
            assert_eq!(split(text), [user(text)]);
        }
    }

    #[test]
    fn partial_lines_are_passed_on_at_once() {
        let mut splitter = Splitter::new(SECRET);
        assert_eq!(splitter.feed(b"\r 10 %"), [user("\r 10 %")]);
        assert_eq!(splitter.feed(b"\r 20 %"), [user("\r 20 %")]);
        assert!(!splitter.holds_text());
    }

    #[test]
    fn text_that_could_become_a_mark_waits_and_is_released() {
        let mut splitter = Splitter::new(SECRET);
        assert_eq!(splitter.feed(b"loss @@s3"), [user("loss ")]);
        assert!(splitter.holds_text());
        assert_eq!(splitter.release(), Some(user("@@s3")));
        assert_eq!(splitter.feed(b"@@s3cret"), []);
        assert_eq!(
            splitter.feed(b"@@cell:complete\nx"),
            [Piece::Complete, user("x")]
        );
    }

    #[test]
    fn every_cut_gives_the_same_pieces() {
        let text = "a@@s3cret@@cell:blocks\n\
                    bEVCXR_BEGIN_CONTENT text/html\n<b>\n\nx</b>EVCXR_END_CONTENT\n EVCXR_END_CONTENT\nEVCXR_END_CONTENT\nb\n\
                    @@s3cret@@{\"k\":1}\n@@s3cret@@cell:failed {}\n@@s3cret@@cell:panicked\n\
                    @@s3cret@@cell:lost v\n@@s3cret@@cell:ask-password who: you?\n@@s3cret@@cell:ask \n\
                    x@@s3cret@@cell:stderr 12\ntail@@s3cret@@cell:complete\nEVCXR_BEGIN_CONTENT x\n";
        let whole = split(text);
        let ask = |prompt: &str, password| Piece::Question {
            prompt: prompt.as_bytes().to_vec(),
            password,
        };
        assert_eq!(
            whole,
            [
                user("ab"),
                content(
                    "text/html",
                    "<b>\n\nx</b>EVCXR_END_CONTENT\n EVCXR_END_CONTENT"
                ),
                user("b\n"),
                wire("{\"k\":1}"),
                Piece::UserError(b"{}".to_vec()),
                Piece::Panic,
                Piece::Lost(b"v".to_vec()),
                ask("who: you?", true),
                ask("", false),
                user("x"),
                Piece::Errors(12),
                user("tail"),
                Piece::Complete,
                user("EVCXR_BEGIN_CONTENT x\n"),
            ]
        );
        for cut in 1..text.len() {
            let mut splitter = Splitter::new(SECRET);
            let mut pieces = splitter.feed(&text.as_bytes()[..cut]);
            pieces.extend(splitter.feed(&text.as_bytes()[cut..]));
            pieces.extend(splitter.finish());
            assert_eq!(joined(pieces), whole, "cut at {cut}");
        }
        let mut splitter = Splitter::new(SECRET);
        let bytes = text.as_bytes().chunks(1);
        let mut pieces: Vec<Piece> = bytes.flat_map(|byte| splitter.feed(byte)).collect();
        pieces.extend(splitter.finish());
        assert_eq!(joined(pieces), whole);
    }

    #[test]
    fn a_value_shows_itself_in_blocks_and_nothing_else_does() {
        let block = "EVCXR_BEGIN_CONTENT text/html\none\nEVCXR_END_CONTENT\n";
        let value = format!("@@s3cret@@cell:value\n{block}{block}@@s3cret@@cell:value-end\n");
        assert_eq!(
            split(&format!("{value}{block}")),
            [
                wire("cell:value"),
                content("text/html", "one"),
                content("text/html", "one"),
                wire("cell:value-end"),
                user(block),
            ]
        );
        let empty = "@@s3cret@@cell:blocks\nEVCXR_BEGIN_CONTENT text/plain\nEVCXR_END_CONTENT\n";
        assert_eq!(split(empty), [content("text/plain", "")]);
    }

    #[test]
    fn an_unfinished_block_ends_at_the_next_mark_and_does_not_show_it() {
        let half = "@@s3cret@@cell:blocks\nEVCXR_BEGIN_CONTENT text/html\nhalf\n";
        for (mark, piece) in [
            ("{\"k\":1}\n", wire("{\"k\":1}")),
            ("cell:panicked\n", Piece::Panic),
            ("cell:complete\n", Piece::Complete),
        ] {
            assert_eq!(
                split(&format!("{half}@@s3cret@@{mark}")),
                [content("text/html", "half"), piece]
            );
        }
        assert_eq!(split(half), [content("text/html", "half\n")]);
        let in_type = "@@s3cret@@cell:blocks\nEVCXR_BEGIN_CONTENT text@@s3cret@@cell:complete\n";
        assert_eq!(
            split(in_type),
            [user("EVCXR_BEGIN_CONTENT text"), Piece::Complete]
        );
        assert_eq!(split("x@@s3cret@@cell:comp"), [user("x")]);
    }

    #[test]
    fn each_byte_of_a_long_piece_is_looked_at_a_few_times() {
        let mut splitter = Splitter::new(SECRET);
        let mut bytes = 0;
        for part in [
            b"@@s3cret@@cell:blocks\n@@s3cret@@{\"a\":\"".to_vec(),
            vec![b'x'; 8 << 20],
            b"\"}\nEVCXR_BEGIN_CONTENT text/plain\n".to_vec(),
            vec![b'y'; 8 << 20],
            b"\nEVCXR_END_CONTENT\n".to_vec(),
        ] {
            // Would take hours if each feed looked through all that is held.
            for chunk in part.chunks(1 << 10) {
                for piece in splitter.feed(chunk) {
                    bytes += match piece {
                        Piece::Wire(line) => line.len(),
                        Piece::Content { body, .. } => body.len(),
                        _ => 0,
                    };
                }
            }
        }
        assert_eq!(bytes, (16 << 20) + "{\"a\":\"\"}".len());
    }
}
