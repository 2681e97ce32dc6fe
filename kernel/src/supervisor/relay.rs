//! The supervisor's loop: evcxr, the kernel and the runtime, each heard as soon as it speaks.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::descriptors::{nonblocking, poll, poll_if, readable, watch};
use super::frame::Frame;
use super::heard::Question;
use super::input::Input;
use super::splitter::Splitter;
use super::{RUNTIME, SOCKET, socket};

/// Text that looks like the beginning of a mark waits this long for the rest.
const MARK_WAIT: Duration = Duration::from_millis(20);
/// How often a running cell is looked at: does it wait for input?
pub(super) const LOOK: Duration = Duration::from_millis(50);
/// With more than this on its way to the kernel the cells wait.
pub(super) const BACKLOG: usize = 1 << 20;
/// The process between evcxr and the runtime.
pub struct Supervisor {
    pub(super) runtime: Child,
    pub(super) input: Input,
    pub(super) kernel: UnixStream,
    pub(super) splitter: Splitter,
    /// Frames on their way to the kernel.
    outgoing: VecDeque<Vec<u8>>,
    /// Bytes of the first of them that have left, and bytes of all that have not.
    sent: usize,
    pub(super) backlog: usize,
    /// Bytes of a command that is not complete yet.
    pub(super) incoming: Vec<u8>,
    /// A line of evcxr that is not complete yet.
    pub(super) request: Vec<u8>,
    /// Standard error whose place among standard output is not known yet.
    pub(super) stderr: Vec<u8>,
    /// So much of it was sent on before the mark came that gives its place, and when.
    pub(super) early: (usize, Instant),
    pub(super) text_since: Instant,
    /// The end of what was written to standard error: perhaps last words.
    pub(super) last_words: VecDeque<u8>,
    /// A cell runs.
    pub(super) running: bool,
    /// The cell has asked for a line that has not come yet.
    pub(super) asked: Option<Question>,
    pub(super) looked: Instant,
}

impl Supervisor {
    /// Starts the runtime and says hello to the kernel.
    pub fn start() -> io::Result<Self> {
        let folder = std::env::var_os(SOCKET).ok_or(io::ErrorKind::NotFound)?;
        let (kernel, secret) = socket::connect(folder.as_ref())?;
        let (mut input, theirs) = Input::new()?;
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
        input.line(format!("{secret}\n").as_bytes());
        let mut supervisor = Supervisor {
            splitter: Splitter::new(&secret),
            kernel,
            input,
            outgoing: VecDeque::new(),
            sent: 0,
            backlog: 0,
            incoming: Vec::new(),
            request: Vec::new(),
            stderr: Vec::new(),
            early: (0, Instant::now()),
            text_since: Instant::now(),
            last_words: VecDeque::new(),
            running: false,
            asked: None,
            looked: Instant::now(),
            runtime,
        };
        supervisor.kernel.set_nonblocking(true)?;
        supervisor.say(Frame::Hello {
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
            let room = self.backlog < BACKLOG;
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
            if !self.stderr.is_empty() {
                output_open = self.place_errors(output_open, &mut output, &mut errors)?;
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
        if self.splitter.holds_text() {
            until(self.text_since, MARK_WAIT);
        }
        if self.running && self.asked.is_none() {
            until(self.looked, LOOK);
        }
        patience.map_or(-1, |p| p.as_millis() as libc::c_int + 1)
    }

    fn release(&mut self) {
        if self.splitter.holds_text()
            && self.text_since.elapsed() >= MARK_WAIT
            && let Some(piece) = self.splitter.release()
        {
            self.piece(piece);
        }
    }

    pub(super) fn kill(&self) {
        // SAFETY: as above; the runtime leads its own process group.
        unsafe { libc::kill(-(self.runtime.id() as i32), libc::SIGKILL) };
    }

    pub(super) fn say(&mut self, frame: Frame) {
        let bytes = frame.encode();
        self.backlog += bytes.len();
        self.outgoing.push_back(bytes);
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Some(frame) = self.outgoing.front() {
            match self.kernel.write(&frame[self.sent..]) {
                Ok(n) => {
                    self.sent += n;
                    self.backlog -= n;
                    if self.sent == frame.len() {
                        self.sent = 0;
                        self.outgoing.pop_front();
                    }
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
        let note = crash_note(self.last_words.make_contiguous());
        self.say(Frame::Exited {
            code: status.code(),
            signal: status.signal(),
            note,
        });
        self.kernel.set_nonblocking(false)?;
        self.flush()?;
        Ok(status
            .code()
            .unwrap_or(128 + status.signal().unwrap_or_default()))
    }
}

/// What Rust says before it aborts, from the end of standard error.
fn crash_note(last_words: &[u8]) -> String {
    let text = String::from_utf8_lossy(last_words);
    let is_note = |line: &&str| {
        line.starts_with("memory allocation of ") || line.ends_with("has overflowed its stack")
    };
    text.lines()
        .rev()
        .take(4)
        .find(is_note)
        .unwrap_or_default()
        .to_string()
}
