//! Answers completion and help requests, on a thread of its own, also while a cell runs.

use std::sync::{Arc, mpsc};

use jupyter_protocol::messaging::{
    CompleteReply, InspectReply, JupyterMessage, JupyterMessageContent, Status,
};
use serde_json::{Map, json};
use tokio::sync::mpsc::UnboundedSender;

use super::evaluator::Assistant;
use super::index;
use super::kernel::{Kernel, locked};
use super::known;
use super::place::{byte_offset, code_point};
use super::say::media;
use super::wire::child_of;
use crate::output::Bundle;
use crate::session::analyser::{Completions, Help};

/// The thread's own state.
pub struct Assist {
    kernel: Arc<Kernel>,
    replies: UnboundedSender<JupyterMessage>,
    assistant: Option<Box<dyn Assistant>>,
    refused: bool,
}

impl Assist {
    /// Starts the thread; requests go into the returned channel.
    pub fn spawn(
        kernel: Arc<Kernel>,
        replies: UnboundedSender<JupyterMessage>,
    ) -> std::io::Result<mpsc::Sender<JupyterMessage>> {
        let (sender, requests) = mpsc::channel();
        let mut assist = Assist {
            kernel,
            replies,
            assistant: None,
            refused: false,
        };
        std::thread::Builder::new()
            .name("assist".to_string())
            .spawn(move || {
                for request in requests {
                    assist.serve(&request);
                }
            })?;
        Ok(sender)
    }

    fn serve(&mut self, request: &JupyterMessage) {
        let iopub = self.kernel.iopub.clone();
        iopub.status(request, Status::busy());
        let content: Option<JupyterMessageContent> = match &request.content {
            JupyterMessageContent::CompleteRequest(r) => {
                Some(self.complete(&r.code, r.cursor_pos).into())
            }
            JupyterMessageContent::InspectRequest(r) => {
                Some(self.inspect(&r.code, r.cursor_pos).into())
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

    fn complete(&mut self, code: &str, position: usize) -> CompleteReply {
        let cursor = byte_offset(code, position);
        let known = locked(&self.kernel.known).clone();
        let mut found = known::complete(&known, index::library(), code, cursor);
        // Commands are ours; for Rust the analyser knows more.
        let ours = found.items.iter().any(|item| item.text.starts_with(':'));
        if !ours && let Some(assistant) = self.ready() {
            match assistant.complete(&known.preamble, code, cursor) {
                Ok(better) if !better.items.is_empty() => found = better,
                Ok(_) => {}
                Err(e) => self.lose(&e),
            }
        }
        completions(code, found)
    }

    fn inspect(&mut self, code: &str, position: usize) -> InspectReply {
        let cursor = byte_offset(code, position);
        let known = locked(&self.kernel.known).clone();
        let mut found = known::inspect(&known, index::library(), code, cursor);
        if found.is_none()
            && let Some(assistant) = self.ready()
        {
            match assistant.inspect(&known.preamble, code, cursor) {
                Ok(help) => found = help.map(bundle),
                Err(e) => self.lose(&e),
            }
        }
        InspectReply {
            found: found.is_some(),
            data: media(found.unwrap_or_default()),
            ..Default::default()
        }
    }

    /// The assistant, if it can answer at once; the first call starts it.
    fn ready(&mut self) -> Option<&mut Box<dyn Assistant>> {
        if self.assistant.is_none()
            && !self.refused
            && let Some(start) = &*locked(&self.kernel.assistant)
        {
            match start() {
                Ok(assistant) => self.assistant = Some(assistant),
                Err(e) => {
                    log::warn!("the analyser did not start: {e}");
                    self.refused = true;
                }
            }
        }
        self.assistant.as_mut().filter(|a| a.ready())
    }

    fn lose(&mut self, error: &dyn std::fmt::Display) {
        log::warn!("the analyser went away: {error}; a new one starts at the next request");
        self.assistant = None;
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

fn bundle(help: Help) -> Bundle {
    Bundle::from([
        ("text/plain".to_string(), help.text.into()),
        ("text/html".to_string(), help.html.into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::analyser::Completion;

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
