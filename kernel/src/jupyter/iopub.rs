//! The iopub channel: everything a cell says, to every front end.

use std::sync::Arc;
use std::time::Duration;

use jupyter_protocol::messaging::{IoPubWelcome, JupyterMessage, Stdio, StreamContent};

pub use super::queue::IoPub;
use super::queue::Item;
use super::transport::Publisher;
use super::wire::{Wire, child_of, unasked};
use crate::output::StreamName;

/// How long a reply waits for the outputs before it to reach the network.
const DRAIN: Duration = Duration::from_secs(1);

/// The port, which greets whoever subscribes (JEP 65).
pub fn port(wire: Arc<Wire>) -> Publisher {
    Publisher::new(Box::new(move |topic| {
        let subscription = String::from_utf8_lossy(topic).into_owned();
        let mut welcome = unasked(IoPubWelcome { subscription });
        welcome.zmq_identities = vec![topic.clone()];
        wire.seal(welcome).unwrap_or_default()
    }))
}

impl IoPub {
    /// Sends what is queued, for ever.
    pub async fn run(self, wire: Arc<Wire>, port: Arc<Publisher>) {
        loop {
            let (frames, bytes) = match self.next().await {
                Item::Flushed(done) => {
                    port.drained(DRAIN).await;
                    // Nobody waits any more: nothing to do.
                    let _ = done.send(());
                    continue;
                }
                Item::Message { frames, bytes, .. } => (Some(frames), bytes),
                Item::Text {
                    parent, name, text, ..
                } => {
                    let bytes = text.len();
                    (wire.seal(stream(&parent, name, text)), bytes)
                }
            };
            if let Some(frames) = frames {
                port.send(&frames).await;
            }
            self.sent(bytes);
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
