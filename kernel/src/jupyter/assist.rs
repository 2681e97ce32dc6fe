//! Answers completion and help requests, on a thread of its own, also while a cell runs.

use std::sync::{Arc, mpsc};

use jupyter_protocol::messaging::{
    CompleteReply, InspectReply, JupyterMessage, JupyterMessageContent, Status,
};
use serde_json::{Map, json};
use tokio::sync::mpsc::UnboundedSender;

use super::kernel::Kernel;
use super::say::media;
use super::wire::child_of;
use crate::language::Completions;
use crate::language::place::{byte_offset, code_point};
use crate::locked;

/// The thread's own state.
pub struct Assist {
    kernel: Arc<Kernel>,
    replies: UnboundedSender<JupyterMessage>,
}

impl Assist {
    /// Starts the thread; requests go into the returned channel.
    pub fn spawn(
        kernel: Arc<Kernel>,
        replies: UnboundedSender<JupyterMessage>,
    ) -> std::io::Result<mpsc::Sender<JupyterMessage>> {
        let (sender, requests) = mpsc::channel();
        let assist = Assist { kernel, replies };
        std::thread::Builder::new()
            .name("assist".to_string())
            .spawn(move || {
                for request in requests {
                    assist.serve(&request);
                }
            })?;
        Ok(sender)
    }

    fn serve(&self, request: &JupyterMessage) {
        let iopub = self.kernel.iopub.clone();
        iopub.status(request, Status::busy());
        let known = locked(&self.kernel.known).clone();
        let content: Option<JupyterMessageContent> = match &request.content {
            JupyterMessageContent::CompleteRequest(r) => {
                let cursor = byte_offset(&r.code, r.cursor_pos);
                let found = locked(&self.kernel.answers).complete(&known, &r.code, cursor);
                Some(completions(&r.code, found).into())
            }
            JupyterMessageContent::InspectRequest(r) => {
                let cursor = byte_offset(&r.code, r.cursor_pos);
                let found = locked(&self.kernel.answers).inspect(&known, &r.code, cursor);
                let reply = InspectReply {
                    found: found.is_some(),
                    data: media(found.unwrap_or_default()),
                    ..Default::default()
                };
                Some(reply.into())
            }
            _ => None,
        };
        if let Some(content) = content
            && self.replies.send(child_of(request, content)).is_err()
        {
            log::warn!("shell: the channel is closed; a reply is lost");
        }
        iopub.status(request, Status::idle());
        // Front ends show the last status they saw, whoever it was for.
        if let Some(cell) = self.kernel.running() {
            iopub.status(&cell, Status::busy());
        }
    }
}

/// Completions in code points, with the types that JupyterLab shows.
fn completions(code: &str, found: Completions) -> CompleteReply {
    let (start, end) = (code_point(code, found.start), code_point(code, found.end));
    let types: Vec<_> = found
        .items
        .iter()
        .map(|item| {
            json!({
                "start": start, "end": end, "text": item.text,
                "type": item.kind, "signature": item.label,
            })
        })
        .collect();
    CompleteReply {
        matches: found.items.into_iter().map(|item| item.text).collect(),
        cursor_start: start,
        cursor_end: end,
        metadata: Map::from_iter([("_jupyter_types_experimental".to_string(), json!(types))]),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::Completion;

    #[test]
    fn replies_count_code_points() {
        let found = Completions {
            start: "é = 🦀".len(),
            end: "é = 🦀x".len(),
            items: vec![Completion {
                text: "xyz".into(),
                label: "let xyz".into(),
                kind: "instance".into(),
            }],
        };
        let reply = completions("é = 🦀x", found);
        assert_eq!((reply.cursor_start, reply.cursor_end), (5, 6));
        assert_eq!(reply.matches, ["xyz"]);
        let typed = &reply.metadata["_jupyter_types_experimental"][0];
        assert_eq!(typed["type"], "instance");
    }
}
