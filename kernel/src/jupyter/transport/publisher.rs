//! The port that sends everybody what they subscribe to.
//!
//! Nothing is left out while a subscriber reads: a full queue makes the publisher wait. A subscriber that
//! takes next to nothing for ten seconds is disconnected, and those after it sooner, so that nobody who
//! stops reading holds the others up for long, however often it comes back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::codec::{Frames, encode};
use super::handshake::Role;
use super::outbox::{PATIENCE, Push};
use super::peers::{Peer, Service};

/// So much may wait for one subscriber; messages are shared, so that several stuck ones hold no more.
const LARGEST_QUEUE: usize = 8 << 20;
/// Subscriptions are topics.
const LARGEST_SUBSCRIPTION: usize = 1 << 10;
/// Topics of one subscriber.
const MOST_TOPICS: usize = 64;
/// For so long a disconnected subscriber makes the next one's time shorter.
const MEMORY: Duration = Duration::from_secs(60);

/// What a new subscriber is sent, given its topic.
pub type Welcome = Box<dyn Fn(&Bytes) -> Frames + Send + Sync>;

/// A port that sends everybody what they subscribe to.
pub struct Publisher {
    welcome: Welcome,
    subscribers: Mutex<HashMap<u64, Subscriber>>,
    /// When subscribers were given up.
    given_up: Mutex<Vec<Instant>>,
}

struct Subscriber {
    peer: Arc<Peer>,
    topics: Vec<Bytes>,
}

impl Publisher {
    /// A port without subscribers.
    pub fn new(welcome: Welcome) -> Self {
        Publisher {
            welcome,
            subscribers: Mutex::default(),
            given_up: Mutex::default(),
        }
    }

    fn subscribers(&self) -> MutexGuard<'_, HashMap<u64, Subscriber>> {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a message to everybody who subscribes to its first frame; waits for those whose queue is full.
    pub async fn send(&self, message: &[Bytes]) {
        let Some(topic) = message.first() else {
            return;
        };
        let pieces = encode(message);
        let wants = |topics: &[Bytes]| topics.iter().any(|start| topic.starts_with(start));
        let mut full = Vec::new();
        for Subscriber { peer, topics } in self.subscribers().values() {
            if wants(topics) && peer.outbox.push(&pieces) == Push::Full {
                full.push(peer.clone());
            }
        }
        for peer in full {
            self.wait_for(&peer, &pieces).await;
        }
    }

    async fn wait_for(&self, peer: &Peer, pieces: &[Bytes]) {
        let patience = self.patience();
        while peer.outbox.push(pieces) == Push::Full {
            let left = patience.saturating_sub(peer.outbox.idle_since().elapsed());
            let freed = tokio::time::timeout(left, peer.outbox.freed()).await;
            if freed.is_err() && peer.outbox.idle_since().elapsed() >= patience {
                log::warn!(
                    "iopub: a front end has read nothing for {patience:?}; it is disconnected"
                );
                peer.outbox.close();
                self.given_up().push(Instant::now());
                return;
            }
        }
    }

    fn given_up(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Halved by each subscriber that was given up lately.
    fn patience(&self) -> Duration {
        let mut given_up = self.given_up();
        given_up.retain(|when| when.elapsed() < MEMORY);
        PATIENCE / (1 << given_up.len().min(5))
    }

    /// Resolves when every subscriber has taken everything, or after `patience`.
    pub async fn drained(&self, patience: Duration) {
        let peers: Vec<Arc<Peer>> = {
            let subscribers = self.subscribers();
            subscribers.values().map(|s| s.peer.clone()).collect()
        };
        let all = async {
            for peer in peers {
                while !peer.outbox.is_drained() {
                    peer.outbox.freed().await;
                }
            }
        };
        // What a slow one has not taken by then is on its way all the same.
        let _ = tokio::time::timeout(patience, all).await;
    }

    fn subscribe(&self, peer: &Arc<Peer>, topic: Bytes) {
        let mut subscribers = self.subscribers();
        let Some(subscriber) = subscribers.get_mut(&peer.id) else {
            return;
        };
        if subscriber.topics.len() >= MOST_TOPICS {
            log::warn!("iopub: a front end subscribes to more than {MOST_TOPICS} topics");
            return;
        }
        // A copy: the topic must not keep what it was read with.
        subscriber.topics.push(Bytes::copy_from_slice(&topic));
        // Under the lock, so that nothing is published in between.
        let _ = peer.outbox.push(&encode(&(self.welcome)(&topic)));
    }

    fn unsubscribe(&self, peer: &Arc<Peer>, topic: &[u8]) {
        if let Some(subscriber) = self.subscribers().get_mut(&peer.id)
            && let Some(at) = subscriber.topics.iter().position(|t| t == topic)
        {
            subscriber.topics.remove(at);
        }
    }
}

impl Service for Publisher {
    fn role(&self) -> Role {
        Role::Publisher
    }

    fn largest_message(&self) -> usize {
        LARGEST_SUBSCRIPTION
    }

    fn largest_queue(&self) -> usize {
        LARGEST_QUEUE
    }

    fn joined(&self, peer: &Arc<Peer>) {
        let subscriber = Subscriber {
            peer: peer.clone(),
            topics: Vec::new(),
        };
        self.subscribers().insert(peer.id, subscriber);
    }

    /// Until version 3.0 subscriptions are messages.
    async fn said(&self, peer: &Arc<Peer>, message: Frames) {
        let [frame] = &message[..] else {
            return;
        };
        match frame.first() {
            Some(1) => self.subscribe(peer, frame.slice(1..)),
            Some(0) => self.unsubscribe(peer, &frame[1..]),
            _ => {}
        }
    }

    fn commanded(&self, peer: &Arc<Peer>, name: &[u8], data: Bytes) {
        match name {
            b"SUBSCRIBE" => self.subscribe(peer, data),
            b"CANCEL" => self.unsubscribe(peer, &data),
            _ => {}
        }
    }

    fn left(&self, peer: &Arc<Peer>) {
        self.subscribers().remove(&peer.id);
    }
}
