//! What the channels share: the queue of cells, the history, what is known about the session.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use jupyter_protocol::messaging::{
    HelpLink, JupyterMessage, JupyterMessageContent, KernelInfoReply, LanguageInfo, ReplyStatus,
    UnknownMessage,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::evaluator::Interrupt;
use super::history::History;
use super::iopub::IoPub;
use super::stdin::Prompt;
use super::wire::PROTOCOL;
use crate::language::assist::Answers;
use crate::language::known::Known;
use crate::locked;

/// State shared by all channels.
pub struct Kernel {
    /// Everything a cell says.
    pub iopub: IoPub,
    /// Asks front ends for input.
    pub prompt: Prompt,
    /// What was run.
    pub history: Mutex<History>,
    /// What the last finished cell left behind.
    pub known: Mutex<Known>,
    /// Interrupts the running cell; absent while the session starts.
    pub interrupt: OnceLock<Interrupt>,
    /// Completion and help; without an analyser while the session starts.
    pub answers: Mutex<Answers>,
    /// The ports, for `connect_request`.
    pub ports: Value,
    cells: Cells,
    ending: AtomicBool,
    end: Notify,
}

/// Requests that wait for their turn.
#[derive(Default)]
struct Cells {
    waiting: Mutex<VecDeque<JupyterMessage>>,
    filled: Condvar,
    /// The cell that runs, or ran last: its outputs and its threads' belong to it.
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    cell: Option<Arc<JupyterMessage>>,
    running: bool,
}

impl Kernel {
    /// A kernel in which nothing runs yet.
    pub fn new(iopub: IoPub, prompt: Prompt, history: History, ports: Value) -> Kernel {
        Kernel {
            iopub,
            prompt,
            history: Mutex::new(history),
            known: Mutex::default(),
            interrupt: OnceLock::new(),
            answers: Mutex::default(),
            ports,
            cells: Cells::default(),
            ending: AtomicBool::new(false),
            end: Notify::new(),
        }
    }

    /// Puts an execute request behind the others.
    pub fn enqueue(&self, request: JupyterMessage) {
        locked(&self.cells.waiting).push_back(request);
        self.cells.filled.notify_one();
    }

    /// The next request; waits for it. `None` when the kernel ends.
    pub fn next_cell(&self) -> Option<Arc<JupyterMessage>> {
        let mut waiting = locked(&self.cells.waiting);
        loop {
            if self.ending.load(Ordering::SeqCst) {
                return None;
            }
            if let Some(request) = waiting.pop_front() {
                let cell = Arc::new(request);
                *locked(&self.cells.current) = Current {
                    cell: Some(cell.clone()),
                    running: true,
                };
                return Some(cell);
            }
            waiting = self
                .cells
                .filled
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The request that will run next.
    pub fn first_waiting(&self) -> Option<Arc<JupyterMessage>> {
        locked(&self.cells.waiting).front().cloned().map(Arc::new)
    }

    /// Takes every request that waits.
    pub fn take_waiting(&self) -> Vec<JupyterMessage> {
        locked(&self.cells.waiting).drain(..).collect()
    }

    /// The running cell has ended.
    pub fn cell_ended(&self) {
        locked(&self.cells.current).running = false;
    }

    /// The running cell.
    pub fn running(&self) -> Option<Arc<JupyterMessage>> {
        let current = locked(&self.cells.current);
        current.running.then(|| current.cell.clone()).flatten()
    }

    /// The cell that runs or, while none does, the last one.
    pub fn last_cell(&self) -> Option<Arc<JupyterMessage>> {
        locked(&self.cells.current).cell.clone()
    }

    /// Interrupts the running cell; without one nothing happens.
    pub fn interrupt(&self) {
        if self.running().is_some() {
            if let Some(interrupt) = self.interrupt.get() {
                interrupt();
            }
            // Behind it, so that the cell knows why it gets no answer.
            self.prompt.cancel();
        }
    }

    /// Whether the session has been started.
    pub fn started(&self) -> bool {
        self.interrupt.get().is_some()
    }

    /// Asks the kernel to end; returns at once.
    pub fn end(&self) {
        let waiting = locked(&self.cells.waiting);
        self.ending.store(true, Ordering::SeqCst);
        self.cells.filled.notify_all();
        drop(waiting);
        // A permit is kept for a waiter that comes later.
        self.end.notify_one();
    }

    /// Resolves when the kernel has been asked to end.
    pub async fn ended(&self) {
        self.end.notified().await;
    }

    /// The answer to `kernel_info_request`.
    pub fn info(&self) -> JupyterMessageContent {
        let info = KernelInfoReply {
            status: ReplyStatus::Ok,
            protocol_version: PROTOCOL.to_string(),
            implementation: "rebit".to_string(),
            implementation_version: env!("CARGO_PKG_VERSION").to_string(),
            language_info: LanguageInfo {
                name: "rust".to_string(),
                version: env!("CARGO_PKG_RUST_VERSION").to_string(),
                mimetype: Some("text/rust".to_string()),
                file_extension: Some(".rs".to_string()),
                pygments_lexer: Some("rust".to_string()),
                codemirror_mode: Some(jupyter_protocol::messaging::CodeMirrorMode::Simple(
                    "rust".to_string(),
                )),
                nbconvert_exporter: Some("script".to_string()),
            },
            banner: format!(
                "rebit {}: Rust with quantisation-aware training already loaded. \
                 `:help` says what a cell can do.",
                env!("CARGO_PKG_VERSION")
            ),
            help_links: [
                ("The Rust book", "https://doc.rust-lang.org/book/"),
                ("The standard library", "https://doc.rust-lang.org/std/"),
                ("dfdx", "https://docs.rs/dfdx/0.13.0/dfdx/"),
            ]
            .map(|(text, url)| HelpLink {
                text: text.to_string(),
                url: url.to_string(),
            })
            .into(),
            debugger: false,
            error: None,
        };
        // `supported_features` is younger than the typed message.
        let mut content = serde_json::to_value(&info).unwrap_or_else(|_| json!({}));
        content["supported_features"] = json!([]);
        JupyterMessageContent::UnknownMessage(UnknownMessage {
            msg_type: "kernel_info_reply".to_string(),
            content,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Wire;
    use super::*;

    #[test]
    fn kernel_info_is_typed_and_extended() {
        let (outgoing, _) = tokio::sync::mpsc::unbounded_channel();
        let kernel = Kernel::new(
            IoPub::new(Arc::new(Wire::new("", String::new()))),
            Prompt::new(outgoing),
            History::open(None),
            json!({}),
        );
        let content = serde_json::to_value(kernel.info()).unwrap();
        assert_eq!(content["language_info"]["name"], "rust");
        assert_eq!(content["language_info"]["file_extension"], ".rs");
        assert_eq!(content["supported_features"], json!([]));
        assert_eq!(content["status"], "ok");
    }
}
