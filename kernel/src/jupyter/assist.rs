//! Answers completion and help requests, on a thread of its own, also while a cell runs.

use std::sync::{Arc, mpsc};

use jupyter_protocol::messaging::{
    CompleteReply, InspectReply, JupyterMessage, JupyterMessageContent, Status,
};
use serde_json::{Map, json};
use tokio::sync::mpsc::UnboundedSender;

use super::evaluator::{Assistant, StartAssistant};
use super::index;
use super::kernel::{Kernel, Known, locked};
use super::known;
use super::place::{byte_offset, code_point};
use super::say::media;
use super::wire::child_of;
use crate::output::Bundle;
use crate::session::analyser::{Completions, Help};

/// Answers from what is known and, once it runs, from the assistant.
#[derive(Default)]
pub struct Answers {
    start: Option<StartAssistant>,
    assistant: Option<Box<dyn Assistant>>,
}

impl Answers {
    /// Answers with the help of an assistant that is started when somebody first asks.
    pub fn new(start: Option<StartAssistant>) -> Answers {
        Answers {
            start,
            assistant: None,
        }
    }

    /// Everything that may stand at byte `cursor`.
    pub fn complete(&mut self, known: &Known, code: &str, cursor: usize) -> Completions {
        let found = known::complete(known, index::library(), code, cursor);
        // Commands are ours; for Rust the assistant knows more.
        let ours = found.items.iter().any(|item| item.text.starts_with(':'));
        if !ours && let Some(assistant) = self.ready() {
            match assistant.complete(&known.preamble, code, cursor) {
                Ok(better) if !better.items.is_empty() => return better,
                Ok(_) => {}
                Err(e) => self.lose(&e),
            }
        }
        found
    }

    /// Help for the name at byte `cursor`.
    pub fn inspect(&mut self, known: &Known, code: &str, cursor: usize) -> Option<Bundle> {
        if let Some(found) = known::inspect(known, index::library(), code, cursor) {
            return Some(found);
        }
        let help = self.ready()?.inspect(&known.preamble, code, cursor);
        help.unwrap_or_else(|e| {
            self.lose(&e);
            None
        })
        .map(bundle)
    }

    /// The assistant, if it can answer at once; the first call starts it.
    fn ready(&mut self) -> Option<&mut Box<dyn Assistant>> {
        if self.assistant.is_none()
            && let Some(start) = &self.start
        {
            match start() {
                Ok(assistant) => self.assistant = Some(assistant),
                Err(e) => {
                    log::warn!("the analyser did not start: {e}");
                    self.start = None;
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

/// The thread's own state.
pub struct Assist {
    kernel: Arc<Kernel>,
    replies: UnboundedSender<JupyterMessage>,
    answers: Answers,
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
            answers: Answers::default(),
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
        if let Some(start) = locked(&self.kernel.assistant).take() {
            self.answers = Answers::new(Some(start));
        }
        let known = locked(&self.kernel.known).clone();
        let content: Option<JupyterMessageContent> = match &request.content {
            JupyterMessageContent::CompleteRequest(r) => {
                let cursor = byte_offset(&r.code, r.cursor_pos);
                let found = self.answers.complete(&known, &r.code, cursor);
                Some(completions(&r.code, found).into())
            }
            JupyterMessageContent::InspectRequest(r) => {
                let cursor = byte_offset(&r.code, r.cursor_pos);
                let found = self.answers.inspect(&known, &r.code, cursor);
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
