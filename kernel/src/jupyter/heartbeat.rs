//! The heartbeat channel: every ping comes back unchanged.

use jupyter_zmq_client::KernelHeartbeatConnection;
use std::time::Duration;
use zeromq::{SocketRecv, SocketSend};

/// Echoes for ever.
pub async fn run(mut connection: KernelHeartbeatConnection) {
    loop {
        let result = match connection.socket.recv().await {
            Ok(ping) => connection.socket.send(ping).await,
            Err(e) => Err(e),
        };
        if let Err(e) = result {
            log::warn!("heartbeat: {e}");
            // A client that left in the middle of a ping must not turn this into a busy loop.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
