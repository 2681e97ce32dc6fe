//! How a connection begins: ZMTP 3 with the mechanism NULL (Jupyter signs its messages instead).
//!
//! Source: ZMTP 3.1, <https://rfc.zeromq.org/spec/37/>.

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::codec::{Decoder, Item, Violation, encode_command};

/// What a port is to its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Answers each peer.
    Router,
    /// Sends everybody what they subscribe to, and hears of it.
    Publisher,
    /// Answers each message.
    Reply,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Router => "ROUTER",
            Role::Publisher => "XPUB",
            Role::Reply => "REP",
        }
    }

    fn speaks_with(self, peer: &[u8]) -> bool {
        match self {
            Role::Router => matches!(peer, b"DEALER" | b"REQ" | b"ROUTER"),
            Role::Publisher => matches!(peer, b"SUB" | b"XSUB"),
            Role::Reply => matches!(peer, b"REQ" | b"DEALER"),
        }
    }
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The network.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The protocol.
    #[error("{0}")]
    Violation(#[from] Violation),
}

/// Signature, version 3.1, mechanism NULL, not a server.
fn greeting() -> [u8; 64] {
    let mut bytes = [0; 64];
    (bytes[0], bytes[9]) = (0xff, 0x7f);
    (bytes[10], bytes[11]) = (3, 1);
    bytes[12..16].copy_from_slice(b"NULL");
    bytes
}

/// Greets a peer; returns its identity (empty for none) and the decoder, which may hold first messages.
///
/// # Errors
/// A peer that speaks another protocol, or is of a kind that the port does not serve.
pub async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    role: Role,
    limit: usize,
) -> Result<(Bytes, Decoder), Refused> {
    stream.write_all(&greeting()).await?;
    let mut theirs = [0; 64];
    // Whoever speaks another protocol is not waited for.
    stream.read_exact(&mut theirs[..10]).await?;
    if theirs[0] != 0xff || theirs[9] & 1 != 1 {
        return Err(Violation::NotZmtp("the peer does not speak ZMTP").into());
    }
    stream.read_exact(&mut theirs[10..]).await?;
    if theirs[10] < 3 || &theirs[12..17] != b"NULL\0" {
        return Err(Violation::NotZmtp("not ZMTP 3 with the mechanism NULL").into());
    }
    let ready = encode_command("READY", &property("Socket-Type", role.name()));
    stream.write_all(&ready).await?;
    let mut decoder = Decoder::new(limit);
    let first = loop {
        if let Some(item) = decoder.next()? {
            break item;
        }
        if stream.read_buf(decoder.room()).await? == 0 {
            return Err(Violation::NotZmtp("the peer left before it was ready").into());
        }
    };
    match first {
        Item::Command(name, data) if name == "READY".as_bytes() => {
            let (kind, identity) = properties(data)?;
            match role.speaks_with(&kind) {
                true => Ok((identity, decoder)),
                false => Err(Violation::NotZmtp("a peer of another kind").into()),
            }
        }
        _ => Err(Violation::NotZmtp("the peer did not say READY").into()),
    }
}

fn property(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![name.len() as u8];
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(&(value.len() as u32).to_be_bytes());
    bytes.extend_from_slice(value.as_bytes());
    bytes
}

/// The kind and the identity of a peer.
fn properties(mut data: Bytes) -> Result<(Bytes, Bytes), Violation> {
    let (mut kind, mut identity) = (Bytes::new(), Bytes::new());
    let malformed = Violation::NotZmtp("READY with malformed properties");
    while !data.is_empty() {
        let name = usize::from(data.get_u8());
        if data.len() < name + 4 {
            return Err(malformed);
        }
        let name = data.split_to(name);
        let length = data.get_u32() as usize;
        if data.len() < length {
            return Err(malformed);
        }
        let value = data.split_to(length);
        if name.eq_ignore_ascii_case(b"Socket-Type") {
            kind = value;
        } else if name.eq_ignore_ascii_case(b"Identity") {
            identity = value;
        }
    }
    Ok((kind, identity))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn meet(theirs: &[u8]) -> Result<(Bytes, Decoder), Refused> {
        let (mut ours, mut peer) = tokio::io::duplex(1 << 16);
        peer.write_all(theirs).await.unwrap();
        peer.shutdown().await.unwrap();
        greet(&mut ours, Role::Router, 1 << 20).await
    }

    fn ready(properties: &[u8]) -> Vec<u8> {
        [&greeting()[..], &encode_command("READY", properties)].concat()
    }

    #[tokio::test]
    async fn a_peer_says_what_it_is() {
        let properties = [
            property("socket-type", "DEALER"),
            property("Identity", "me"),
        ]
        .concat();
        let mut bytes = ready(&properties);
        bytes.extend_from_slice(&[0, 2, b'h', b'i']);
        let (identity, mut decoder) = meet(&bytes).await.unwrap();
        assert_eq!(identity, "me");
        let first = Item::Message(vec![Bytes::from_static(b"hi")]);
        assert_eq!(decoder.next(), Ok(Some(first)));
    }

    #[tokio::test]
    async fn other_peers_are_refused() {
        let mut of_version_2 = ready(&property("Socket-Type", "DEALER"));
        of_version_2[10] = 1;
        let mut curve = ready(&property("Socket-Type", "DEALER"));
        curve[12..17].copy_from_slice(b"CURVE");
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            vec![],
            greeting().to_vec(),
            of_version_2,
            curve,
            ready(&property("Socket-Type", "SUB")),
            ready(&[200, 1, 2]),
            ready(b"\x01a\xff\xff\xff\xff"),
            ready(&[]),
            [&greeting()[..], &[0, 1, 7]].concat(),
        ] {
            assert!(meet(&bytes).await.is_err(), "{bytes:?}");
        }
    }
}
