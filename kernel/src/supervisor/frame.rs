//! What the supervisor says to the kernel, over a socket of their own.

use std::io::{self, Read};

/// One message of the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The first frame: the session's secret, then the process id of the runtime.
    Hello {
        /// Proves that the other end is our child.
        secret: String,
        /// Process that runs the cells.
        runtime: u32,
    },
    /// Bytes of standard output.
    Stdout(Vec<u8>),
    /// Bytes of standard error.
    Stderr(Vec<u8>),
    /// A rich value in one form.
    Content {
        /// MIME type.
        mime: String,
        /// Content.
        body: Vec<u8>,
    },
    /// A message of the library (one line of JSON).
    Wire(Vec<u8>),
    /// A cell starts to run.
    Started,
    /// The cell has run.
    Complete,
    /// The cell panicked.
    Panic,
    /// A `?` ended the cell; the error's text.
    UserError(String),
    /// Answer to a `sync`: everything before it has been sent.
    Sync(u8),
    /// The runtime is gone.
    Exited {
        /// Exit status, unless a signal ended it.
        code: Option<i32>,
        /// The signal.
        signal: Option<i32>,
        /// What a crash handler wrote last.
        note: String,
    },
}

impl Frame {
    /// Appends the frame's bytes: kind, length, payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, payload) = match self {
            Frame::Hello { secret, runtime } => (b'H', format!("{runtime} {secret}").into_bytes()),
            Frame::Stdout(bytes) => (b'O', bytes.clone()),
            Frame::Stderr(bytes) => (b'E', bytes.clone()),
            Frame::Content { mime, body } => {
                let mut payload = mime.clone().into_bytes();
                payload.push(0);
                payload.extend_from_slice(body);
                (b'C', payload)
            }
            Frame::Wire(line) => (b'W', line.clone()),
            Frame::Started => (b'S', Vec::new()),
            Frame::Complete => (b'D', Vec::new()),
            Frame::Panic => (b'P', Vec::new()),
            Frame::UserError(text) => (b'U', text.clone().into_bytes()),
            Frame::Sync(number) => (b'Y', vec![*number]),
            Frame::Exited { code, signal, note } => {
                let number = |n: &Option<i32>| n.map(|n| n.to_string()).unwrap_or_default();
                let text = format!("{} {} {note}", number(code), number(signal));
                (b'X', text.into_bytes())
            }
        };
        out.push(kind);
        out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&payload);
    }

    /// Reads one frame; `None` at the end of the stream.
    ///
    /// # Errors
    /// A broken stream or an unknown frame.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Frame>> {
        let mut head = [0u8; 5];
        match from.read_exact(&mut head) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut payload = vec![0u8; length];
        from.read_exact(&mut payload)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "unknown frame");
        Ok(Some(match head[0] {
            b'H' => {
                let text = text(&payload);
                let (runtime, secret) = text.split_once(' ').ok_or_else(bad)?;
                Frame::Hello {
                    secret: secret.to_string(),
                    runtime: runtime.parse().map_err(|_| bad())?,
                }
            }
            b'O' => Frame::Stdout(payload),
            b'E' => Frame::Stderr(payload),
            b'C' => {
                let cut = payload.iter().position(|&b| b == 0).ok_or_else(bad)?;
                Frame::Content {
                    mime: text(&payload[..cut]),
                    body: payload[cut + 1..].to_vec(),
                }
            }
            b'W' => Frame::Wire(payload),
            b'S' => Frame::Started,
            b'D' => Frame::Complete,
            b'P' => Frame::Panic,
            b'U' => Frame::UserError(text(&payload)),
            b'Y' => Frame::Sync(*payload.first().ok_or_else(bad)?),
            b'X' => {
                let text = text(&payload);
                let mut parts = text.splitn(3, ' ');
                let mut number = || parts.next().and_then(|n| n.parse().ok());
                Frame::Exited {
                    code: number(),
                    signal: number(),
                    note: parts.next().unwrap_or_default().to_string(),
                }
            }
            _ => return Err(bad()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_way() {
        let frames = [
            Frame::Hello {
                secret: "s".into(),
                runtime: 7,
            },
            Frame::Stdout(b"a\nb".to_vec()),
            Frame::Stderr(vec![0xff, 0]),
            Frame::Content {
                mime: "text/html".into(),
                body: b"<b>\0</b>".to_vec(),
            },
            Frame::Wire(b"{}".to_vec()),
            Frame::Started,
            Frame::Complete,
            Frame::Panic,
            Frame::UserError("no such file".into()),
            Frame::Sync(9),
            Frame::Exited {
                code: None,
                signal: Some(6),
                note: "Segmentation fault. x".into(),
            },
            Frame::Exited {
                code: Some(3),
                signal: None,
                note: String::new(),
            },
        ];
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        let mut from = bytes.as_slice();
        for frame in &frames {
            assert_eq!(Frame::read(&mut from).unwrap().as_ref(), Some(frame));
        }
        assert_eq!(Frame::read(&mut from).unwrap(), None);
    }

    #[test]
    fn garbage_is_refused() {
        assert!(Frame::read(&mut [b'?', 0, 0, 0, 0].as_slice()).is_err());
        assert!(Frame::read(&mut [b'O', 9, 0, 0, 0, 1].as_slice()).is_err());
    }
}
