//! Messages as they travel: received with every doubt checked, sent with the protocol version they follow.
//!
//! Everything that is wrong with a message becomes one sentence for the log, so that no reader of a channel
//! ever ends because of what it read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use jupyter_protocol::messaging::{Header, JupyterMessage, JupyterMessageContent};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

use super::signature::Signer;
use super::transport::{Frames, Hear};

/// The version of the Jupyter messaging protocol this kernel follows.
pub const PROTOCOL: &str = "5.5";
/// Stands between the ways back and the message.
const DELIMITER: &[u8] = b"<IDS|MSG>";
/// Wrong messages of one channel that are logged; whoever sends thousands fills no log.
const LOGGED: usize = 100;

/// Why no message came out of frames.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Dropped(String);

/// Opens and seals the messages of one kernel.
pub struct Wire {
    signer: Signer,
    session: String,
}

impl Wire {
    /// For messages signed with `key`; ours belong to `session`.
    pub fn new(key: &str, session: String) -> Self {
        Wire {
            signer: Signer::new(key),
            session,
        }
    }

    /// The message in frames that arrived.
    ///
    /// # Errors
    /// A message that has to be ignored: wrong signature, sent before, missing frames, not JSON, content that
    /// does not fit its type.
    pub async fn open(&self, mut frames: Frames) -> Result<JupyterMessage, Dropped> {
        let dropped = |why: &str| Dropped(why.to_string());
        let delimiter = frames
            .iter()
            .position(|frame| frame == DELIMITER)
            .ok_or_else(|| dropped("it has no delimiter"))?;
        let mut parts = frames.split_off(delimiter);
        let Some([_, signature, signed @ ..]) = parts.get(..6) else {
            return Err(dropped("it has too few frames"));
        };
        let checked = self.signer.check(signature, signed).await;
        checked.map_err(|wrong| Dropped(wrong.to_string()))?;
        decode(frames, parts.split_off(2))
    }

    /// The frames of a message of ours, signed; `None` for one that cannot be written as JSON.
    pub fn seal(&self, message: JupyterMessage) -> Option<Frames> {
        let message = message.with_session(&self.session);
        let parent = match &message.parent_header {
            Some(parent) => serde_json::to_vec(parent),
            None => Ok(b"{}".to_vec()),
        };
        let parts: Result<Vec<Bytes>, _> = [
            serde_json::to_vec(&message.header),
            parent,
            serde_json::to_vec(&message.metadata),
            serde_json::to_vec(&message.content),
        ]
        .into_iter()
        .map(|part| part.map(Bytes::from))
        .collect();
        let parts = match parts {
            Ok(parts) => parts,
            Err(e) => {
                log::error!("{} cannot be sent: {e}", message.message_type());
                return None;
            }
        };
        let signature = self.signer.sign(&parts);
        let mut frames = message.zmq_identities;
        frames.extend([Bytes::from_static(DELIMITER), signature]);
        frames.extend(parts);
        frames.extend(message.buffers);
        Some(frames)
    }
}

/// Opens what arrives on a channel and hands it on.
pub struct Ear {
    wire: Arc<Wire>,
    to: UnboundedSender<JupyterMessage>,
    /// The channel's name in the log.
    name: &'static str,
    wrong: AtomicUsize,
}

impl Ear {
    /// For the channel `name`, whose messages go to `to`.
    pub fn new(name: &'static str, wire: Arc<Wire>, to: UnboundedSender<JupyterMessage>) -> Self {
        Ear {
            wire,
            to,
            name,
            wrong: AtomicUsize::new(0),
        }
    }
}

impl Hear for Ear {
    async fn hear(&self, frames: Frames) -> bool {
        match self.wire.open(frames).await {
            // Nobody reads a channel when the kernel ends.
            Ok(message) => self.to.send(message).is_ok(),
            Err(why) => {
                let before = self.wrong.fetch_add(1, Ordering::Relaxed);
                if before < LOGGED {
                    log::warn!("{}: message dropped: {why}", self.name);
                } else if before == LOGGED {
                    log::warn!(
                        "{}: further wrong messages are dropped without a word",
                        self.name
                    );
                }
                false
            }
        }
    }
}

/// A message from its checked frames: header, parent header, metadata, content, buffers.
fn decode(ways_back: Frames, mut parts: Frames) -> Result<JupyterMessage, Dropped> {
    let dropped = |what: &str, e: &dyn std::fmt::Display| Dropped(format!("{what}: {e}"));
    let buffers = parts.split_off(4);
    let header: Header = serde_json::from_slice(&parts[0]).map_err(|e| dropped("header", &e))?;
    let metadata: Value = serde_json::from_slice(&parts[2]).map_err(|e| dropped("metadata", &e))?;
    let mut content: Value =
        serde_json::from_slice(&parts[3]).map_err(|e| dropped("content", &e))?;
    fill_in(&header.msg_type, &mut content);
    let content = JupyterMessageContent::from_type_and_content(&header.msg_type, content)
        .map_err(|e| dropped(&header.msg_type, &e))?;
    Ok(JupyterMessage {
        zmq_identities: ways_back,
        parent_header: serde_json::from_slice(&parts[1]).ok(),
        header,
        metadata,
        content,
        buffers,
        channel: None,
    })
}

/// Adds the fields which the protocol calls optional and the typed messages require.
fn fill_in(msg_type: &str, content: &mut Value) {
    let Value::Object(fields) = content else {
        return;
    };
    let silent = fields.get("silent") == Some(&Value::Bool(true));
    let defaults = match msg_type {
        "execute_request" => json!({
            "silent": false, "store_history": !silent, "user_expressions": {},
            "allow_stdin": false, "stop_on_error": true,
        }),
        "history_request" => json!({
            "output": false, "raw": true, "session": 0, "start": 0, "stop": i32::MAX,
            "n": i32::MAX, "pattern": "*", "unique": false,
        }),
        "shutdown_request" => json!({ "restart": false }),
        "complete_request" | "inspect_request" => {
            let end = fields
                .get("code")
                .and_then(Value::as_str)
                .map_or(0, |code| code.chars().count());
            json!({ "cursor_pos": end, "detail_level": 0 })
        }
        "comm_open" | "comm_msg" | "comm_close" => json!({ "data": {} }),
        _ => return,
    };
    if let Value::Object(defaults) = defaults {
        for (key, value) in defaults {
            let slot = fields.entry(key).or_insert(Value::Null);
            if slot.is_null() {
                *slot = value;
            }
        }
    }
}

/// A message caused by `parent`: a reply to it, or something its cell says.
pub fn child_of(
    parent: &JupyterMessage,
    content: impl Into<JupyterMessageContent>,
) -> JupyterMessage {
    stamped(JupyterMessage::new(content, Some(parent)))
}

/// A message nobody asked for.
pub fn unasked(content: impl Into<JupyterMessageContent>) -> JupyterMessage {
    stamped(JupyterMessage::new(content, None))
}

fn stamped(mut message: JupyterMessage) -> JupyterMessage {
    message.header.version = PROTOCOL.to_string();
    message.header.username = "rebit".to_string();
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use jupyter_protocol::messaging::HistoryRequest;

    fn open(msg_type: &str, content: &str) -> Result<JupyterMessage, Dropped> {
        let header = json!({
            "msg_id": "1", "username": "u", "session": "s", "date": "2026-01-01T00:00:00Z",
            "msg_type": msg_type, "version": "5.3",
        });
        let parts = [header.to_string().as_str(), "{}", "{}", content]
            .iter()
            .map(|part| part.as_bytes().to_vec().into())
            .collect();
        decode(Vec::new(), parts)
    }

    #[tokio::test]
    async fn what_was_sealed_can_be_opened_once() {
        let wire = Wire::new("key", "ours".to_string());
        let mut message = unasked(jupyter_protocol::messaging::InterruptRequest::default());
        message.zmq_identities = vec!["way".into()];
        message.buffers = vec![Bytes::from_static(b"\0")];
        let frames = wire.seal(message).unwrap();
        let opened = wire.open(frames.clone()).await.unwrap();
        assert_eq!(opened.message_type(), "interrupt_request");
        assert_eq!(opened.zmq_identities, ["way"]);
        assert_eq!(opened.buffers.len(), 1);
        assert_eq!(opened.header.session, "ours");
        let why = wire.open(frames).await.unwrap_err().to_string();
        assert_eq!(why, "it was sent before");
    }

    #[tokio::test]
    async fn frames_that_are_no_message_are_dropped() {
        let wire = Wire::new("", String::new());
        for frames in [
            &["a", "b"][..],
            &[],
            &["<IDS|MSG>"],
            &["<IDS|MSG>", "", "{}", "{}", "{}"],
        ] {
            let frames = frames.iter().map(|frame| Bytes::from(*frame)).collect();
            assert!(wire.open(frames).await.is_err());
        }
    }

    #[test]
    fn missing_optional_fields_get_the_defaults_of_the_protocol() {
        let message = open("execute_request", r#"{"code": "1", "silent": true}"#).unwrap();
        let JupyterMessageContent::ExecuteRequest(request) = message.content else {
            panic!("not an execute request");
        };
        assert!(request.silent && !request.store_history && request.stop_on_error);

        let search = r#"{"hist_access_type": "search", "pattern": "a*", "n": 3}"#;
        let message = open("history_request", search).unwrap();
        let JupyterMessageContent::HistoryRequest(HistoryRequest::Search { n, unique, .. }) =
            message.content
        else {
            panic!("not a search");
        };
        assert!(n == 3 && !unique);
    }

    #[test]
    fn garbage_becomes_one_sentence() {
        for (msg_type, content) in [
            ("execute_request", "{"),
            ("execute_request", "[]"),
            ("complete_request", r#"{"code": 7}"#),
            ("history_request", r#"{"hist_access_type": "sideways"}"#),
        ] {
            let why = open(msg_type, content).unwrap_err().to_string();
            assert!(!why.contains('\n'), "{why}");
        }
    }

    #[test]
    fn unknown_types_arrive_as_unknown() {
        let message = open("dance_request", r#"{"tempo": 3}"#).unwrap();
        assert_eq!(message.message_type(), "dance_request");
    }
}
