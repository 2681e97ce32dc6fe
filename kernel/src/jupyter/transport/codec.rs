//! ZMTP frames: cut out of what arrives, put before what leaves.
//!
//! A frame announces its length. Nothing is reserved for an announcement: memory grows with what has
//! arrived, and what is announced over a limit is refused before the first byte of it is read.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The parts of one message.
pub type Frames = Vec<Bytes>;

/// Parts of one message; Jupyter's have a handful, widgets a few dozen.
const MOST_PARTS: usize = 1024;
/// What a part costs beside its bytes.
const PART_COST: usize = 64;
/// Commands are short: READY with its properties, SUBSCRIBE, PING.
const LARGEST_COMMAND: usize = 4 << 10;
/// The least that is read at once.
const CHUNK: usize = 16 << 10;
/// Parts below this size are copied together, so that they leave in one piece.
const SMALL: usize = 16 << 10;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// Why a peer is not listened to any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// More than the port takes.
    #[error("{announced} bytes announced, over the limit of {limit}")]
    TooLarge {
        /// What the peer wants to send.
        announced: u64,
        /// What the port takes.
        limit: usize,
    },
    /// A message of very many parts.
    #[error("a message of more than {MOST_PARTS} parts")]
    TooManyParts,
    /// Not ZMTP.
    #[error("{0}")]
    NotZmtp(&'static str),
}

/// What arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A whole message.
    Message(Frames),
    /// A command of the protocol: name and data.
    Command(Bytes, Bytes),
}

/// Cuts a stream of bytes into [`Item`]s.
pub struct Decoder {
    buffer: BytesMut,
    parts: Frames,
    /// Weight of `parts`.
    held: usize,
    limit: usize,
}

impl Decoder {
    /// A decoder of messages that weigh at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Decoder {
            buffer: BytesMut::new(),
            parts: Vec::new(),
            held: 0,
            limit,
        }
    }

    /// Where the next bytes go: with room for as much as has arrived, and for a little at least.
    pub fn room(&mut self) -> &mut BytesMut {
        if self.buffer.capacity() == self.buffer.len() {
            let more = self.buffer.len().clamp(CHUNK, 4 << 20);
            self.buffer.reserve(more);
        }
        &mut self.buffer
    }

    /// Bytes that wait for the rest of their message.
    pub fn held(&self) -> usize {
        self.held + self.buffer.len()
    }

    /// The next whole item; `None` until more has arrived.
    ///
    /// # Errors
    /// A peer that does not keep to the protocol or the limits.
    pub fn next(&mut self) -> Result<Option<Item>, Violation> {
        while let Some((flags, head, length)) = self.head()? {
            if self.buffer.len() - head < length {
                return Ok(None);
            }
            self.buffer.advance(head);
            let body = self.buffer.split_to(length).freeze();
            if flags & COMMAND != 0 {
                return command(body).map(Some);
            }
            self.held += length + PART_COST;
            self.parts.push(body);
            if flags & MORE == 0 {
                self.held = 0;
                if self.buffer.is_empty() {
                    // It would keep the memory of the whole message.
                    self.buffer = BytesMut::new();
                }
                return Ok(Some(Item::Message(std::mem::take(&mut self.parts))));
            }
        }
        Ok(None)
    }

    /// Flags, length of the head, announced length of the body.
    fn head(&self) -> Result<Option<(u8, usize, usize)>, Violation> {
        let Some(&flags) = self.buffer.first() else {
            return Ok(None);
        };
        if flags & !(MORE | LONG | COMMAND) != 0 || flags & (MORE | COMMAND) == MORE | COMMAND {
            return Err(Violation::NotZmtp("a frame with unknown flags"));
        }
        let (head, announced) = match (flags & LONG != 0, self.buffer.get(1..9)) {
            (false, _) => match self.buffer.get(1) {
                Some(&length) => (2, u64::from(length)),
                None => return Ok(None),
            },
            (true, Some(mut length)) => (9, length.get_u64()),
            (true, None) => return Ok(None),
        };
        let limit = match flags & COMMAND != 0 {
            true => LARGEST_COMMAND,
            false => self.limit.saturating_sub(self.held),
        };
        if announced > limit as u64 {
            return Err(Violation::TooLarge { announced, limit });
        }
        if self.parts.len() >= MOST_PARTS {
            return Err(Violation::TooManyParts);
        }
        Ok(Some((flags, head, announced as usize)))
    }
}

fn command(mut body: Bytes) -> Result<Item, Violation> {
    let malformed = Violation::NotZmtp("a command without a name");
    if body.is_empty() {
        return Err(malformed);
    }
    let length = usize::from(body.get_u8());
    if length > body.len() {
        return Err(malformed);
    }
    let name = body.split_to(length);
    Ok(Item::Command(name, body))
}

fn put_head(out: &mut BytesMut, flags: u8, length: usize) {
    match u8::try_from(length) {
        Ok(length) => out.put_slice(&[flags, length]),
        Err(_) => {
            out.put_u8(flags | LONG);
            out.put_u64(length as u64);
        }
    }
}

/// The bytes of a message, in few pieces; large parts are shared, not copied.
pub fn encode(frames: &[Bytes]) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let mut small = BytesMut::new();
    for (at, frame) in frames.iter().enumerate() {
        let flags = if at + 1 < frames.len() { MORE } else { 0 };
        put_head(&mut small, flags, frame.len());
        match frame.len() < SMALL {
            true => small.put_slice(frame),
            false => {
                pieces.push(small.split().freeze());
                pieces.push(frame.clone());
            }
        }
    }
    if !small.is_empty() {
        pieces.push(small.freeze());
    }
    pieces
}

/// The bytes of a command.
pub fn encode_command(name: &str, data: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    put_head(&mut out, COMMAND, 1 + name.len() + data.len());
    out.put_u8(name.len() as u8);
    out.put_slice(name.as_bytes());
    out.put_slice(data);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8], cut: usize) -> Result<Vec<Item>, Violation> {
        let mut decoder = Decoder::new(1 << 20);
        let mut items = Vec::new();
        for chunk in bytes.chunks(cut.max(1)) {
            decoder.room().extend_from_slice(chunk);
            while let Some(item) = decoder.next()? {
                items.push(item);
            }
        }
        assert_eq!(decoder.held(), 0);
        Ok(items)
    }

    #[test]
    fn messages_and_commands_survive_the_way_however_they_are_cut() {
        let message: Frames = [vec![], vec![7; 255], vec![8; 256], vec![9; 70_000]]
            .map(Bytes::from)
            .to_vec();
        let mut bytes = encode(&message).concat();
        bytes.extend_from_slice(&encode_command("PING", b"\0\x05hello"));
        bytes.extend_from_slice(&encode(&message[..1]).concat());
        for cut in [1, 2, 9, 1000, bytes.len()] {
            let items = decode(&bytes, cut).unwrap();
            let ping = Item::Command("PING".into(), Bytes::from_static(b"\0\x05hello"));
            let last = Item::Message(message[..1].to_vec());
            assert_eq!(items, [Item::Message(message.clone()), ping, last]);
        }
    }

    #[test]
    fn an_announcement_is_refused_before_anything_is_reserved() {
        for power in [21, 32, 40, 62, 63] {
            let mut decoder = Decoder::new(1 << 20);
            decoder.room().put_u8(LONG);
            decoder.room().put_u64(1 << power);
            assert!(matches!(decoder.next(), Err(Violation::TooLarge { .. })));
            assert!(decoder.room().capacity() < 1 << 20);
        }
    }

    #[test]
    fn memory_grows_with_what_arrived() {
        let mut decoder = Decoder::new(64 << 20);
        decoder.room().put_u8(LONG);
        decoder.room().put_u64(60 << 20);
        assert_eq!(decoder.next(), Ok(None));
        assert!(decoder.room().capacity() < 1 << 20);
    }

    #[test]
    fn the_parts_of_a_message_count_together() {
        let mut decoder = Decoder::new(1 << 20);
        for _ in 0..3 {
            decoder.room().put_u8(MORE | LONG);
            decoder.room().put_u64(1 << 19);
            decoder.room().extend_from_slice(&[0; 1 << 19]);
        }
        assert!(matches!(decoder.next(), Err(Violation::TooLarge { .. })));

        let mut decoder = Decoder::new(1 << 20);
        for _ in 0..=MOST_PARTS {
            decoder.room().extend_from_slice(&[MORE, 0]);
        }
        assert_eq!(decoder.next(), Err(Violation::TooManyParts));
    }

    #[test]
    fn garbage_is_refused_or_waits() {
        let mut seed = 7u64;
        let mut random = || {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (seed >> 33) as u8
        };
        for length in 0..2000 {
            let mut decoder = Decoder::new(1 << 16);
            let garbage: Vec<u8> = (0..length % 200).map(|_| random()).collect();
            decoder.room().extend_from_slice(&garbage);
            while let Ok(Some(_)) = decoder.next() {}
            assert!(decoder.held() <= (1 << 16) + 200);
        }
    }
}
