//! Standard output and standard error of the cells in the order in which they were written.
//!
//! They come over two pipes, which say nothing about each other. So the runtime leaves a mark on standard output behind
//! everything it writes to standard error: the supervisor puts those bytes where the mark stands. What programs write that
//! a cell has started, and C libraries by their own means, has no mark, and its place is that of its arrival.

use std::ffi::{c_int, c_void};
use std::io;
use std::process::ChildStderr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::descriptors::readable;
use super::frame::Frame;
use super::relay::{BACKLOG, Supervisor};

/// A mark comes at most so long after the bytes that it is about.
const MARK_IS_LATE: Duration = Duration::from_millis(50);

/// How the runtime leaves marks.
struct Marks {
    /// The cells' standard output, wherever they have sent theirs meanwhile.
    output: c_int,
    /// What stands before the number.
    word: Vec<u8>,
}

static MARKS: OnceLock<Marks> = OnceLock::new();

/// From here on what this process writes to standard error is marked, behind this secret.
///
/// # Errors
/// When there is no descriptor left.
pub fn begin(secret: &str) -> io::Result<()> {
    // SAFETY: a plain system call without pointers.
    let output = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_DUPFD_CLOEXEC, 3) };
    if output < 0 {
        return Err(io::Error::last_os_error());
    }
    let word = format!("{secret}cell:stderr ").into_bytes();
    let _ = MARKS.set(Marks { output, word });
    Ok(())
}

/// The C library's `write`, for this program and all libraries that it loads: Rust's standard library calls it.
///
/// # Safety
/// As for the system call: the pointer and the length describe readable memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(to: c_int, bytes: *const c_void, length: usize) -> isize {
    // SAFETY: the caller's own promise.
    let written = unsafe { libc::syscall(libc::SYS_write, to, bytes, length) } as isize;
    if to == libc::STDERR_FILENO
        && written > 0
        && let Some(marks) = MARKS.get()
    {
        marks.leave(written as usize);
    }
    written
}

impl Marks {
    /// Also called in handlers of signals: takes no memory and no lock.
    fn leave(&self, written: usize) {
        let mut mark = [0u8; 128];
        let mut at = self.word.len();
        let mut digits = [0u8; 20];
        let mut count = 0;
        let mut rest = written;
        while rest > 0 {
            digits[count] = b'0' + (rest % 10) as u8;
            rest /= 10;
            count += 1;
        }
        if at + count >= mark.len() {
            return;
        }
        mark[..at].copy_from_slice(&self.word);
        for digit in digits[..count].iter().rev() {
            mark[at] = *digit;
            at += 1;
        }
        mark[at] = b'\n';
        // SAFETY: the pointer and the length describe `mark`. So few bytes go in one piece.
        unsafe { libc::syscall(libc::SYS_write, self.output, mark.as_ptr(), at + 1) };
    }
}

impl Supervisor {
    /// So many bytes of standard error stand here among what stands on standard output.
    pub(super) fn errors_stand_here(
        &mut self,
        written: usize,
        errors: Option<&mut ChildStderr>,
    ) -> io::Result<()> {
        let early = match self.early {
            (early, when) if when.elapsed() < MARK_IS_LATE => early.min(written),
            _ => 0,
        };
        self.early.0 -= early.min(self.early.0);
        let wanted = written - early;
        if let Some(errors) = errors {
            // Fewer where a cell has sent its errors elsewhere.
            while self.stderr.len() < wanted && readable(errors) && self.read_errors(errors)? {}
        }
        let bytes: Vec<u8> = self.stderr.drain(..wanted.min(self.stderr.len())).collect();
        if !bytes.is_empty() {
            self.say(Frame::Stderr(bytes));
        }
        Ok(())
    }

    /// Sends standard error on once all that was written before it has been: its mark may have come by then. False at
    /// the end of standard output.
    pub(super) fn place_errors(
        &mut self,
        mut is_open: bool,
        output: &mut (impl io::Read + std::os::fd::AsRawFd),
        errors: &mut ChildStderr,
    ) -> io::Result<bool> {
        while is_open && readable(output) {
            if self.backlog >= BACKLOG {
                return Ok(true);
            }
            is_open = self.read_output(output, Some(errors))?;
        }
        let bytes = self.stderr.len();
        self.release_stderr();
        let (early, when) = self.early;
        let early = if when.elapsed() < MARK_IS_LATE {
            early
        } else {
            0
        };
        self.early = (early + bytes, Instant::now());
        Ok(is_open)
    }

    /// Sends on what came on standard error.
    pub(super) fn release_stderr(&mut self) {
        if !self.stderr.is_empty() {
            let bytes = std::mem::take(&mut self.stderr);
            self.say(Frame::Stderr(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_mark_is_one_line() {
        let (mut reader, writer) = io::pipe().unwrap();
        let marks = Marks {
            output: writer.as_raw_fd(),
            word: b"@secret@cell:stderr ".to_vec(),
        };
        for written in [1, 10, 1203, usize::MAX] {
            marks.leave(written);
        }
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let wanted = [1, 10, 1203, usize::MAX].map(|n| format!("@secret@cell:stderr {n}\n"));
        assert_eq!(text, wanted.concat());
    }
}
