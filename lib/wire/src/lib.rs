//! The words the library in a cell says to its kernel.
//!
//! A running cell has one standard output, shared by the user's bytes and by these messages, so that
//! their order is kept. A message is one line: a prefix that is secret to the session, a JSON object, a
//! line feed. The kernel puts the prefix into [`PREFIX_VARIABLE`] of the process that runs cells; where
//! the variable is missing there is no kernel that understands, and the library falls back to text.
//!
//! ```
//! use rebit_wire::{Message, decode, encode};
//! let prefix = "\u{1}rebit 5f0c9a:";
//! let said = Message::ClearOutput { wait: true };
//! let line = encode(prefix, &said);
//! assert_eq!(decode(prefix, &line), Some(said));
//! assert_eq!(decode(prefix, "rebit {\"kind\":\"clear_output\",\"wait\":true}"), None);
//! ```

mod budget;
mod format;
mod html;
mod splitter;

use std::collections::BTreeMap;

pub use budget::{Budget, UnknownBudget};
pub use format::{UnknownFormat, ValueFormat};
pub use html::escape_html;
use serde::{Deserialize, Serialize};
pub use serde_json::Value;
pub use splitter::{Piece, Splitter};

/// The environment variable with the session's prefix.
pub const PREFIX_VARIABLE: &str = "REBIT_WIRE";
/// The environment variable with the notebook's [`Budget`]: `quick`, `standard` or `full`.
pub const BUDGET_VARIABLE: &str = "REBIT_BUDGET";

/// One thing to show, in several forms: MIME type to content. Text and SVG are JSON strings, images are
/// base64 strings, `application/json` is any value: what Jupyter's `data` field holds.
pub type MimeBundle = BTreeMap<String, Value>;

/// What the library says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Message {
    /// Show this now. With an `id` it can be replaced later.
    Display {
        /// Jupyter's `transient.display_id`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The forms of what is shown.
        data: MimeBundle,
        /// Jupyter's `metadata`, often empty.
        #[serde(default, skip_serializing_if = "MimeBundle::is_empty")]
        metadata: MimeBundle,
    },
    /// Replace what was displayed under `id`, wherever it stands.
    UpdateDisplay {
        /// The id of an earlier [`Message::Display`].
        id: String,
        /// The forms of what is shown now.
        data: MimeBundle,
        /// Jupyter's `metadata`, often empty.
        #[serde(default, skip_serializing_if = "MimeBundle::is_empty")]
        metadata: MimeBundle,
    },
    /// Remove the outputs of this cell so far.
    ClearOutput {
        /// Only when the next output arrives, so that nothing flickers.
        wait: bool,
    },
    /// How far a loop is. The kernel decides how it looks.
    Progress {
        /// The same for all reports of one loop, different for two loops.
        id: String,
        /// What is being done.
        label: String,
        /// Steps done.
        done: u64,
        /// Steps altogether, when known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
        /// Steps per second, when known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<f64>,
        /// Estimated seconds to the end, when known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        eta_seconds: Option<f64>,
        /// A short remark, such as the current loss.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// The last report of this loop.
        finished: bool,
    },
    /// A sentence of a paper, checked. Its row is shown by a [`Message::Display`] of its own.
    Claim {
        /// The sentence.
        text: String,
        /// Whether it holds here.
        holds: bool,
        /// What was measured.
        ours: String,
        /// What the paper says.
        paper: String,
    },
    /// A number of a paper beside ours, without a verdict. Its row is shown by a [`Message::Display`].
    Finding {
        /// The sentence.
        text: String,
        /// What was measured.
        ours: String,
        /// What the paper says.
        paper: String,
        /// Why they differ, or need not agree.
        why: String,
    },
    /// A computation saw the request to stop and ended in order.
    Interrupted,
    /// A message of a newer library; a kernel leaves it out.
    #[serde(other)]
    Unknown,
}

/// `prefix`, the message as JSON, and a line feed.
///
/// JSON escapes line feeds, so this is exactly one line.
pub fn encode(prefix: &str, message: &Message) -> String {
    let mut line = prefix.as_bytes().to_vec();
    // Maps have string keys and floats that are not finite become null, so this cannot fail.
    if serde_json::to_writer(&mut line, message).is_err() {
        line.truncate(prefix.len());
        line.extend_from_slice(br#"{"kind":"unknown"}"#);
    }
    line.push(b'\n');
    String::from_utf8(line).expect("JSON is text")
}

/// The message in `line`, with or without its line end; `None` when it is the user's own text.
pub fn decode(prefix: &str, line: &str) -> Option<Message> {
    // Without a secret every line of JSON would be a message.
    if prefix.is_empty() {
        return None;
    }
    message_of(line.strip_prefix(prefix)?)
}

/// The message in a line whose prefix has been taken off; `None` when it is no message.
pub fn message_of(json: &str) -> Option<Message> {
    serde_json::from_str(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PREFIX: &str = "\u{1}rebit 0123456789abcdef:";

    fn every_kind() -> Vec<Message> {
        let data = MimeBundle::from([
            (
                "text/plain".into(),
                json!("two\nlines \u{1f980} \"quoted\""),
            ),
            ("application/json".into(), json!({"a": [1, 2.5, null]})),
        ]);
        let metadata = MimeBundle::from([("image/png".into(), json!({"width": 640}))]);
        vec![
            Message::Display {
                id: None,
                data: data.clone(),
                metadata: MimeBundle::new(),
            },
            Message::UpdateDisplay {
                id: "loss".into(),
                data,
                metadata,
            },
            Message::ClearOutput { wait: false },
            Message::Progress {
                id: "1".into(),
                label: "epoch".into(),
                done: 3,
                total: Some(20),
                rate: Some(0.25),
                eta_seconds: Some(68.0),
                message: Some("loss 1.2".into()),
                finished: false,
            },
            Message::Claim {
                text: "accuracy stays".into(),
                holds: true,
                ours: "-0.3".into(),
                paper: "on par".into(),
            },
            Message::Finding {
                text: "gain".into(),
                ours: "0.3 \u{b1} 0.4".into(),
                paper: "5.05".into(),
                why: "20 epochs".into(),
            },
            Message::Interrupted,
        ]
    }

    #[test]
    fn every_message_is_one_line_and_comes_back_as_it_was() {
        for message in every_kind() {
            let line = encode(PREFIX, &message);
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            assert!(line.ends_with('\n'));
            assert_eq!(decode(PREFIX, &line), Some(message.clone()));
            assert_eq!(decode(PREFIX, line.trim_end()), Some(message));
        }
    }

    #[test]
    fn the_json_is_what_the_documentation_of_the_wire_says() {
        let line = encode(PREFIX, &Message::ClearOutput { wait: true });
        assert_eq!(
            line,
            format!("{PREFIX}{{\"kind\":\"clear_output\",\"wait\":true}}\n")
        );
    }

    #[test]
    fn text_of_the_user_that_looks_similar_is_not_a_message() {
        let json = r#"{"kind":"clear_output","wait":true}"#;
        let foreign = [
            json.to_string(),
            format!("rebit 0123456789abcdef:{json}"),
            format!("\u{1}rebit 0123456789abcdee:{json}"),
            format!("{PREFIX}not json"),
            format!("{PREFIX}{json} and more"),
            PREFIX.to_string(),
            format!(" {PREFIX}{json}"),
            String::new(),
        ];
        for line in foreign {
            assert_eq!(decode(PREFIX, &line), None, "{line:?}");
        }
        assert_eq!(decode("", json), None);
    }

    #[test]
    fn a_kind_that_is_not_known_yet_is_told_from_text() {
        let line = format!("{PREFIX}{{\"kind\":\"hologram\",\"depth\":3}}");
        assert_eq!(decode(PREFIX, &line), Some(Message::Unknown));
    }

    #[test]
    fn a_rate_that_is_not_a_number_is_left_out_and_not_an_error() {
        let message = Message::Progress {
            id: "1".into(),
            label: String::new(),
            done: 0,
            total: None,
            rate: Some(f64::NAN),
            eta_seconds: None,
            message: None,
            finished: false,
        };
        let line = encode(PREFIX, &message);
        let Some(Message::Progress { rate, .. }) = decode(PREFIX, &line) else {
            panic!("{line}");
        };
        assert_eq!(rate, None);
    }
}
