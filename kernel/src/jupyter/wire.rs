//! Messages as they travel: received with every doubt checked, sent with the protocol version they follow.
//!
//! The crates underneath check signatures and shapes; this file adds the limits (size, missing optional
//! fields) and turns everything that is wrong with a message into one sentence for the log, so that no
//! reader of a channel ever ends because of what it read.

use jupyter_protocol::messaging::{Header, JupyterMessage, JupyterMessageContent};
use jupyter_zmq_client::{Connection, RawMessage};
use serde_json::{Value, json};
use zeromq::SocketRecv;

/// The version of the Jupyter messaging protocol this kernel follows.
pub const PROTOCOL: &str = "5.5";

/// Messages larger than this many bytes are dropped; no cell and no completion is near it.
pub const LARGEST_MESSAGE: usize = 64 << 20;

/// Why no message came out of a channel.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The message was wrong: log it and go on.
    #[error("{0}")]
    Dropped(String),
    /// The socket itself failed.
    #[error("the socket failed: {0}")]
    Socket(String),
}

/// Reads the next message of a channel.
///
/// # Errors
/// [`Fault::Dropped`] for a message that has to be ignored (wrong signature, missing frames, too large,
/// not JSON, content that does not fit its type), [`Fault::Socket`] when nothing can be read at all.
pub async fn receive<S: SocketRecv>(
    connection: &mut Connection<S>,
) -> Result<JupyterMessage, Fault> {
    let multipart = connection
        .socket
        .recv()
        .await
        .map_err(|e| Fault::Socket(e.to_string()))?;
    let bytes: usize = multipart.iter().map(|part| part.len()).sum();
    if bytes > LARGEST_MESSAGE {
        return Err(Fault::Dropped(format!(
            "a message of {bytes} bytes is over the limit of {LARGEST_MESSAGE}"
        )));
    }
    let raw = RawMessage::from_multipart(multipart, &connection.mac)
        .map_err(|e| Fault::Dropped(e.to_string()))?;
    decode(raw)
}

/// A message from its checked frames.
fn decode(raw: RawMessage) -> Result<JupyterMessage, Fault> {
    let dropped = |what: &str, e: &dyn std::fmt::Display| Fault::Dropped(format!("{what}: {e}"));
    let header: Header =
        serde_json::from_slice(&raw.jparts[0]).map_err(|e| dropped("header", &e))?;
    let metadata: Value =
        serde_json::from_slice(&raw.jparts[2]).map_err(|e| dropped("metadata", &e))?;
    let mut content: Value =
        serde_json::from_slice(&raw.jparts[3]).map_err(|e| dropped("content", &e))?;
    fill_in(&header.msg_type, &mut content);
    let content = JupyterMessageContent::from_type_and_content(&header.msg_type, content)
        .map_err(|e| dropped(&header.msg_type, &e))?;
    Ok(JupyterMessage {
        zmq_identities: raw.zmq_identities,
        parent_header: serde_json::from_slice(&raw.jparts[1]).ok(),
        header,
        metadata,
        content,
        buffers: raw.jparts[4..].to_vec(),
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

    fn raw(msg_type: &str, content: &str) -> RawMessage {
        let header = json!({
            "msg_id": "1", "username": "u", "session": "s", "date": "2026-01-01T00:00:00Z",
            "msg_type": msg_type, "version": "5.3",
        });
        RawMessage {
            zmq_identities: vec![],
            jparts: [header.to_string().as_str(), "{}", "{}", content]
                .iter()
                .map(|part| part.as_bytes().to_vec().into())
                .collect(),
        }
    }

    #[test]
    fn missing_optional_fields_get_the_defaults_of_the_protocol() {
        let message = decode(raw("execute_request", r#"{"code": "1", "silent": true}"#)).unwrap();
        let JupyterMessageContent::ExecuteRequest(request) = message.content else {
            panic!("not an execute request");
        };
        assert!(request.silent && !request.store_history && request.stop_on_error);

        let search = r#"{"hist_access_type": "search", "pattern": "a*", "n": 3}"#;
        let message = decode(raw("history_request", search)).unwrap();
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
            let Err(Fault::Dropped(why)) = decode(raw(msg_type, content)) else {
                panic!("{msg_type} {content} was accepted");
            };
            assert!(!why.contains('\n'), "{why}");
        }
    }

    #[test]
    fn unknown_types_arrive_as_unknown() {
        let message = decode(raw("dance_request", r#"{"tempo": 3}"#)).unwrap();
        assert_eq!(message.message_type(), "dance_request");
    }
}
