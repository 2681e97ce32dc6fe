//! The supervisor's loop: evcxr, the kernel and the runtime, each heard as soon as it speaks.

use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::descriptors::{nonblocking, poll, poll_if, readable, watch};
use super::frame::Frame;
use super::heard::Question;
use super::input::Input;
use super::splitter::Splitter;
use super::{RUNTIME, SOCKET, WIRE};

/// Standard error waits this long for the mark that makes it an error's text.
const ERROR_TEXT_WAIT: Duration = Duration::from_millis(3);
/// Text that looks like the beginning of a mark waits this long for the rest.
const MARK_WAIT: Duration = Duration::from_millis(20);
/// How often a running cell is looked at: does it wait for input?
pub(super) const LOOK: Duration = Duration::from_millis(50);
/// With more than this on its way to the kernel the cells wait.
const BACKLOG: usize = 1 << 20;
/// The process between evcxr and the runtime.
pub struct Supervisor {
    pub(super) runtime: Child,
    pub(super) input: Input,
    pub(super) kernel: UnixStream,
    pub(super) splitter: Splitter,
    /// Bytes on their way to the kernel.
    pub(super) outgoing: Vec<u8>,
    /// Bytes of a command that is not complete yet.
    pub(super) incoming: Vec<u8>,
    /// A line of evcxr that is not complete yet.
    pub(super) request: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) stderr_since: Instant,
    pub(super) text_since: Instant,
    pub(super) crash_note: Option<Vec<u8>>,
    /// A cell runs.
    pub(super) running: bool,
    /// The cell has asked for a line that has not come yet.
    pub(super) asked: Option<Question>,
    pub(super) looked: Instant,
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

    pub(super) fn release_stderr(&mut self) {
        if !self.stderr.is_empty() {
            let bytes = std::mem::take(&mut self.stderr);
            self.say(Frame::Stderr(bytes));
        }
    }

    pub(super) fn kill(&self) {
        // SAFETY: as above; the runtime leads its own process group.
        unsafe { libc::kill(-(self.runtime.id() as i32), libc::SIGKILL) };
    }

    pub(super) fn say(&mut self, frame: Frame) {
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
