//! The runtime's standard input: evcxr's requests, and what cells read.
//!
//! A pipe could end only once. Cells must see an end of their input (`read_to_string` waits for it) and be
//! able to read again, so this is a socket of packets: an empty packet ends one read and nothing else. A
//! reader with little room would lose the rest of a longer packet, so each byte is a packet of its own.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::Stdio;

use super::descriptors::nonblocking;

/// A byte, or the end of one reading.
type Packet = Option<u8>;

/// Our end of the runtime's standard input.
pub struct Input {
    socket: OwnedFd,
    /// The runtime's end, to see what it has not read yet.
    other: OwnedFd,
    /// What the socket has no room for yet.
    waiting: VecDeque<Packet>,
}

impl Input {
    /// A new input, and what becomes the runtime's standard input.
    ///
    /// # Errors
    /// When the system has no more descriptors.
    pub fn new() -> io::Result<(Input, Stdio)> {
        let mut ends: [RawFd; 2] = [-1; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        // SAFETY: the call writes two descriptors into the array.
        if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: both are open and nobody else's.
        let [socket, other] = ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        nonblocking(socket.as_raw_fd())?;
        let theirs = other.try_clone()?;
        let input = Input {
            socket,
            other,
            waiting: VecDeque::new(),
        };
        Ok((input, theirs.into()))
    }

    /// Passes a line on.
    pub fn line(&mut self, line: &[u8]) {
        self.waiting.extend(line.iter().copied().map(Some));
        self.flush();
    }

    /// Ends the reading that waits, as Ctrl-D does at a terminal; the next one waits again.
    pub fn end(&mut self) {
        self.waiting.push_back(None);
        self.flush();
    }

    /// Sends what there is room for.
    pub fn flush(&mut self) {
        while let Some(packet) = self.waiting.front() {
            let bytes = packet.as_slice();
            // SAFETY: pointer and length describe `bytes`.
            let sent = unsafe {
                libc::send(
                    self.socket.as_raw_fd(),
                    bytes.as_ptr().cast(),
                    bytes.len(),
                    libc::MSG_NOSIGNAL,
                )
            };
            if sent < 0 {
                match io::Error::last_os_error().kind() {
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::WouldBlock => return,
                    // A runtime that is gone shows at its exit.
                    _ => self.waiting.clear(),
                }
            }
            self.waiting.pop_front();
        }
    }

    /// The descriptor that has room again when it becomes writable; a negative one while nothing waits.
    pub fn wants_room(&self) -> RawFd {
        match self.waiting.is_empty() {
            true => -1,
            false => self.socket.as_raw_fd(),
        }
    }

    /// Whether the runtime has read everything.
    pub fn is_read(&self) -> bool {
        let mut count: libc::c_int = 0;
        // SAFETY: the call writes one integer, the one it is given.
        let answer = unsafe { libc::ioctl(self.other.as_raw_fd(), libc::FIONREAD, &mut count) };
        self.waiting.is_empty() && answer == 0 && count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn cat(program: &str) -> (Input, std::process::Child) {
        let (input, theirs) = Input::new().unwrap();
        let child = Command::new("sh")
            .args(["-c", program])
            .stdin(theirs)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        (input, child)
    }

    #[test]
    fn an_end_ends_one_reading() {
        let (mut input, child) = cat("cat; echo ended; cat");
        input.line(b"one\n");
        input.end();
        input.line(b"two\n");
        input.end();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.stdout, b"one\nended\ntwo\n");
        assert!(input.is_read());
    }

    #[test]
    fn much_text_waits_for_room() {
        let (mut input, child) = cat("sleep 0.2; wc -c");
        input.line(&[b'x'; 5000]);
        input.end();
        assert!(!input.is_read() && input.wants_room() >= 0);
        while input.wants_room() >= 0 {
            input.flush();
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "5000");
    }
}
