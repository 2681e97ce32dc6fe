//! ZeroMQ's protocol (ZMTP 3.1) as a Jupyter kernel needs it, with bounds on everything a peer can make it hold.
//!
//! | what | bound |
//! |---|---|
//! | a message to shell, control, stdin | [`LARGEST_MESSAGE`], and a thousand parts; memory grows with what arrived, not with what was announced |
//! | unfinished messages on all ports | 128 MB; the connection that holds most of it is closed |
//! | connections of a port | 64 that have not greeted (for ten seconds), 128 in all |
//! | what waits for one front end | 8 MB on iopub, 64 MB of replies |
//! | a front end that takes nothing | disconnected after ten seconds |
//!
//! ARCHITECTURE.md says why this is not a crate.

mod codec;
mod handshake;
mod listener;
mod outbox;
mod peers;
mod publisher;
mod router;
#[cfg(test)]
mod tests;

pub use codec::Frames;
pub use listener::Listener;
pub use peers::{Unfinished, serve};
pub use publisher::Publisher;
pub use router::{Echo, Hear, LARGEST_MESSAGE, Router};
