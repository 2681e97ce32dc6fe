//! What waits for the iopub channel.
//!
//! The queue is of bounded size; neighbouring pieces of one text stream are merged in it, so that a cell
//! which prints 20,000 lines sends a handful of messages.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use jupyter_protocol::messaging::{JupyterMessage, JupyterMessageContent, Status};
use tokio::sync::Notify;

use super::wire::{child_of, unasked};
use crate::output::StreamName;

/// How long text may wait for more text to travel with.
const BATCH: Duration = Duration::from_millis(30);
/// The most text in one message.
const LARGEST_TEXT: usize = 1 << 20;
/// With this many bytes waiting, the running cell waits as well.
const FULL: usize = 8 << 20;
/// A front end which takes no byte for so long is not waited for any more.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The sending end: cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct IoPub {
    queue: Arc<Queue>,
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
    /// A front end is stuck: text beyond the limit is left out instead of waited for.
    stuck: bool,
    left_out: usize,
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
    /// Any other message, and its weight in bytes.
    Message(Box<JupyterMessage>, usize),
    /// Somebody waits until everything before this has left.
    Flushed(mpsc::Sender<()>),
}

impl Default for IoPub {
    fn default() -> Self {
        IoPub {
            queue: Arc::new(Queue {
                state: Mutex::default(),
                filled: Notify::new(),
                emptied: Condvar::new(),
            }),
        }
    }
}

impl IoPub {
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
        let bytes = weight(&message.content);
        // Small messages come from the channels' own tasks, which must never wait.
        let mut state = match bytes {
            0 => self.state(),
            _ => self.wait_for_room(),
        };
        if let Some(Item::Message(last, old_bytes)) = state.items.back_mut()
            && supersedes(&message, last)
        {
            let freed = std::mem::replace(old_bytes, bytes);
            **last = message;
            state.bytes = state.bytes + bytes - freed;
            return;
        }
        state.bytes += bytes;
        state
            .items
            .push_back(Item::Message(Box::new(message), bytes));
        drop(state);
        self.queue.filled.notify_one();
    }

    /// Queues text of the cell `parent`; waits while too much of it is on its way.
    pub fn text(&self, parent: &Arc<JupyterMessage>, name: StreamName, text: &str) {
        let mut state = self.wait_for_room();
        if state.stuck && state.bytes >= FULL {
            state.left_out += text.len();
            return;
        }
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

    fn wait_for_room(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        while state.bytes >= FULL && !state.stuck {
            let before = state.bytes;
            let (next, timeout) = self
                .queue
                .emptied
                .wait_timeout(state, 2 * PATIENCE)
                .unwrap_or_else(PoisonError::into_inner);
            state = next;
            state.stuck |= timeout.timed_out() && state.bytes >= before;
        }
        state
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

    /// Takes `bytes` off the account; returns how much text was left out while a front end was stuck.
    pub fn sent(&self, bytes: usize, stuck: bool) -> usize {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_sub(bytes);
        state.stuck = stuck;
        self.queue.emptied.notify_all();
        match stuck {
            true => 0,
            false => std::mem::take(&mut state.left_out),
        }
    }
}

/// Whether `next` makes `last` pointless: two updates of one display right behind each other.
fn supersedes(next: &JupyterMessage, last: &JupyterMessage) -> bool {
    match (&next.content, &last.content) {
        (
            JupyterMessageContent::UpdateDisplayData(next),
            JupyterMessageContent::UpdateDisplayData(last),
        ) => {
            next.transient.display_id.is_some()
                && next.transient.display_id == last.transient.display_id
        }
        _ => false,
    }
}

/// Roughly how many bytes a message holds; only what can be large counts.
fn weight(content: &JupyterMessageContent) -> usize {
    match content {
        JupyterMessageContent::DisplayData(_)
        | JupyterMessageContent::UpdateDisplayData(_)
        | JupyterMessageContent::ExecuteResult(_) => {
            serde_json::to_vec(content).map_or(0, |json| json.len())
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jupyter_protocol::messaging::ExecuteRequest;

    fn request() -> Arc<JupyterMessage> {
        Arc::new(ExecuteRequest::new("1".into()).into())
    }

    #[test]
    fn pieces_of_one_stream_travel_together_and_in_order() {
        let (iopub, cell) = (IoPub::default(), request());
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
    fn cells_are_not_mixed() {
        let (iopub, a, b) = (IoPub::default(), request(), request());
        iopub.text(&a, StreamName::Stdout, "a");
        iopub.text(&b, StreamName::Stdout, "b");
        assert_eq!(iopub.state().items.len(), 2);
    }

    #[test]
    fn a_stuck_reader_bounds_the_memory() {
        let (iopub, cell) = (IoPub::default(), request());
        iopub.state().stuck = true;
        let line = "x".repeat(1 << 16);
        for _ in 0..1000 {
            iopub.text(&cell, StreamName::Stdout, &line);
        }
        let state = iopub.state();
        assert!(state.bytes <= FULL + line.len(), "{}", state.bytes);
        assert!(state.left_out > 0);
    }

    #[tokio::test]
    async fn a_flush_comes_after_what_was_queued() {
        let (iopub, cell) = (IoPub::default(), request());
        iopub.text(&cell, StreamName::Stdout, "first");
        let _flushed = iopub.flushed();
        assert!(matches!(iopub.next().await, Item::Text { .. }));
        assert!(matches!(iopub.next().await, Item::Flushed(_)));
    }
}
