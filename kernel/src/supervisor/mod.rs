//! The child between evcxr and the running cells.
//!
//! evcxr starts this process in place of its runtime. It starts the real runtime behind pipes of its
//! own, gives evcxr only evcxr's protocol, and sends everything else to the kernel at once. It also
//! passes signals on, and takes the runtime with it when the kernel is gone.
//!
//! ```text
//! kernel --stdin--> supervisor --stdin--> runtime (cells, library)
//! kernel <-stdout-- supervisor <-stdout/stderr-- runtime
//! kernel <==frames== supervisor; kernel ==commands==> supervisor
//! ```

pub mod frame;
pub mod splitter;

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use frame::Frame;
use splitter::{COMPLETE, Piece, Splitter};

/// First argument of our own binary that makes it a supervisor.
pub const SUPERVISOR: &str = "__supervisor";
/// First argument of our own binary that makes it the runtime.
pub const RUNTIME: &str = "__runtime";
/// Environment: prefix of the library's messages.
pub const WIRE: &str = "REBIT_WIRE";
/// Environment: name of the abstract socket of the kernel.
pub const SOCKET: &str = "REBIT_SOCKET";

/// Commands of the kernel, one byte each.
pub mod command {
    /// Send the runtime SIGINT.
    pub const INTERRUPT: u8 = b'I';
    /// Kill the runtime and everything it started.
    pub const KILL: u8 = b'K';
    /// Answer with a `Sync` frame; one byte follows.
    pub const SYNC: u8 = b'Y';
}

/// Standard error waits this long for the mark that makes it an error's text.
const ERROR_TEXT_WAIT: Duration = Duration::from_millis(3);
/// Text that looks like the beginning of a mark waits this long for the rest.
const MARK_WAIT: Duration = Duration::from_millis(20);
/// With more than this on its way to the kernel the cells wait.
const BACKLOG: usize = 1 << 20;
/// What evcxr's crash handler writes before its backtrace.
const CRASH_WORDS: [&str; 3] = ["Segmentation fault.", "Illegal instruction.", "Bus error."];

/// Runs the role that the first argument names; returns only when it names none.
pub fn roles() {
    match std::env::args().nth(1).as_deref() {
        Some(SUPERVISOR) => {
            let status = Supervisor::start().and_then(Supervisor::run);
            match status {
                Ok(status) => std::process::exit(status),
                Err(error) => {
                    eprintln!("supervisor: {error}");
                    std::process::exit(98)
                }
            }
        }
        Some(RUNTIME) => {
            // SAFETY: plain system calls without pointers into Rust memory; the handler does nothing.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // An interrupt must not end the process before the library has its own handler.
                libc::signal(libc::SIGINT, ignore as *const () as libc::sighandler_t);
            }
            evcxr::runtime_hook();
            std::process::exit(97)
        }
        _ => {}
    }
}

extern "C" fn ignore(_: libc::c_int) {}

struct Supervisor {
    runtime: Child,
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
}

impl Supervisor {
    fn start() -> io::Result<Self> {
        let secret = std::env::var(WIRE).unwrap_or_default();
        let name = std::env::var(SOCKET).map_err(io::Error::other)?;
        let kernel = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
        let runtime = Command::new(std::env::current_exe()?)
            .arg(RUNTIME)
            .args(std::env::args_os().skip(2))
            .env_remove(SOCKET)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let mut supervisor = Supervisor {
            splitter: Splitter::new(&secret),
            kernel,
            outgoing: Vec::new(),
            incoming: Vec::new(),
            request: Vec::new(),
            stderr: Vec::new(),
            stderr_since: Instant::now(),
            text_since: Instant::now(),
            crash_note: None,
            runtime,
        };
        supervisor.kernel.set_nonblocking(true)?;
        supervisor.say(Frame::Hello {
            secret,
            runtime: supervisor.runtime.id(),
        });
        Ok(supervisor)
    }

    fn run(mut self) -> io::Result<i32> {
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
            self.release();
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
            }
            // A runtime that is gone shows at its exit.
            if let Some(stdin) = &mut self.runtime.stdin {
                let _ = stdin.write_all(&line).and_then(|()| stdin.flush());
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

/// A pipe that becomes readable when the process has ended; the process can still be waited for.
fn watch(process: u32) -> io::Result<io::PipeReader> {
    let (reader, writer) = io::pipe()?;
    std::thread::spawn(move || {
        // SAFETY: `info` is a plain structure that the call fills in.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let options = libc::WEXITED | libc::WNOWAIT;
            while libc::waitid(libc::P_PID, process, &mut info, options) != 0
                && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
            {}
        }
        drop(writer);
    });
    Ok(reader)
}

fn poll(fd: RawFd, events: libc::c_short) -> libc::pollfd {
    libc::pollfd {
        fd,
        events,
        revents: 0,
    }
}

/// A negative descriptor is skipped by poll.
fn poll_if(wanted: bool, fd: RawFd) -> libc::pollfd {
    poll(if wanted { fd } else { -1 }, libc::POLLIN)
}

fn readable(from: &impl AsRawFd) -> bool {
    let mut one = poll(from.as_raw_fd(), libc::POLLIN);
    // SAFETY: one descriptor, described by `one`.
    unsafe { libc::poll(&mut one, 1, 0) > 0 && one.revents & libc::POLLIN != 0 }
}

fn nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: flags of a descriptor that we own.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        if flags < 0 || libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn read_fd(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length describe `buffer`.
    let n = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
    if n < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(n as usize)
}
