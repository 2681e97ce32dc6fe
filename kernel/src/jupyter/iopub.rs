//! The iopub channel: everything a cell says, to every front end.
//!
//! One task owns the socket (an XPUB, which never drops but waits for slow readers), greets new subscribers
//! and empties the queue.

use jupyter_protocol::messaging::{IoPubWelcome, JupyterMessage, Stdio, StreamContent};
use jupyter_zmq_client::{KernelIoPubXPubConnection, SubscriptionEvent};

pub use super::queue::IoPub;
use super::queue::{Item, PATIENCE};
use super::wire::{child_of, unasked};
use crate::output::StreamName;

impl IoPub {
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
