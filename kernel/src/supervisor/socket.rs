//! The socket between the kernel and its supervisors: a file in the session's folder, which nobody else can enter.
//!
//! A cell runs under the same user and can reach it, too. So the kernel looks who is there: only its own child
//! is told the session's secret.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

const NAME: &str = "kernel.socket";
/// The other end is there already and answers at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// The socket's path. Of a folder with a long name only a short one fits into a socket's address.
fn short(folder: &File) -> PathBuf {
    format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()).into()
}

/// Listens in `folder`.
///
/// # Errors
/// When the socket cannot be made there.
pub fn listen(folder: &Path) -> io::Result<UnixListener> {
    UnixListener::bind(short(&File::open(folder)?))
}

/// Connects to the kernel; returns the session's secret, too.
///
/// # Errors
/// When nobody listens, or does not take us for its child.
pub fn connect(folder: &Path) -> io::Result<(UnixStream, String)> {
    let mut stream = UnixStream::connect(short(&File::open(folder)?))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut secret = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        if byte == *b"\n" {
            break;
        }
        secret.push(byte[0]);
    }
    stream.set_read_timeout(None)?;
    let secret = String::from_utf8(secret).map_err(io::Error::other)?;
    Ok((stream, secret))
}

/// Tells `stream` the secret if a child of this process is at its other end.
///
/// # Errors
/// Somebody else, or nobody any more.
pub fn welcome(stream: &mut UnixStream, secret: &str) -> io::Result<()> {
    let process = process_behind(stream)?;
    if parent_of(process) != Some(std::process::id()) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    stream.write_all(format!("{secret}\n").as_bytes())
}

fn process_behind(stream: &UnixStream) -> io::Result<u32> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: pointer and size describe `peer`, which the call fills in.
    let answer = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &mut size,
        )
    };
    match answer {
        0 => Ok(peer.pid as u32),
        _ => Err(io::Error::last_os_error()),
    }
}

fn parent_of(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_not_our_child_is_told_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a".repeat(200));
        std::fs::create_dir(&deep).unwrap();
        let listener = listen(&deep).unwrap();
        // This process is not its own child.
        let caller = std::thread::spawn({
            let deep = deep.clone();
            move || connect(&deep).map(|_| ())
        });
        let (mut stream, _) = listener.accept().unwrap();
        let error = welcome(&mut stream, "secret").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        drop(stream);
        assert!(caller.join().unwrap().is_err());
    }
}
