//! Where a port listens: an address of the network, or a socket in the file system.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A bound port.
pub enum Listener {
    /// `tcp://`.
    Tcp(TcpListener),
    /// `ipc://`; the file goes with it.
    Ipc(UnixListener, PathBuf),
}

impl Listener {
    /// Binds `tcp://IP:PORT` or `ipc://PATH`.
    ///
    /// # Errors
    /// An address that is not this machine's, a port that is taken.
    pub async fn bind(url: &str) -> io::Result<Listener> {
        let other = || {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{url}: not an address"),
            )
        };
        if let Some(path) = url.strip_prefix("ipc://") {
            let path = PathBuf::from(path);
            remove_socket(&path)?;
            return Ok(Listener::Ipc(UnixListener::bind(&path)?, path));
        }
        let address = url.strip_prefix("tcp://").ok_or_else(other)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(other)?;
        let port: u16 = port.parse().map_err(|_| other())?;
        let host = match host.trim_start_matches('[').trim_end_matches(']') {
            "*" => "0.0.0.0",
            host => host,
        };
        Ok(Listener::Tcp(TcpListener::bind((host, port)).await?))
    }

    /// The next connection.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub async fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Replies are small and waited for.
                let _ = stream.set_nodelay(true);
                Ok(Stream::Tcp(stream))
            }
            Listener::Ipc(listener, _) => Ok(Stream::Ipc(listener.accept().await?.0)),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Ipc(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A socket that an earlier kernel left; never a file of another kind.
fn remove_socket(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => std::fs::remove_file(path),
        _ => Ok(()),
    }
}

/// A connection.
pub enum Stream {
    /// Over the network.
    Tcp(TcpStream),
    /// Over the file system.
    Ipc(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Ipc(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Ipc(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Stream::Ipc(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Stream::Ipc(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Ipc(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
