//! The iopub channel: everything a cell says, to every front end.
//!
//! Messages wait in a queue of bounded size; neighbouring pieces of one text stream are merged there, so
//! that a cell which prints 20,000 lines sends a handful of messages. One task owns the socket (an XPUB,
//! which never drops but waits for slow readers), greets new subscribers and empties the queue.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use jupyter_protocol::messaging::{
    IoPubWelcome, JupyterMessage, JupyterMessageContent, Status, Stdio, StreamContent,
};
use jupyter_zmq_client::{KernelIoPubXPubConnection, SubscriptionEvent};
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
const PATIENCE: Duration = Duration::from_secs(5);

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

enum Item {
    Text {
        parent: Arc<JupyterMessage>,
        name: StreamName,
        text: String,
        since: Instant,
    },
    Message(Box<JupyterMessage>, usize),
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
                t.push_str(text)
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
    async fn next(&self) -> Item {
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
                Some(rest) => tokio::time::sleep(rest).await,
            }
        }
    }

    /// Takes `bytes` off the account; returns how much text was left out while a front end was stuck.
    fn sent(&self, bytes: usize, stuck: bool) -> usize {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_sub(bytes);
        state.stuck = stuck;
        self.queue.emptied.notify_all();
        match stuck {
            true => 0,
            false => std::mem::take(&mut state.left_out),
        }
    }

    /// Owns the socket: greets subscribers and sends what is queued, for ever.
    pub async fn run(self, mut socket: KernelIoPubXPubConnection) {
        let mut stuck = false;
        loop {
            let item = tokio::select! {
                // New subscribers first, so that what follows reaches them.
                biased;
                event = socket.recv_subscription() => {
                    if let Ok(SubscriptionEvent::Subscribe(topic)) = event {
                        let mut welcome = unasked(IoPubWelcome { subscription: topic.clone() });
                        welcome.zmq_identities = vec![topic.into()];
                        send(&mut socket, welcome, stuck).await;
                    }
                    continue;
                }
                item = self.next() => item,
            };
            match item {
                Item::Flushed(done) => {
                    // Nobody waits any more: nothing to do.
                    let _ = done.send(());
                }
                Item::Message(message, bytes) => {
                    stuck = !send(&mut socket, *message, stuck).await;
                    self.sent(bytes, stuck);
                }
                Item::Text {
                    parent, name, text, ..
                } => {
                    let bytes = text.len();
                    stuck = !send(&mut socket, stream(&parent, name, text), stuck).await;
                    let left_out = self.sent(bytes, stuck);
                    if left_out > 0 {
                        let note = format!(
                            "\n[{left_out} bytes of output left out: a front end did not read]\n"
                        );
                        send(&mut socket, stream(&parent, name, note), stuck).await;
                    }
                }
            }
        }
    }
}

fn stream(parent: &JupyterMessage, name: StreamName, text: String) -> JupyterMessage {
    let stdio = match name {
        StreamName::Stdout => Stdio::Stdout,
        StreamName::Stderr => Stdio::Stderr,
    };
    let mut message = child_of(parent, StreamContent { name: stdio, text });
    message.zmq_identities = vec![format!("stream.{}", name.as_str()).into()];
    message
}

/// Sends one message; `false` when a front end did not take it in time.
async fn send(
    socket: &mut KernelIoPubXPubConnection,
    message: JupyterMessage,
    stuck: bool,
) -> bool {
    let patience = match stuck {
        true => PATIENCE / 20,
        false => PATIENCE,
    };
    match tokio::time::timeout(patience, socket.send(message)).await {
        Ok(Ok(())) => true,
        Ok(Err(e)) => {
            log::warn!("iopub: {e}");
            true
        }
        Err(_) => {
            if !stuck {
                log::warn!(
                    "iopub: a front end has read nothing for {PATIENCE:?}; not waiting for it"
                );
            }
            false
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
