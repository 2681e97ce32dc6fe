//! The supervisor's loop: evcxr, the kernel and the runtime, each heard as soon as it speaks.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::descriptors::{nonblocking, poll, poll_if, read_fd, readable, watch};
use super::frame::Frame;
use super::input::Input;
use super::splitter::{COMPLETE, INPUT, Piece, Splitter};
use super::waiting::reads_stdin;
use super::{COLON, RUNTIME, SOCKET, WIRE, command};

/// Standard error waits this long for the mark that makes it an error's text.
const ERROR_TEXT_WAIT: Duration = Duration::from_millis(3);
/// Text that looks like the beginning of a mark waits this long for the rest.
const MARK_WAIT: Duration = Duration::from_millis(20);
/// How often a running cell is looked at: does it wait for input?
const LOOK: Duration = Duration::from_millis(50);
/// With more than this on its way to the kernel the cells wait.
const BACKLOG: usize = 1 << 20;
/// What evcxr's crash handler writes before its backtrace, and Rust before it aborts without memory.
const CRASH_WORDS: [&str; 4] = [
    "Segmentation fault.",
    "Illegal instruction.",
    "Bus error.",
    "memory allocation of ",
];

/// How a cell asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    /// In evcxr's words, which take a line.
    Line,
    /// It waits in a read of its standard input, of which an empty answer is the end.
    Read,
}

/// The process between evcxr and the runtime.
pub struct Supervisor {
    runtime: Child,
    input: Input,
    kernel: UnixStream,
    splitter: Splitter,
    /// Bytes on their way to the kernel.
    outgoing: Vec<u8>,
    /// Bytes of a command that is not complete yet.
    incoming: Vec<u8>,
    /// A line of evcxr that is not complete yet.
    request: Vec<u8>,
    stderr: Vec<u8>,
    stderr_since: Instant,
    text_since: Instant,
    crash_note: Option<Vec<u8>>,
    /// A cell runs.
    running: bool,
    /// The cell has asked for a line that has not come yet.
    asked: Option<Question>,
    looked: Instant,
}

impl Supervisor {
    /// Starts the runtime and says hello to the kernel.
    pub fn start() -> io::Result<Self> {
        let secret = std::env::var(WIRE).unwrap_or_default();
        let name = std::env::var(SOCKET).map_err(io::Error::other)?;
        let kernel = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
        let (input, theirs) = Input::new()?;
        let runtime = Command::new(std::env::current_exe()?)
            .arg(RUNTIME)
            .args(std::env::args_os().skip(2))
            .env_remove(SOCKET)
            .env("RUST_BACKTRACE", "0")
            .stdin(theirs)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let mut supervisor = Supervisor {
            splitter: Splitter::new(&secret),
            kernel,
            input,
            outgoing: Vec::new(),
            incoming: Vec::new(),
            request: Vec::new(),
            stderr: Vec::new(),
            stderr_since: Instant::now(),
            text_since: Instant::now(),
            crash_note: None,
            running: false,
            asked: None,
            looked: Instant::now(),
            runtime,
        };
        supervisor.kernel.set_nonblocking(true)?;
        supervisor.say(Frame::Hello {
            secret,
            runtime: supervisor.runtime.id(),
        });
        Ok(supervisor)
    }

    /// Passes everything on until the runtime or the kernel is gone; returns the exit status.
    pub fn run(mut self) -> io::Result<i32> {
        let stdin = io::stdin().as_raw_fd();
        let mut output = self.runtime.stdout.take().expect("piped");
        let mut errors = self.runtime.stderr.take().expect("piped");
        let ended = watch(self.runtime.id())?;
        for fd in [output.as_raw_fd(), errors.as_raw_fd()] {
            nonblocking(fd)?;
        }
        let (mut output_open, mut errors_open) = (true, true);
        loop {
            let room = self.outgoing.len() < BACKLOG;
            let kernel_events = libc::POLLIN
                | if self.outgoing.is_empty() {
                    0
                } else {
                    libc::POLLOUT
                };
            let mut polls = [
                poll(stdin, libc::POLLIN),
                poll(self.kernel.as_raw_fd(), kernel_events),
                poll(ended.as_raw_fd(), libc::POLLIN),
                poll_if(output_open && room, output.as_raw_fd()),
                poll_if(errors_open && room, errors.as_raw_fd()),
                poll(self.input.wants_room(), libc::POLLOUT),
            ];
            // SAFETY: the pointer and the length describe the array above.
            let n = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as _, self.patience()) };
            if n < 0 {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            }
            let ready = |i: usize| polls[i].revents != 0;
            if ready(0) && !self.forward_request()? {
                self.kill();
                return Ok(0);
            }
            if ready(1) && !self.commands()? {
                self.kill();
                return Ok(0);
            }
            if ready(3) {
                output_open = self.read_output(&mut output, Some(&mut errors))?;
            }
            if ready(4) {
                errors_open = self.read_errors(&mut errors)?;
            }
            if ready(5) {
                self.input.flush();
            }
            self.release();
            self.look_for_a_question(&mut output)?;
            if ready(2) && !(ready(3) || ready(4)) {
                while self.read_output(&mut output, Some(&mut errors))? && readable(&output) {}
                while self.read_errors(&mut errors)? && readable(&errors) {}
                return self.end();
            }
            self.flush()?;
        }
    }

    /// Milliseconds until something held back must go; forever when nothing is.
    fn patience(&self) -> libc::c_int {
        let mut patience: Option<Duration> = None;
        let mut until = |since: Instant, wait: Duration| {
            let left = wait.saturating_sub(since.elapsed());
            patience = Some(patience.map_or(left, |p| p.min(left)));
        };
        if !self.stderr.is_empty() {
            until(self.stderr_since, ERROR_TEXT_WAIT);
        }
        if self.splitter.holds_text() {
            until(self.text_since, MARK_WAIT);
        }
        if self.running && self.asked.is_none() {
            until(self.looked, LOOK);
        }
        patience.map_or(-1, |p| p.as_millis() as libc::c_int + 1)
    }

    fn release(&mut self) {
        if !self.stderr.is_empty() && self.stderr_since.elapsed() >= ERROR_TEXT_WAIT {
            self.release_stderr();
        }
        if self.splitter.holds_text()
            && self.text_since.elapsed() >= MARK_WAIT
            && let Some(piece) = self.splitter.release()
        {
            self.piece(piece);
        }
    }

    fn release_stderr(&mut self) {
        if !self.stderr.is_empty() {
            let bytes = std::mem::take(&mut self.stderr);
            self.say(Frame::Stderr(bytes));
        }
    }

    /// A cell that waits for its standard input without a word asks for a line, too.
    fn look_for_a_question(&mut self, output: &mut (impl Read + AsRawFd)) -> io::Result<()> {
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
            tell_evcxr(&[INPUT, b":"].concat());
        }
        Ok(())
    }

    /// Passes lines of evcxr to the runtime; false when evcxr is gone.
    fn forward_request(&mut self) -> io::Result<bool> {
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
    fn commands(&mut self) -> io::Result<bool> {
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

    fn kill(&self) {
        // SAFETY: as above; the runtime leads its own process group.
        unsafe { libc::kill(-(self.runtime.id() as i32), libc::SIGKILL) };
    }

    /// Reads standard output once; false at its end.
    fn read_output(
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
        let pieces = self.splitter.feed(&buffer[..n]);
        let mut errors = errors;
        for piece in pieces {
            if piece == Piece::UserError {
                // The text was written before the mark, on the other pipe.
                if let Some(errors) = errors.as_mut() {
                    self.read_errors(*errors)?;
                }
            } else {
                self.release_stderr();
            }
            self.piece(piece);
        }
        self.text_since = Instant::now();
        Ok(true)
    }

    fn piece(&mut self, piece: Piece) {
        match piece {
            Piece::User(bytes) => self.say(Frame::Stdout(bytes)),
            Piece::Content { mime, body } => self.say(Frame::Content { mime, body }),
            Piece::Wire(line) => self.say(Frame::Wire(line)),
            Piece::Complete => {
                self.running = false;
                self.say(Frame::Complete);
                tell_evcxr(COMPLETE);
            }
            Piece::Panic => {
                self.say(Frame::Panic);
                tell_evcxr(b"EVCXR_PANIC_NOTIFICATION");
            }
            Piece::UserError => {
                let text = std::mem::take(&mut self.stderr);
                let text = String::from_utf8_lossy(&text).trim_end().to_string();
                self.say(Frame::UserError(text));
                tell_evcxr(b"EVCXR_ERROR_OCCURRED");
            }
            Piece::Protocol(line) if line.starts_with(INPUT) => {
                self.asked = Some(Question::Line);
                tell_evcxr(&with_one_colon(line));
            }
            Piece::Protocol(line) => tell_evcxr(&line),
        }
    }

    /// Reads standard error once; false at its end.
    fn read_errors(&mut self, errors: &mut impl Read) -> io::Result<bool> {
        let mut buffer = [0u8; 1 << 16];
        let n = match errors.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(e) => return Err(e),
        };
        if let Some(note) = &mut self.crash_note {
            note.extend_from_slice(&buffer[..n]);
            return Ok(true);
        }
        if self.stderr.is_empty() {
            self.stderr_since = Instant::now();
        }
        self.stderr.extend_from_slice(&buffer[..n]);
        if let Some(at) = crash_word(&self.stderr) {
            self.crash_note = Some(self.stderr.split_off(at));
        }
        Ok(true)
    }

    fn say(&mut self, frame: Frame) {
        frame.encode(&mut self.outgoing);
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.kernel.write(&self.outgoing) {
                Ok(n) => {
                    self.outgoing.drain(..n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.kill();
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    fn end(mut self) -> io::Result<i32> {
        if let Some(piece) = self.splitter.finish() {
            self.piece(piece);
        }
        self.release_stderr();
        // Whatever the cells started ends with them.
        self.kill();
        let status = self.runtime.wait()?;
        let note = self.crash_note.take().unwrap_or_default();
        let note = String::from_utf8_lossy(&note);
        self.say(Frame::Exited {
            code: status.code(),
            signal: status.signal(),
            note: note.lines().next().unwrap_or_default().to_string(),
        });
        self.kernel.set_nonblocking(false)?;
        self.flush()?;
        Ok(status
            .code()
            .unwrap_or(128 + status.signal().unwrap_or_default()))
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

/// Where a crash handler's message begins in `text`.
fn crash_word(text: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(text).ok()?;
    CRASH_WORDS
        .iter()
        .filter_map(|word| text.find(word))
        .find(|&at| at == 0 || text.as_bytes()[at - 1] == b'\n')
}

/// evcxr cuts a prompt at its second colon: the later ones travel as [`COLON`].
fn with_one_colon(mut question: Vec<u8>) -> Vec<u8> {
    let is_colon = |b: &&mut u8| **b == b':';
    for colon in question.iter_mut().filter(is_colon).skip(1) {
        *colon = COLON;
    }
    question
}
