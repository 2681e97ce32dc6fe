//! The shell channel: takes every request as it comes and sends it where it is answered.
//!
//! Cells go into the queue of the executor, completion and help to the assistant's thread; everything
//! else is answered here at once, so a long cell never keeps a front end waiting for anything but cells.

use std::sync::{Arc, mpsc};

use jupyter_protocol::messaging::{
    CommClose, CommInfoReply, IsCompleteReply, JupyterMessage, JupyterMessageContent, Status,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::kernel::Kernel;
use super::transport::Router;
use super::wire::{Ear, Wire, child_of};
use crate::language::is_complete::{Completeness, judge};
use crate::locked;

/// Serves the channel.
pub struct Shell {
    /// What the channels share.
    pub kernel: Arc<Kernel>,
    /// Replies, also those of the executor and the assistant.
    pub replies: UnboundedSender<JupyterMessage>,
    /// Requests for the assistant.
    pub assist: mpsc::Sender<JupyterMessage>,
    /// The channel's name in the log.
    pub name: &'static str,
}

impl Shell {
    /// Takes requests for ever.
    pub async fn listen(self, mut incoming: UnboundedReceiver<JupyterMessage>) {
        while let Some(message) = incoming.recv().await {
            self.dispatch(message);
        }
    }

    fn dispatch(&self, message: JupyterMessage) {
        match &message.content {
            JupyterMessageContent::ExecuteRequest(_) => self.kernel.enqueue(message),
            JupyterMessageContent::CompleteRequest(_)
            | JupyterMessageContent::InspectRequest(_) => {
                if self.assist.send(message).is_err() {
                    log::warn!("{}: the assistant is gone; a request is lost", self.name);
                }
            }
            _ => self.answer(&message),
        }
    }

    /// Answers what needs neither the session nor the analyser, between `busy` and `idle`.
    fn answer(&self, request: &JupyterMessage) {
        let iopub = &self.kernel.iopub;
        iopub.status(request, Status::busy());
        match self.reply_to(request) {
            Ok(Some(content)) => self.reply(request, content),
            Ok(None) => {}
            Err(why) => log::warn!("{}: {why}", self.name),
        }
        iopub.status(request, Status::idle());
        if let Some(cell) = self.kernel.running() {
            // Front ends show the last status they saw, whoever it was for.
            iopub.status(&cell, Status::busy());
        }
    }

    fn reply(&self, request: &JupyterMessage, content: JupyterMessageContent) {
        if self.replies.send(child_of(request, content)).is_err() {
            log::warn!("{}: the channel is closed; a reply is lost", self.name);
        }
    }

    /// The reply to a request; `None` where the protocol knows none.
    fn reply_to(&self, request: &JupyterMessage) -> Result<Option<JupyterMessageContent>, String> {
        use JupyterMessageContent as Content;
        Ok(match &request.content {
            Content::KernelInfoRequest(_) => Some(self.kernel.info()),
            Content::IsCompleteRequest(r) => {
                let reply = match judge(&r.code) {
                    Completeness::Complete => IsCompleteReply::complete(),
                    Completeness::Incomplete(n) => IsCompleteReply::incomplete(" ".repeat(n)),
                    Completeness::Invalid => IsCompleteReply::invalid(),
                };
                Some(reply.into())
            }
            Content::HistoryRequest(r) => Some(locked(&self.kernel.history).answer(r).into()),
            // No comm is ever open on this side.
            Content::CommInfoRequest(_) => Some(CommInfoReply::default().into()),
            Content::CommOpen(open) => {
                log::info!("{}: no comm target `{}`", self.name, open.target_name);
                let close = CommClose {
                    comm_id: open.comm_id.clone(),
                    data: Default::default(),
                };
                self.kernel.iopub.publish(request, close);
                None
            }
            Content::CommMsg(_) | Content::CommClose(_) => None,
            Content::InterruptRequest(_) => {
                self.kernel.interrupt();
                Some(jupyter_protocol::messaging::InterruptReply::new().into())
            }
            Content::ShutdownRequest(r) => {
                let reply = jupyter_protocol::messaging::ShutdownReply {
                    restart: r.restart,
                    ..Default::default()
                };
                self.kernel.end();
                Some(reply.into())
            }
            Content::UnknownMessage(unknown) if unknown.msg_type == "connect_request" => {
                Some(unknown.reply(self.kernel.ports.clone()))
            }
            other => return Err(format!("{} dropped: not served", other.message_type())),
        })
    }
}

/// Sends what the others hand over, for ever.
pub async fn send_replies(
    name: &'static str,
    wire: Arc<Wire>,
    port: Arc<Router<Ear>>,
    mut replies: UnboundedReceiver<JupyterMessage>,
) {
    while let Some(reply) = replies.recv().await {
        if let Some(frames) = wire.seal(reply)
            && !port.send(&frames)
        {
            log::info!("{name}: a reply could not be delivered: the front end that asked has left");
        }
    }
}
