//! What waits for the iopub channel.
//!
//! The queue is of bounded size; neighbouring pieces of one text stream are merged in it, so that a cell
//! which prints 20,000 lines sends a handful of messages.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use jupyter_protocol::messaging::{JupyterMessage, JupyterMessageContent, Status};
use tokio::sync::Notify;

use super::transport::Frames;
use super::wire::{Wire, child_of, unasked};
use crate::output::StreamName;

/// How long text may wait for more text to travel with.
const BATCH: Duration = Duration::from_millis(30);
/// The most text in one message.
const LARGEST_TEXT: usize = 1 << 20;
/// With this many bytes waiting, the running cell waits as well.
const FULL: usize = 4 << 20;

/// The sending end: cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct IoPub {
    queue: Arc<Queue>,
    wire: Arc<Wire>,
}

struct Queue {
    state: Mutex<State>,
    filled: Notify,
    emptied: Condvar,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
}

/// One message, or what will be one.
pub enum Item {
    /// Text that may still grow.
    Text {
        /// The request of the cell.
        parent: Arc<JupyterMessage>,
        /// Its stream.
        name: StreamName,
        /// What the cell wrote.
        text: String,
        /// When the first of it was written.
        since: Instant,
    },
    /// Any other message, sealed.
    Message {
        /// What is sent.
        frames: Frames,
        /// Their weight, if the cell has to wait for it.
        bytes: usize,
        /// The display that it updates.
        updates: Option<String>,
    },
    /// Somebody waits until everything before this has left.
    Flushed(mpsc::Sender<()>),
}

impl IoPub {
    /// An empty queue of messages that `wire` seals.
    pub fn new(wire: Arc<Wire>) -> Self {
        IoPub {
            wire,
            queue: Arc::new(Queue {
                state: Mutex::default(),
                filled: Notify::new(),
                emptied: Condvar::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before anything that can panic.
        self.queue
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message caused by `parent`.
    pub fn publish(&self, parent: &JupyterMessage, content: impl Into<JupyterMessageContent>) {
        self.push(child_of(parent, content));
    }

    /// Queues `busy` or `idle` for the request `parent`.
    pub fn status(&self, parent: &JupyterMessage, status: Status) {
        self.publish(parent, status);
    }

    /// Queues a message with nobody behind it.
    pub fn announce(&self, content: impl Into<JupyterMessageContent>) {
        self.push(unasked(content));
    }

    fn push(&self, mut message: JupyterMessage) {
        // The first frame is the topic; an identity copied from the parent would be a wrong one.
        message.zmq_identities = vec![format!("kernel.{}", message.message_type()).into()];
        let (heavy, updates) = nature(&message.content);
        let Some(frames) = self.wire.seal(message) else {
            return;
        };
        let bytes = match heavy {
            true => frames.iter().map(|frame| frame.len()).sum(),
            false => 0,
        };
        // Small messages come from the channels' own tasks, which must never wait.
        let mut state = match heavy {
            false => self.state(),
            true => self.wait_for_room(),
        };
        let item = Item::Message {
            frames,
            bytes,
            updates,
        };
        state.bytes += bytes;
        match state.items.back_mut() {
            Some(last) if supersedes(&item, last) => {
                if let Item::Message { bytes: freed, .. } = std::mem::replace(last, item) {
                    state.bytes -= freed;
                }
                return;
            }
            _ => state.items.push_back(item),
        }
        drop(state);
        self.queue.filled.notify_one();
    }

    /// Queues text of the cell `parent`; waits while too much of it is on its way.
    pub fn text(&self, parent: &Arc<JupyterMessage>, name: StreamName, text: &str) {
        let mut state = self.wait_for_room();
        state.bytes += text.len();
        match state.items.back_mut() {
            Some(Item::Text {
                parent: p,
                name: n,
                text: t,
                ..
            }) if Arc::ptr_eq(p, parent) && *n == name && t.len() < LARGEST_TEXT => {
                t.push_str(text);
                // Its message is known of already.
                return;
            }
            _ => state.items.push_back(Item::Text {
                parent: parent.clone(),
                name,
                text: text.to_string(),
                since: Instant::now(),
            }),
        }
        drop(state);
        self.queue.filled.notify_one();
    }

    /// The channel goes on whatever its readers do, so there will be room.
    fn wait_for_room(&self) -> MutexGuard<'_, State> {
        let full = |state: &mut State| state.bytes >= FULL;
        self.queue
            .emptied
            .wait_while(self.state(), full)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears from the socket's task when everything queued before has been handed to the network.
    pub fn flushed(&self) -> mpsc::Receiver<()> {
        let (sender, receiver) = mpsc::channel();
        self.state().items.push_back(Item::Flushed(sender));
        self.queue.filled.notify_one();
        receiver
    }

    /// The next item, once it may go; cancelling loses nothing.
    pub async fn next(&self) -> Item {
        loop {
            let wait = {
                let mut state = self.state();
                match state.items.front() {
                    None => None,
                    // Text at the end of the queue may still grow.
                    Some(Item::Text { since, text, .. })
                        if state.items.len() == 1
                            && text.len() < LARGEST_TEXT
                            && since.elapsed() < BATCH =>
                    {
                        Some(BATCH.saturating_sub(since.elapsed()))
                    }
                    Some(_) => {
                        if let Some(item) = state.items.pop_front() {
                            return item;
                        }
                        None
                    }
                }
            };
            match wait {
                None => self.queue.filled.notified().await,
                // Whatever follows the text (the end of its cell) sends it off.
                Some(rest) => tokio::select! {
                    _ = tokio::time::sleep(rest) => {}
                    _ = self.queue.filled.notified() => {}
                },
            }
        }
    }

    /// Takes `bytes` off the account.
    pub fn sent(&self, bytes: usize) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_sub(bytes);
        self.queue.emptied.notify_all();
    }
}

/// Whether `next` makes `last` pointless: two updates of one display right behind each other.
fn supersedes(next: &Item, last: &Item) -> bool {
    match (next, last) {
        (Item::Message { updates: next, .. }, Item::Message { updates: last, .. }) => {
            next.is_some() && next == last
        }
        _ => false,
    }
}

/// Whether a message can be large, and the display that it updates.
fn nature(content: &JupyterMessageContent) -> (bool, Option<String>) {
    match content {
        JupyterMessageContent::DisplayData(_) | JupyterMessageContent::ExecuteResult(_) => {
            (true, None)
        }
        JupyterMessageContent::UpdateDisplayData(update) => {
            (true, update.transient.display_id.clone())
        }
        _ => (false, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jupyter_protocol::messaging::ExecuteRequest;

    fn queue() -> IoPub {
        IoPub::new(Arc::new(Wire::new("", String::new())))
    }

    fn request() -> Arc<JupyterMessage> {
        Arc::new(ExecuteRequest::new("1".into()).into())
    }

    #[test]
    fn pieces_of_one_stream_travel_together_and_in_order() {
        let (iopub, cell) = (queue(), request());
        for i in 0..20_000 {
            iopub.text(&cell, StreamName::Stdout, &format!("{i}\n"));
        }
        iopub.text(&cell, StreamName::Stderr, "warn\n");
        iopub.text(&cell, StreamName::Stdout, "end\n");
        let state = iopub.state();
        let texts: Vec<(StreamName, &str)> = state
            .items
            .iter()
            .map(|item| match item {
                Item::Text { name, text, .. } => (*name, text.as_str()),
                _ => panic!("only text was queued"),
            })
            .collect();
        assert_eq!(texts.len(), 3);
        assert_eq!(texts[0].1.lines().count(), 20_000);
        assert_eq!(texts[1], (StreamName::Stderr, "warn\n"));
        assert_eq!(texts[2], (StreamName::Stdout, "end\n"));
    }

    #[test]
    fn the_last_of_neighbouring_updates_is_sent() {
        use jupyter_protocol::messaging::{Media, Transient, UpdateDisplayData};
        let (iopub, cell) = (queue(), request());
        for id in ["a", "a", "b", "a"] {
            let transient = Transient {
                display_id: Some(id.into()),
            };
            let (data, metadata) = (Media::default(), Default::default());
            let update = UpdateDisplayData {
                data,
                metadata,
                transient,
            };
            iopub.publish(&cell, update);
        }
        let state = iopub.state();
        assert_eq!(state.items.len(), 3);
        let weight = |item: &Item| match item {
            Item::Message { bytes, .. } => *bytes,
            _ => 0,
        };
        let weights: usize = state.items.iter().map(weight).sum();
        assert_eq!(state.bytes, weights);
    }

    #[test]
    fn cells_are_not_mixed() {
        let (iopub, a, b) = (queue(), request(), request());
        iopub.text(&a, StreamName::Stdout, "a");
        iopub.text(&b, StreamName::Stdout, "b");
        assert_eq!(iopub.state().items.len(), 2);
    }

    #[test]
    fn a_full_queue_makes_the_cell_wait() {
        let (iopub, cell) = (queue(), request());
        let line = "x".repeat(1 << 16);
        let (waiting, lines) = (iopub.clone(), 2 * FULL / line.len());
        let cell_thread = std::thread::spawn(move || {
            for _ in 0..lines {
                waiting.text(&cell, StreamName::Stdout, &line);
            }
        });
        let mut sent = 0;
        while sent < 2 * FULL {
            let mut state = iopub.state();
            assert!(state.bytes <= FULL + (1 << 16), "{}", state.bytes);
            let texts = state.items.drain(..).map(|item| match item {
                Item::Text { text, .. } => text.len(),
                _ => panic!("only text was queued"),
            });
            let bytes = texts.sum();
            drop(state);
            sent += bytes;
            iopub.sent(bytes);
        }
        cell_thread.join().unwrap();
    }

    #[tokio::test]
    async fn a_flush_comes_after_what_was_queued() {
        let (iopub, cell) = (queue(), request());
        iopub.text(&cell, StreamName::Stdout, "first");
        let _flushed = iopub.flushed();
        assert!(matches!(iopub.next().await, Item::Text { .. }));
        assert!(matches!(iopub.next().await, Item::Flushed(_)));
    }
}
