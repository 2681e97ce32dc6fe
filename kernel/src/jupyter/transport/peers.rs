//! Connections of one port, from their arrival to their end, and how many there may be.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::Notify;

use super::codec::{Decoder, Frames, Item, encode_command};
use super::handshake::{Role, greet};
use super::listener::Listener;
use super::outbox::{Outbox, PATIENCE};

/// A connection that has not greeted after so long is closed.
const GREETING: Duration = Duration::from_secs(10);
/// Connections of one port that have not greeted yet; the oldest makes room for a new one.
const HALF_OPEN: usize = 64;
/// Connections of one port in all; further ones take the place of strangers or are refused.
const MOST_PEERS: usize = 128;
/// Bytes of unfinished messages on all ports together; whoever holds most of them makes room.
const UNFINISHED: usize = 128 << 20;
/// Less than this never counts as much.
const LITTLE: usize = 64 << 10;

/// A peer that has greeted.
pub struct Peer {
    /// Its number, of which there is no second one in this process.
    pub id: u64,
    /// What it calls itself; empty for nothing.
    pub identity: Bytes,
    /// What it is sent.
    pub outbox: Outbox,
    /// Whether it has said something that only a front end of ours can say.
    pub trusted: AtomicBool,
}

/// What a port does with its peers.
pub trait Service: Send + Sync + 'static {
    /// What the port is.
    fn role(&self) -> Role;
    /// The most that one message may weigh.
    fn largest_message(&self) -> usize;
    /// The most that may wait for one peer.
    fn largest_queue(&self) -> usize;
    /// A peer has greeted.
    fn joined(&self, peer: &Arc<Peer>);
    /// A peer sent a message; the next one is read when this has ended.
    fn said(&self, peer: &Arc<Peer>, message: Frames) -> impl Future<Output = ()> + Send;
    /// A peer sent a command that the transport does not answer itself.
    fn commanded(&self, _peer: &Arc<Peer>, _name: &[u8], _data: Bytes) {}
    /// A peer is gone.
    fn left(&self, peer: &Arc<Peer>);
    /// Ends the connection of a peer that has not shown to be a front end of ours; `false` when all have.
    fn make_room(&self) -> bool {
        false
    }
}

/// Who has begun to send how much, on all ports of a kernel.
#[derive(Default)]
pub struct Unfinished {
    holders: Mutex<HashMap<u64, (usize, Arc<Notify>)>>,
}

impl Unfinished {
    fn holders(&self) -> MutexGuard<'_, HashMap<u64, (usize, Arc<Notify>)>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a connection holds; asks the one that holds most to leave when it is too much together.
    fn note(&self, id: u64, bytes: usize, leave: &Arc<Notify>) {
        let mut holders = self.holders();
        if bytes < LITTLE {
            holders.remove(&id);
            return;
        }
        holders.insert(id, (bytes, leave.clone()));
        let total: usize = holders.values().map(|(bytes, _)| bytes).sum();
        if total > UNFINISHED
            && let Some((&largest, _)) = holders.iter().max_by_key(|(_, (bytes, _))| *bytes)
            && let Some((_, leave)) = holders.remove(&largest)
        {
            leave.notify_one();
        }
    }

    fn forget(&self, id: u64) {
        self.holders().remove(&id);
    }
}

/// The connections of one port.
#[derive(Default)]
struct Hall {
    half_open: Mutex<Vec<(u64, Arc<Notify>)>>,
    peers: AtomicUsize,
}

impl Hall {
    fn half_open(&self) -> MutexGuard<'_, Vec<(u64, Arc<Notify>)>> {
        self.half_open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn arrive(&self, id: u64) -> Arc<Notify> {
        let leave = Arc::new(Notify::new());
        let mut waiting = self.half_open();
        if waiting.len() >= HALF_OPEN {
            waiting.remove(0).1.notify_one();
        }
        waiting.push((id, leave.clone()));
        leave
    }

    fn greeted(&self, id: u64) {
        self.half_open().retain(|(other, _)| *other != id);
    }
}

/// Serves a port for ever.
pub async fn serve<S: Service>(listener: Listener, service: Arc<S>, unfinished: Arc<Unfinished>) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let hall = Arc::new(Hall::default());
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let id = NEXT.fetch_add(1, Ordering::Relaxed);
                let leave = hall.arrive(id);
                let (hall, service, unfinished) =
                    (hall.clone(), service.clone(), unfinished.clone());
                tokio::spawn(async move {
                    let visit = Visit {
                        id,
                        leave,
                        hall,
                        unfinished,
                    };
                    visit.run(stream, &*service).await;
                });
            }
            Err(e) => {
                // No descriptors are left, most likely: connections that end give some back.
                log::warn!("no connection could be accepted: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One connection.
struct Visit {
    id: u64,
    /// Asks it to end.
    leave: Arc<Notify>,
    hall: Arc<Hall>,
    unfinished: Arc<Unfinished>,
}

impl Visit {
    async fn run<T, S>(self, mut stream: T, service: &S)
    where
        T: AsyncRead + AsyncWrite + Unpin,
        S: Service,
    {
        let greeted = tokio::select! {
            greeted = tokio::time::timeout(
                GREETING, greet(&mut stream, service.role(), service.largest_message()),
            ) => greeted.ok(),
            () = self.leave.notified() => None,
        };
        self.hall.greeted(self.id);
        let (identity, decoder) = match greeted {
            Some(Ok(peer)) => peer,
            Some(Err(e)) => return log::info!("{:?}: connection refused: {e}", service.role()),
            None => return log::info!("{:?}: a connection without greeting", service.role()),
        };
        let before = self.hall.peers.fetch_add(1, Ordering::SeqCst);
        if before >= MOST_PEERS && !service.make_room() {
            log::warn!("{:?}: more than {MOST_PEERS} connections", service.role());
        } else {
            let peer = Arc::new(Peer {
                id: self.id,
                identity,
                outbox: Outbox::new(service.largest_queue()),
                trusted: AtomicBool::new(false),
            });
            service.joined(&peer);
            let (reader, writer) = tokio::io::split(stream);
            tokio::select! {
                why = self.listen(reader, decoder, service, &peer) => {
                    log::info!("{:?}: connection ended: {why}", service.role());
                }
                ended = peer.outbox.send_all(writer, PATIENCE) => if let Err(e) = ended {
                    log::warn!("{:?}: a front end does not read: {e}", service.role());
                },
                () = self.leave.notified() => {
                    log::warn!("{:?}: a connection with a long unfinished message is closed", service.role());
                }
            }
            peer.outbox.close();
            service.left(&peer);
        }
        self.unfinished.forget(self.id);
        self.hall.peers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Reads until the peer leaves or breaks a rule; returns why.
    async fn listen<S: Service>(
        &self,
        mut reader: impl AsyncRead + Unpin,
        mut decoder: Decoder,
        service: &S,
        peer: &Arc<Peer>,
    ) -> String {
        loop {
            loop {
                match decoder.next() {
                    Ok(Some(Item::Message(message))) => {
                        self.unfinished.forget(self.id);
                        service.said(peer, message).await;
                    }
                    Ok(Some(Item::Command(name, data))) => command(service, peer, &name, data),
                    Ok(None) => break,
                    Err(violation) => return violation.to_string(),
                }
            }
            match reader.read_buf(decoder.room()).await {
                Ok(0) => return "the peer left".to_string(),
                Ok(_) => self.unfinished.note(self.id, decoder.held(), &self.leave),
                Err(e) => return e.to_string(),
            }
        }
    }
}

fn command<S: Service>(service: &S, peer: &Arc<Peer>, name: &[u8], data: Bytes) {
    match name {
        // Two bytes of time to live, then what the answer repeats.
        b"PING" => {
            let context = data.get(2..).unwrap_or_default();
            // A peer that takes no answers has other troubles.
            let _ = peer.outbox.push(&[encode_command("PONG", context)]);
        }
        b"PONG" => {}
        _ => service.commanded(peer, name, data),
    }
}
