//! What the supervisor says to the kernel, over a socket of their own.

use std::io::{self, Read};

/// Kind and length.
const HEAD: usize = 9;

/// One message of the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The first frame.
    Hello {
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
    /// The frame's bytes: kind, length, payload.
    pub fn encode(&self) -> Vec<u8> {
        let number = |n: &Option<i32>| n.map(|n| n.to_string()).unwrap_or_default();
        let text;
        let (kind, parts): (u8, [&[u8]; 3]) = match self {
            Frame::Hello { runtime } => {
                text = runtime.to_string();
                (b'H', [text.as_bytes(), b"", b""])
            }
            Frame::Stdout(bytes) => (b'O', [bytes, b"", b""]),
            Frame::Stderr(bytes) => (b'E', [bytes, b"", b""]),
            Frame::Content { mime, body } => (b'C', [mime.as_bytes(), b"\0", body]),
            Frame::Wire(line) => (b'W', [line, b"", b""]),
            Frame::Started => (b'S', [b""; 3]),
            Frame::Complete => (b'D', [b""; 3]),
            Frame::Panic => (b'P', [b""; 3]),
            Frame::UserError(text) => (b'U', [text.as_bytes(), b"", b""]),
            Frame::Sync(number) => (b'Y', [std::slice::from_ref(number), b"", b""]),
            Frame::Exited { code, signal, note } => {
                text = format!("{} {} {note}", number(code), number(signal));
                (b'X', [text.as_bytes(), b"", b""])
            }
        };
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut out = Vec::with_capacity(HEAD + length);
        out.push(kind);
        out.extend_from_slice(&(length as u64).to_le_bytes());
        parts.iter().for_each(|part| out.extend_from_slice(part));
        out
    }

    /// Reads one frame; `None` at the end of the stream.
    ///
    /// # Errors
    /// A broken stream or an unknown frame.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Frame>> {
        let mut head = [0u8; HEAD];
        match from.read_exact(&mut head) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let [kind, length @ ..] = head;
        let length = u64::from_le_bytes(length);
        // Memory grows with what arrives.
        let mut payload = Vec::new();
        from.take(length).read_to_end(&mut payload)?;
        if payload.len() as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "unknown frame");
        Ok(Some(match kind {
            b'H' => Frame::Hello {
                runtime: text(&payload).parse().map_err(|_| bad())?,
            },
            b'O' => Frame::Stdout(payload),
            b'E' => Frame::Stderr(payload),
            b'C' => {
                let cut = memchr::memchr(0, &payload).ok_or_else(bad)?;
                let mime = text(&payload[..cut]);
                payload.drain(..=cut);
                Frame::Content {
                    mime,
                    body: payload,
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
            Frame::Hello { runtime: 7 },
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
        frames.iter().for_each(|frame| bytes.extend(frame.encode()));
        let mut from = bytes.as_slice();
        for frame in &frames {
            assert_eq!(Frame::read(&mut from).unwrap().as_ref(), Some(frame));
        }
        assert_eq!(Frame::read(&mut from).unwrap(), None);
    }

    #[test]
    fn garbage_is_refused() {
        assert!(Frame::read(&mut [b'?', 0, 0, 0, 0, 0, 0, 0, 0].as_slice()).is_err());
        assert!(Frame::read(&mut [b'O', 9, 0, 0, 0, 0, 0, 0, 0, 1].as_slice()).is_err());
        let endless = [&b"O"[..], &[0xff; 8], b"few bytes"].concat();
        assert!(Frame::read(&mut endless.as_slice()).is_err());
    }
}
