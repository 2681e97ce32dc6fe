//! What the supervisor says to the kernel, over a socket of their own.

use std::io::{self, Read};

/// Bytes of a frame's length.
const HEAD: usize = 8;

/// One message of the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Frame {
    /// The first frame.
    Hello {
        /// Process that runs the cells.
        runtime: u32,
    },
    /// Bytes of standard output.
    Stdout(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Bytes of standard error.
    Stderr(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A rich value in one form.
    Content {
        /// MIME type.
        mime: String,
        /// Content.
        #[serde(with = "serde_bytes")]
        body: Vec<u8>,
    },
    /// A message of the library (one line of JSON).
    Wire(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A cell starts to run.
    Started,
    /// The cell has run.
    Complete,
    /// The cell panicked.
    Panic,
    /// A `?` ended the cell; what the library says of it.
    UserError(String),
    /// This variable is lost: its type is no longer what it was.
    Lost(String),
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
    /// The frame's bytes: their number (little-endian, 64 bits), then the frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = postcard::to_extend(self, vec![0; HEAD]).expect("plain data");
        let length = (out.len() - HEAD) as u64;
        out[..HEAD].copy_from_slice(&length.to_le_bytes());
        out
    }

    /// Reads one frame; `None` at the end of the stream.
    ///
    /// # Errors
    /// A broken stream or an unknown frame.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Frame>> {
        let mut length = [0; HEAD];
        match from.read_exact(&mut length) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let length = u64::from_le_bytes(length);
        // Memory grows with what arrives.
        let mut bytes = Vec::new();
        from.take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let frame = postcard::from_bytes(&bytes);
        frame
            .map(Some)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
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
            Frame::Lost("v".into()),
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
        let framed = |length: u64, bytes: &[u8]| [&length.to_le_bytes()[..], bytes].concat();
        for bytes in [
            framed(1, &[99]),
            framed(9, &[1]),
            framed(0, &[]),
            framed(u64::MAX, b"few bytes"),
        ] {
            assert!(Frame::read(&mut bytes.as_slice()).is_err(), "{bytes:?}");
        }
    }
}
