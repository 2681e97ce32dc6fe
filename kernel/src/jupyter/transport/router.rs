//! Ports that answer each peer: shell, control and stdin; and the heartbeat, which repeats what it hears.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::codec::{Frames, encode};
use super::handshake::Role;
use super::outbox::Push;
use super::peers::{Peer, Service};

/// Messages larger than this many bytes are refused; no cell and no completion is near it.
pub const LARGEST_MESSAGE: usize = 64 << 20;
/// So much may wait for a peer that reads no replies.
const LARGEST_QUEUE: usize = 64 << 20;
/// Pings are a few bytes.
const LARGEST_PING: usize = 64 << 10;

/// Takes what peers of a router say, one peer's messages in order.
pub trait Hear: Send + Sync + 'static {
    /// A message arrived, whose first frame is the way back; whether it shows that the peer is a front end of
    /// ours.
    fn hear(&self, message: Frames) -> impl Future<Output = bool> + Send;
}

/// A port that answers each peer.
pub struct Router<H> {
    peers: Mutex<HashMap<u64, Arc<Peer>>>,
    listener: H,
}

impl<H: Hear> Router<H> {
    /// A port without peers; `listener` hears what they will say.
    pub fn new(listener: H) -> Self {
        Router {
            peers: Mutex::default(),
            listener,
        }
    }

    /// Sends a message the way that its first frame names; `false` when nobody is there any more.
    ///
    /// The way leads to the connection that the request came through: whoever else takes its identity
    /// gets nothing. When that connection is gone, or was one to another port (a cell asks on stdin whoever
    /// sent it on shell), it leads to the peers that bear the same identity.
    pub fn send(&self, message: &[Bytes]) -> bool {
        let Some((way, rest)) = message.split_first() else {
            return false;
        };
        let (id, identity) = ends_of(way);
        let peers = self.peers();
        let receivers: Vec<&Arc<Peer>> = match peers.get(&id) {
            Some(peer) => vec![peer],
            None => peers
                .values()
                .filter(|peer| !identity.is_empty() && peer.identity == identity)
                .collect(),
        };
        let pieces = encode(rest);
        let mut sent = false;
        for peer in receivers {
            match peer.outbox.push(&pieces) {
                Push::Queued => sent = true,
                Push::Full => {
                    log::warn!("a front end reads no replies: connection closed");
                    peer.outbox.close();
                }
                Push::Closed => {}
            }
        }
        sent
    }

    /// Whether everything that was sent has left.
    pub fn is_drained(&self) -> bool {
        self.peers().values().all(|peer| peer.outbox.is_drained())
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<u64, Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way back to a peer, as a frame.
fn way_to(peer: &Peer) -> Bytes {
    [&peer.id.to_be_bytes(), &peer.identity[..]].concat().into()
}

fn ends_of(way: &[u8]) -> (u64, &[u8]) {
    match way.split_first_chunk() {
        Some((id, identity)) => (u64::from_be_bytes(*id), identity),
        None => (0, &[]),
    }
}

impl<H: Hear> Service for Router<H> {
    fn role(&self) -> Role {
        Role::Router
    }

    fn largest_message(&self) -> usize {
        LARGEST_MESSAGE
    }

    fn largest_queue(&self) -> usize {
        LARGEST_QUEUE
    }

    fn joined(&self, peer: &Arc<Peer>) {
        self.peers().insert(peer.id, peer.clone());
    }

    async fn said(&self, peer: &Arc<Peer>, mut message: Frames) {
        message.insert(0, way_to(peer));
        if self.listener.hear(message).await {
            peer.trusted.store(true, Ordering::Relaxed);
        }
    }

    fn left(&self, peer: &Arc<Peer>) {
        self.peers().remove(&peer.id);
    }

    fn make_room(&self) -> bool {
        let peers = self.peers();
        let strangers = peers
            .values()
            .filter(|peer| !peer.trusted.load(Ordering::Relaxed));
        match strangers.min_by_key(|peer| peer.id) {
            Some(oldest) => {
                oldest.outbox.close();
                true
            }
            None => false,
        }
    }
}

/// A port that repeats what it hears.
pub struct Echo;

impl Service for Echo {
    fn role(&self) -> Role {
        Role::Reply
    }

    fn largest_message(&self) -> usize {
        LARGEST_PING
    }

    fn largest_queue(&self) -> usize {
        LARGEST_PING
    }

    fn joined(&self, _: &Arc<Peer>) {}

    async fn said(&self, peer: &Arc<Peer>, message: Frames) {
        let pieces = encode(&message);
        // A peer that pings without reading is heard again once it reads.
        while peer.outbox.push(&pieces) == Push::Full {
            peer.outbox.freed().await;
        }
    }

    fn left(&self, _: &Arc<Peer>) {}
}
