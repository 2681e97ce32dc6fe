//! What waits to be sent to one peer: a queue bounded in bytes.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

/// A peer that takes nothing for so long is disconnected.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// So much taken is progress, when the queue is full.
const STRIDE: usize = 1 << 20;
/// Pieces in one call of the network.
const BATCH: usize = 64;

/// A queue of bytes for one peer.
pub struct Outbox {
    limit: usize,
    state: Mutex<State>,
    filled: Notify,
    freed: Notify,
}

struct State {
    pieces: VecDeque<Bytes>,
    /// Bytes that the peer has not taken, those of the writer included.
    bytes: usize,
    closed: bool,
    /// When the peer last took a [`STRIDE`], or everything.
    progress: Instant,
    stride: usize,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// It will be sent.
    Queued,
    /// There is no room until the peer takes more.
    Full,
    /// The peer is gone.
    Closed,
}

impl Outbox {
    /// An empty queue of at most `limit` bytes, or of one larger message.
    pub fn new(limit: usize) -> Self {
        Outbox {
            limit,
            state: Mutex::new(State {
                pieces: VecDeque::new(),
                bytes: 0,
                closed: false,
                progress: Instant::now(),
                stride: 0,
            }),
            filled: Notify::new(),
            freed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues the pieces of one message, all or none.
    pub fn push(&self, message: &[Bytes]) -> Push {
        let size: usize = message.iter().map(Bytes::len).sum();
        let mut state = self.state();
        if state.closed {
            return Push::Closed;
        }
        if state.bytes > 0 && state.bytes + size > self.limit {
            return Push::Full;
        }
        if state.bytes == 0 {
            state.progress = Instant::now();
        }
        state.bytes += size;
        state.pieces.extend(message.iter().cloned());
        drop(state);
        self.filled.notify_one();
        Push::Queued
    }

    /// Resolves when the peer has taken something or is gone, as seen after the call.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Since when the peer has taken next to nothing.
    pub fn idle_since(&self) -> Instant {
        self.state().progress
    }

    /// Whether nothing waits, or nobody waits for it.
    pub fn is_drained(&self) -> bool {
        let state = self.state();
        state.closed || state.bytes == 0
    }

    /// Ends the connection; what waits is forgotten.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.pieces.clear();
        state.bytes = 0;
        drop(state);
        self.filled.notify_one();
        self.freed.notify_waiters();
        self.freed.notify_one();
    }

    /// The next pieces; `None` when the connection ends.
    async fn take(&self) -> Option<VecDeque<Bytes>> {
        loop {
            {
                let mut state = self.state();
                if state.closed {
                    return None;
                }
                if !state.pieces.is_empty() {
                    let many = state.pieces.len().min(BATCH);
                    return Some(state.pieces.drain(..many).collect());
                }
            }
            self.filled.notified().await;
        }
    }

    fn took(&self, bytes: usize) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_sub(bytes);
        state.stride += bytes;
        if state.stride >= STRIDE || state.bytes == 0 {
            state.stride = 0;
            state.progress = Instant::now();
        }
        drop(state);
        self.freed.notify_one();
    }

    /// Sends what is queued until the peer is gone, takes nothing for `patience`, or the queue is closed.
    ///
    /// # Errors
    /// Why the peer is gone.
    pub async fn send_all(
        &self,
        mut to: impl AsyncWrite + Unpin,
        patience: Duration,
    ) -> std::io::Result<()> {
        while let Some(mut batch) = self.take().await {
            while !batch.is_empty() {
                let slices: Vec<IoSlice> = batch.iter().map(|piece| IoSlice::new(piece)).collect();
                let sent = tokio::time::timeout(patience, to.write_vectored(&slices)).await;
                let mut taken = match sent {
                    Ok(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
                    Ok(sent) => sent?,
                    Err(_) => return Err(std::io::ErrorKind::TimedOut.into()),
                };
                self.took(taken);
                while let Some(first) = batch.front_mut()
                    && taken >= first.len()
                {
                    taken -= first.len();
                    batch.pop_front();
                }
                if let Some(first) = batch.front_mut() {
                    first.advance(taken);
                }
                if self.state().closed {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn the_queue_is_bounded_but_takes_one_large_message() {
        let outbox = Outbox::new(100);
        assert_eq!(outbox.push(&[Bytes::from(vec![0; 1000])]), Push::Queued);
        assert_eq!(outbox.push(&[Bytes::from(vec![0; 1])]), Push::Full);
        outbox.took(950);
        assert_eq!(outbox.push(&[Bytes::from(vec![0; 50])]), Push::Queued);
        assert_eq!(outbox.push(&[Bytes::from(vec![0; 1])]), Push::Full);
        outbox.close();
        assert_eq!(outbox.push(&[Bytes::from(vec![0; 1])]), Push::Closed);
        assert!(outbox.is_drained());
    }

    #[tokio::test]
    async fn everything_arrives_in_order_through_a_narrow_pipe() {
        let outbox = Arc::new(Outbox::new(1 << 20));
        let pieces: Vec<Bytes> = (0..1000u32)
            .map(|i| Bytes::from(vec![i as u8; (i % 7) as usize]))
            .collect();
        for message in pieces.chunks(10) {
            assert_eq!(outbox.push(message), Push::Queued);
        }
        let (ours, mut theirs) = tokio::io::duplex(64);
        let sender = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.send_all(ours, PATIENCE).await }
        });
        let mut bytes = vec![0; pieces.iter().map(Bytes::len).sum()];
        tokio::io::AsyncReadExt::read_exact(&mut theirs, &mut bytes)
            .await
            .unwrap();
        assert_eq!(bytes, pieces.concat());
        outbox.close();
        sender.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let outbox = Outbox::new(1 << 20);
        outbox.push(&[Bytes::from(vec![0; 1000])]);
        let (ours, _theirs) = tokio::io::duplex(64);
        let error = outbox
            .send_all(ours, Duration::from_millis(50))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    }
}
