//! Descriptors: waiting for several at once, reading without waiting.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// A pipe that becomes readable when the process has ended; the process can still be waited for.
pub fn watch(process: u32) -> io::Result<io::PipeReader> {
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

pub fn poll(fd: RawFd, events: libc::c_short) -> libc::pollfd {
    libc::pollfd {
        fd,
        events,
        revents: 0,
    }
}

/// A negative descriptor is skipped by poll.
pub fn poll_if(wanted: bool, fd: RawFd) -> libc::pollfd {
    poll(if wanted { fd } else { -1 }, libc::POLLIN)
}

pub fn readable(from: &impl AsRawFd) -> bool {
    let mut one = poll(from.as_raw_fd(), libc::POLLIN);
    // SAFETY: one descriptor, described by `one`.
    unsafe { libc::poll(&mut one, 1, 0) > 0 && one.revents & libc::POLLIN != 0 }
}

pub fn nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: flags of a descriptor that we own.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        if flags < 0 || libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

pub fn read_fd(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length describe `buffer`.
    let n = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
    if n < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(n as usize)
}
