//! The stdin channel: a cell asks, the front end that started it answers.

use std::sync::{Mutex, PoisonError, mpsc};

use jupyter_protocol::messaging::{InputRequest, JupyterMessage, JupyterMessageContent};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::wire::child_of;

/// Asks front ends for input; shared by all threads.
pub struct Prompt {
    outgoing: UnboundedSender<JupyterMessage>,
    waiting: Mutex<Option<mpsc::Sender<String>>>,
}

impl Prompt {
    /// A prompt whose requests go to `outgoing`.
    pub fn new(outgoing: UnboundedSender<JupyterMessage>) -> Self {
        Prompt {
            outgoing,
            waiting: Mutex::new(None),
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Option<mpsc::Sender<String>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the front end behind the request `cell` and waits for its answer; `None` after
    /// [`Prompt::cancel`].
    pub fn ask(&self, cell: &JupyterMessage, prompt: String, password: bool) -> Option<String> {
        let (sender, receiver) = mpsc::channel();
        *self.waiting() = Some(sender);
        let request = child_of(cell, InputRequest { prompt, password });
        self.outgoing.send(request).ok()?;
        receiver.recv().ok()
    }

    /// Ends a wait without an answer (the cell was interrupted).
    pub fn cancel(&self) {
        *self.waiting() = None;
    }

    /// Hands an answer to the cell that waits; late answers are forgotten.
    fn answer(&self, value: String) {
        if let Some(sender) = self.waiting().take() {
            // The cell may have ended meanwhile.
            let _ = sender.send(value);
        }
    }

    /// Takes answers for ever.
    pub async fn listen(&self, mut incoming: UnboundedReceiver<JupyterMessage>) {
        while let Some(message) = incoming.recv().await {
            match message.content {
                JupyterMessageContent::InputReply(reply) => self.answer(reply.value),
                other => log::warn!("stdin: {} dropped: not an answer", other.message_type()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jupyter_protocol::messaging::ExecuteRequest;
    use std::sync::Arc;

    #[test]
    fn an_answer_reaches_the_cell_and_a_cancel_ends_the_wait() {
        let (outgoing, mut sent) = tokio::sync::mpsc::unbounded_channel();
        let prompt = Arc::new(Prompt::new(outgoing));
        let cell: JupyterMessage = ExecuteRequest::new("x".into()).into();
        for (answer, expected) in [(Some("yes"), Some("yes".to_string())), (None, None)] {
            let asking = {
                let (prompt, cell) = (prompt.clone(), cell.clone());
                std::thread::spawn(move || prompt.ask(&cell, "sure? ".into(), false))
            };
            let request = sent.blocking_recv().unwrap();
            assert_eq!(request.message_type(), "input_request");
            match answer {
                Some(text) => prompt.answer(text.into()),
                None => prompt.cancel(),
            }
            assert_eq!(asking.join().unwrap(), expected);
        }
    }
}
