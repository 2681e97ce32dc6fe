//! What evcxr, the kernel and the runtime say, and what becomes of it.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::time::Instant;

use super::descriptors::{read_fd, readable};
use super::frame::Frame;
use super::relay::{LOOK, Supervisor};
use super::splitter::Piece;
use super::waiting::reads_stdin;
use super::{COLON, command};

/// evcxr's words, as it wants to hear them. The runtime says the same to us behind the session's secret.
mod word {
    /// The cell has run.
    pub const COMPLETE: &[u8] = b"EVCXR_EXECUTION_COMPLETE";
    pub const PANIC: &[u8] = b"EVCXR_PANIC_NOTIFICATION";
    pub const USER_ERROR: &[u8] = b"EVCXR_ERROR_OCCURRED";
    /// A variable's name follows.
    pub const LOST: &[u8] = b"EVCXR_VARIABLE_CHANGED_TYPE:";
    /// A prompt follows.
    pub const ASK: &[u8] = b"EVCXR_INPUT_REQUEST:";
    pub const ASK_PASSWORD: &[u8] = b"EVCXR_INPUT_REQUEST_PASSWORD:";
}

/// So much of the end of standard error is remembered.
const LAST_WORDS: usize = 1 << 10;

/// How a cell asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// By the library, which takes a line.
    Line,
    /// It waits in a read of its standard input, of which an empty answer is the end.
    Read,
}

impl Supervisor {
    /// A cell that waits for its standard input without a word asks for a line, too.
    pub(super) fn look_for_a_question(
        &mut self,
        output: &mut (impl Read + AsRawFd),
    ) -> io::Result<()> {
        if !self.running || self.asked.is_some() || self.looked.elapsed() < LOOK {
            return Ok(());
        }
        self.looked = Instant::now();
        if !self.input.is_read() || !reads_stdin(self.runtime.id()) {
            return Ok(());
        }
        // Between two cells it waits as well: the end of this one may be on its way.
        while self.read_output(output, None)? && readable(output) {}
        if self.running && self.asked.is_none() {
            if let Some(piece) = self.splitter.release() {
                self.piece(piece);
            }
            self.release_stderr();
            self.asked = Some(Question::Read);
            tell_evcxr(word::ASK);
        }
        Ok(())
    }

    /// Passes lines of evcxr to the runtime; false when evcxr is gone.
    pub(super) fn forward_request(&mut self) -> io::Result<bool> {
        let mut buffer = [0u8; 4096];
        let n = match read_fd(io::stdin().as_raw_fd(), &mut buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(e) => return Err(e),
        };
        self.request.extend_from_slice(&buffer[..n]);
        while let Some(end) = self.request.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = self.request.drain(..=end).collect();
            if line.starts_with(b"LOAD_AND_RUN ") {
                self.say(Frame::Started);
                self.running = true;
                self.looked = Instant::now();
            }
            match self.asked.take() {
                // Whoever read has ended meanwhile: evcxr's runtime must not take this for a request.
                Some(Question::Read) if !self.running => {}
                Some(Question::Read) if line == b"\n" => self.input.end(),
                _ => self.input.line(&line),
            }
        }
        Ok(true)
    }

    /// Obeys the kernel; false when it is gone.
    pub(super) fn commands(&mut self) -> io::Result<bool> {
        let mut buffer = [0u8; 256];
        match self.kernel.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => self.incoming.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(_) => return Ok(false),
        }
        let mut at = 0;
        while at < self.incoming.len() {
            match self.incoming[at] {
                command::INTERRUPT => {
                    // SAFETY: the runtime has not been waited for, so its id is still its own.
                    unsafe { libc::kill(self.runtime.id() as i32, libc::SIGINT) };
                }
                command::KILL => self.kill(),
                command::SYNC => {
                    let Some(number) = self.incoming.get(at + 1).copied() else {
                        break;
                    };
                    self.release_stderr();
                    if let Some(piece) = self.splitter.release() {
                        self.piece(piece);
                    }
                    self.say(Frame::Sync(number));
                    at += 1;
                }
                _ => {}
            }
            at += 1;
        }
        self.incoming.drain(..at);
        Ok(true)
    }

    /// Reads standard output once; false at its end.
    pub(super) fn read_output(
        &mut self,
        output: &mut impl Read,
        errors: Option<&mut std::process::ChildStderr>,
    ) -> io::Result<bool> {
        let mut buffer = [0u8; 1 << 16];
        let n = match output.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(e) => return Err(e),
        };
        let mut errors = errors;
        for piece in self.splitter.feed(&buffer[..n]) {
            match piece {
                Piece::Errors(written) => {
                    self.errors_stand_here(written, errors.as_deref_mut())?;
                }
                piece => self.piece(piece),
            }
        }
        self.text_since = Instant::now();
        Ok(true)
    }

    pub(super) fn piece(&mut self, piece: Piece) {
        match piece {
            Piece::User(bytes) => self.say(Frame::Stdout(bytes)),
            Piece::Content { mime, body } => self.say(Frame::Content { mime, body }),
            Piece::Wire(line) => self.say(Frame::Wire(line)),
            Piece::Complete => {
                self.running = false;
                self.say(Frame::Complete);
                tell_evcxr(word::COMPLETE);
            }
            Piece::Panic => {
                self.say(Frame::Panic);
                tell_evcxr(word::PANIC);
            }
            Piece::UserError(report) => {
                let report = String::from_utf8_lossy(&report).into_owned();
                self.say(Frame::UserError(report));
                tell_evcxr(word::USER_ERROR);
            }
            Piece::Errors(_) => {}
            Piece::Lost(name) => {
                self.say(Frame::Lost(String::from_utf8_lossy(&name).into_owned()));
                tell_evcxr(&[word::LOST, &name].concat());
            }
            Piece::Question { prompt, password } => {
                self.asked = Some(Question::Line);
                let ask = match password {
                    true => word::ASK_PASSWORD,
                    false => word::ASK,
                };
                tell_evcxr(&[ask, &in_one_field(prompt)].concat());
            }
        }
    }

    /// Reads standard error once; false at its end.
    pub(super) fn read_errors(&mut self, errors: &mut impl Read) -> io::Result<bool> {
        let mut buffer = [0u8; 1 << 16];
        let n = match errors.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(e) => return Err(e),
        };
        self.last_words.extend(&buffer[..n]);
        let surplus = self.last_words.len().saturating_sub(LAST_WORDS);
        self.last_words.drain(..surplus);
        self.stderr.extend_from_slice(&buffer[..n]);
        Ok(true)
    }
}

fn tell_evcxr(line: &[u8]) {
    let mut out = io::stdout().lock();
    // When evcxr is gone its end of our standard input says so.
    let _ = out
        .write_all(line)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
}

/// evcxr cuts a prompt at its first colon: there they travel as [`COLON`].
fn in_one_field(mut prompt: Vec<u8>) -> Vec<u8> {
    for colon in prompt.iter_mut().filter(|b| **b == b':') {
        *colon = COLON;
    }
    prompt
}
