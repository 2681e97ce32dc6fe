//! Tells evcxr's protocol, the library's messages and the user's own bytes apart on one stream.
//!
//! The cells' standard output carries all three. The stock kernel reads it by lines, so a line without
//! its newline hides the marker behind it; here a marker is found anywhere, and everything that cannot
//! become one is passed on at once.

/// The cell has run.
pub const COMPLETE: &[u8] = b"EVCXR_EXECUTION_COMPLETE";
const PANIC: &[u8] = b"EVCXR_PANIC_NOTIFICATION";
const USER_ERROR: &[u8] = b"EVCXR_ERROR_OCCURRED";
const CHANGED_TYPE: &[u8] = b"EVCXR_VARIABLE_CHANGED_TYPE:";
/// The cell asks for a line; `_PASSWORD` or nothing, a colon and a prompt follow.
pub const INPUT: &[u8] = b"EVCXR_INPUT_REQUEST";
const BEGIN: &[u8] = b"EVCXR_BEGIN_CONTENT ";
const END: &[u8] = b"EVCXR_END_CONTENT";

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
    /// A message of the library, without its prefix.
    Wire(Vec<u8>),
    /// The cell has run.
    Complete,
    /// The cell panicked.
    Panic,
    /// A `?` ended the cell.
    UserError,
    /// Any other line of evcxr's protocol (input requests, lost variables).
    Protocol(Vec<u8>),
}

#[derive(Clone, Copy)]
enum Mark {
    Wire,
    Complete,
    Panic,
    UserError,
    Protocol,
    Begin,
}

enum State {
    /// Between marks.
    Text,
    /// Behind a mark, until the end of its line.
    Line(Mark),
    /// Inside a content block.
    Content(String),
}

/// Cuts a byte stream into [`Piece`]s.
pub struct Splitter {
    marks: Vec<(Vec<u8>, Mark)>,
    state: State,
    held: Vec<u8>,
}

impl Splitter {
    /// A splitter; `secret` is the prefix of the library's messages in this session.
    pub fn new(secret: &str) -> Self {
        let mut marks = vec![
            (COMPLETE.to_vec(), Mark::Complete),
            (PANIC.to_vec(), Mark::Panic),
            (USER_ERROR.to_vec(), Mark::UserError),
            (CHANGED_TYPE.to_vec(), Mark::Protocol),
            (INPUT.to_vec(), Mark::Protocol),
            (BEGIN.to_vec(), Mark::Begin),
        ];
        if !secret.is_empty() {
            marks.push((secret.as_bytes().to_vec(), Mark::Wire));
        }
        Splitter {
            marks,
            state: State::Text,
            held: Vec::new(),
        }
    }

    /// Takes more bytes and returns what they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Piece> {
        self.held.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        while self.step(&mut pieces) {}
        pieces
    }

    /// Bytes that look like the beginning of a mark but were not continued: the user's after all.
    pub fn release(&mut self) -> Option<Piece> {
        match self.state {
            State::Text if !self.held.is_empty() => {
                Some(Piece::User(std::mem::take(&mut self.held)))
            }
            _ => None,
        }
    }

    /// Whether [`release`](Self::release) would return something.
    pub fn holds_text(&self) -> bool {
        matches!(self.state, State::Text) && !self.held.is_empty()
    }

    /// The end of the stream: whatever is left, also of an unfinished block.
    pub fn finish(&mut self) -> Option<Piece> {
        self.state = State::Text;
        self.release()
    }

    fn step(&mut self, pieces: &mut Vec<Piece>) -> bool {
        match &self.state {
            State::Text => self.text(pieces),
            State::Line(mark) => {
                let mark = *mark;
                let Some(end) = find(&self.held, b"\n") else {
                    return false;
                };
                let line: Vec<u8> = self.held.drain(..=end).collect();
                self.state = State::Text;
                self.line(mark, &line[..end], pieces);
                true
            }
            State::Content(mime) => {
                let mime = mime.clone();
                self.content(mime, pieces)
            }
        }
    }

    fn text(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let first = self
            .marks
            .iter()
            .filter_map(|(word, mark)| find(&self.held, word).map(|at| (at, word.len(), *mark)))
            .min_by_key(|(at, len, _)| (*at, usize::MAX - len));
        if let Some((at, len, mark)) = first {
            if at > 0 {
                pieces.push(Piece::User(self.held[..at].to_vec()));
            }
            // evcxr wants its protocol lines whole, so their mark stays.
            let cut = if matches!(mark, Mark::Protocol) {
                at
            } else {
                at + len
            };
            self.held.drain(..cut);
            self.state = State::Line(mark);
            return true;
        }
        let keep = self
            .marks
            .iter()
            .map(|(word, _)| overlap(&self.held, word))
            .max()
            .unwrap_or(0);
        let free = self.held.len() - keep;
        if free > 0 {
            pieces.push(Piece::User(self.held.drain(..free).collect()));
        }
        false
    }

    fn line(&mut self, mark: Mark, line: &[u8], pieces: &mut Vec<Piece>) {
        // These three are whole words to the end of their line: anything behind makes them the user's.
        let word = match mark {
            Mark::Complete => COMPLETE,
            Mark::Panic => PANIC,
            Mark::UserError => USER_ERROR,
            _ => b"",
        };
        if !word.is_empty() && !line.is_empty() {
            pieces.push(Piece::User([word, line, b"\n"].concat()));
            return;
        }
        match mark {
            Mark::Wire => pieces.push(Piece::Wire(line.to_vec())),
            Mark::Complete => pieces.push(Piece::Complete),
            Mark::Panic => pieces.push(Piece::Panic),
            Mark::UserError => pieces.push(Piece::UserError),
            Mark::Protocol => pieces.push(Piece::Protocol(line.to_vec())),
            Mark::Begin => {
                let mime = String::from_utf8_lossy(line);
                let mime = mime.split(' ').next().unwrap_or_default().to_string();
                self.state = State::Content(mime);
            }
        }
    }

    fn content(&mut self, mime: String, pieces: &mut Vec<Piece>) -> bool {
        // A block that the cell did not finish ends with the cell.
        let stops = [END, COMPLETE, PANIC];
        let mut at_line = 0;
        loop {
            let line = &self.held[at_line..];
            let Some(end) = find(line, b"\n") else {
                return false;
            };
            if let Some(stop) = stops.iter().position(|stop| line[..end] == **stop) {
                let body_end = at_line.saturating_sub(1);
                let body = self.held[..body_end].to_vec();
                let used = if stop == 0 {
                    at_line + end + 1
                } else {
                    at_line
                };
                self.held.drain(..used);
                pieces.push(Piece::Content { mime, body });
                self.state = State::Text;
                return true;
            }
            at_line += end + 1;
        }
    }
}

/// First place of `word` in `text`.
fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    let first = *word.first()?;
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|&b| b == first) {
        let at = from + at;
        if text[at..].starts_with(word) {
            return Some(at);
        }
        from = at + 1;
    }
    None
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

    fn user(text: &str) -> Piece {
        Piece::User(text.as_bytes().to_vec())
    }

    fn split(text: &str) -> Vec<Piece> {
        let mut splitter = Splitter::new("@@s3cret@@");
        let mut pieces = splitter.feed(text.as_bytes());
        pieces.extend(splitter.finish());
        pieces
    }

    #[test]
    fn a_mark_behind_an_unterminated_line_is_found() {
        assert_eq!(
            split("no newlineEVCXR_EXECUTION_COMPLETE\n"),
            [user("no newline"), Piece::Complete]
        );
    }

    #[test]
    fn a_mark_with_text_behind_it_is_the_users() {
        let text = "say EVCXR_EXECUTION_COMPLETE now\n";
        assert_eq!(
            split(text),
            [user("say "), user("EVCXR_EXECUTION_COMPLETE now\n")]
        );
    }

    #[test]
    fn partial_lines_are_passed_on_at_once() {
        let mut splitter = Splitter::new("@@s3cret@@");
        assert_eq!(splitter.feed(b"\r 10 %"), [user("\r 10 %")]);
        assert_eq!(splitter.feed(b"\r 20 %"), [user("\r 20 %")]);
        assert!(!splitter.holds_text());
    }

    #[test]
    fn text_that_could_become_a_mark_waits_and_is_released() {
        let mut splitter = Splitter::new("@@s3cret@@");
        assert_eq!(splitter.feed(b"loss EVC"), [user("loss ")]);
        assert!(splitter.holds_text());
        assert_eq!(splitter.release(), Some(user("EVC")));
        assert_eq!(splitter.feed(b"EVCXR_EXEC"), []);
        assert_eq!(
            splitter.feed(b"UTION_COMPLETE\nx"),
            [Piece::Complete, user("x")]
        );
    }

    #[test]
    fn every_cut_gives_the_same_pieces() {
        let text = "aEVCXR_BEGIN_CONTENT text/html\n<b>\n\nx</b>\nEVCXR_END_CONTENT\nb\n\
                    @@s3cret@@{\"k\":1}\nEVCXR_ERROR_OCCURRED\nEVCXR_PANIC_NOTIFICATION\n\
                    EVCXR_VARIABLE_CHANGED_TYPE:v\nEVCXR_INPUT_REQUEST_PASSWORD:who?\n\
                    tailEVCXR_EXECUTION_COMPLETE\n";
        let whole = split(text);
        assert_eq!(
            whole,
            [
                user("a"),
                Piece::Content {
                    mime: "text/html".into(),
                    body: b"<b>\n\nx</b>".to_vec()
                },
                user("b\n"),
                Piece::Wire(b"{\"k\":1}".to_vec()),
                Piece::UserError,
                Piece::Panic,
                Piece::Protocol(b"EVCXR_VARIABLE_CHANGED_TYPE:v".to_vec()),
                Piece::Protocol(b"EVCXR_INPUT_REQUEST_PASSWORD:who?".to_vec()),
                user("tail"),
                Piece::Complete,
            ]
        );
        for cut in 1..text.len() {
            let mut splitter = Splitter::new("@@s3cret@@");
            let mut pieces = splitter.feed(&text.as_bytes()[..cut]);
            pieces.extend(splitter.feed(&text.as_bytes()[cut..]));
            pieces.extend(splitter.finish());
            let mut joined: Vec<Piece> = Vec::new();
            for piece in pieces {
                match (joined.last_mut(), piece) {
                    (Some(Piece::User(a)), Piece::User(b)) => a.extend(b),
                    (_, piece) => joined.push(piece),
                }
            }
            assert_eq!(joined, whole, "cut at {cut}");
        }
    }

    #[test]
    fn several_blocks_of_one_type_are_all_kept() {
        let block = "EVCXR_BEGIN_CONTENT text/html\none\nEVCXR_END_CONTENT\n";
        assert_eq!(split(&block.repeat(3)).len(), 3);
        assert_eq!(
            split("EVCXR_BEGIN_CONTENT text/plain\nEVCXR_END_CONTENT\n"),
            [Piece::Content {
                mime: "text/plain".into(),
                body: Vec::new()
            }]
        );
    }

    #[test]
    fn an_unfinished_block_ends_with_the_cell() {
        assert_eq!(
            split(
                "EVCXR_BEGIN_CONTENT text/html\nhalf\nEVCXR_PANIC_NOTIFICATION\nEVCXR_EXECUTION_COMPLETE\n"
            ),
            [
                Piece::Content {
                    mime: "text/html".into(),
                    body: b"half".to_vec()
                },
                Piece::Panic,
                Piece::Complete
            ]
        );
    }

    #[test]
    fn a_foreign_prefix_is_text() {
        assert_eq!(split("@@s3cr{\"k\":1}\n"), [user("@@s3cr{\"k\":1}\n")]);
    }
}
