//! Runs the queued cells, one after the other, on the thread that owns the session.

use std::collections::HashMap;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use jupyter_protocol::ExecutionCount;
use jupyter_protocol::messaging::{
    ClearOutput, ExecuteInput, ExecuteReply, ExecuteRequest, ExpressionResult, JupyterMessage,
    JupyterMessageContent, Payload, ReplyError, ReplyStatus, Status,
};
use tokio::sync::mpsc::UnboundedSender;

use super::evaluator::{Evaluator, Start};
use super::kernel::Kernel;
use super::say::{Voice, map, media};
use super::wire::child_of;
use crate::error::Error;
use crate::language::commands::{self, Answer};
use crate::language::known::Known;
use crate::locked;
use crate::output::{Bundle, Failure, Output, Reply};
use crate::session::InputRequest;

/// A cell that waits longer than this for the session to start is told so.
const SILENT_START: Duration = Duration::from_millis(500);
/// The longest a reply waits for the outputs before it to reach the network.
const FLUSH: Duration = Duration::from_secs(10);

/// The thread's own state.
pub struct Executor {
    kernel: Arc<Kernel>,
    replies: UnboundedSender<JupyterMessage>,
    count: ExecutionCount,
    /// The cell that was told to wait for the session: it is known to be busy.
    waited: Option<Arc<JupyterMessage>>,
}

impl Executor {
    /// Starts the session and runs cells until the kernel ends; call it on a thread of its own.
    pub fn run(kernel: Arc<Kernel>, replies: UnboundedSender<JupyterMessage>, start: Start) {
        let mut executor = Executor {
            kernel,
            replies,
            count: ExecutionCount::new(0),
            waited: None,
        };
        let notice = executor.announce_start();
        let idle = executor.idle_sink();
        let started = start(idle);
        executor.waited = notice.finish();
        let mut evaluator: Box<dyn Evaluator> = match started {
            Ok(started) => {
                // This thread alone sets it, once.
                let _ = executor.kernel.interrupt.set(started.interrupt);
                *locked(&executor.kernel.answers) = started.answers;
                started.evaluator
            }
            Err(error) => {
                log::error!("{error}");
                Box::new(Refused(error))
            }
        };
        executor.remember(&*evaluator);
        while let Some(cell) = executor.kernel.next_cell() {
            executor.cell(&mut *evaluator, cell);
        }
    }

    /// While the session starts, the first waiting cell shows a notice.
    fn announce_start(&self) -> Notice {
        let (ready, watch) = mpsc::channel::<()>();
        let kernel = self.kernel.clone();
        let thread = std::thread::spawn(move || {
            let _ = watch.recv_timeout(SILENT_START);
            let mut shown: Option<Arc<JupyterMessage>> = None;
            let disconnected = Err(mpsc::RecvTimeoutError::Disconnected);
            while watch.recv_timeout(Duration::from_millis(100)) != disconnected {
                if shown.is_none()
                    && let Some(cell) = kernel.first_waiting()
                {
                    let text = "The session starts (the first time, the library is compiled) ...";
                    kernel.iopub.status(&cell, Status::busy());
                    let mut voice = Voice::new(kernel.iopub.clone(), cell.clone(), 0.into());
                    voice.say(Output::Display {
                        id: None,
                        data: Bundle::from([("text/plain".to_string(), text.into())]),
                        metadata: Bundle::new(),
                    });
                    shown = Some(cell);
                }
            }
            if let Some(cell) = &shown {
                kernel.iopub.publish(cell, ClearOutput { wait: false });
            }
            shown
        });
        Notice { ready, thread }
    }

    /// What threads of earlier cells say belongs to the last cell.
    fn idle_sink(&self) -> Box<dyn FnMut(Output) + Send> {
        let kernel = self.kernel.clone();
        Box::new(move |output| {
            if let Some(cell) = kernel.last_cell() {
                Voice::new(kernel.iopub.clone(), cell, 0.into()).say(output);
            }
        })
    }

    fn remember(&self, evaluator: &dyn Evaluator) {
        *locked(&self.kernel.known) = Known {
            variables: evaluator.variables(),
            preamble: evaluator.preamble(),
        };
    }

    fn cell(&mut self, evaluator: &mut dyn Evaluator, cell: Arc<JupyterMessage>) {
        let JupyterMessageContent::ExecuteRequest(request) = &cell.content else {
            return;
        };
        let iopub = self.kernel.iopub.clone();
        let waited = self.waited.take();
        if waited.is_none_or(|waited| waited.header.msg_id != cell.header.msg_id) {
            iopub.status(&cell, Status::busy());
        }
        let store = request.store_history && !request.silent;
        if store || self.count.value() == 0 {
            self.count.increment();
        }
        if !request.silent {
            let input = ExecuteInput {
                code: request.code.clone(),
                execution_count: self.count,
            };
            iopub.publish(&cell, input);
        }

        let mut voice = Voice::new(iopub.clone(), cell.clone(), self.count);
        let (reply, page) = self.evaluate(evaluator, &cell, request, &mut voice);
        let (expressions, value) = match &reply {
            Reply::Ok { value } => (self.expressions(evaluator, request), value.as_ref()),
            Reply::Error(failure) => {
                if !request.silent {
                    voice.fail(failure);
                }
                (HashMap::new(), None)
            }
        };
        if store {
            let plain = value.and_then(|v| v.get("text/plain")?.as_str());
            locked(&self.kernel.history).add(self.count.value(), &request.code, plain);
        }
        self.remember(evaluator);

        // Taken before the reply leaves, so that what a front end sends after reading it still runs.
        let aborted = match request.stop_on_error && !reply.is_ok() {
            true => self.kernel.take_waiting(),
            false => Vec::new(),
        };
        self.flush();
        self.reply(&cell, &reply, expressions, page);
        self.kernel.cell_ended();
        iopub.status(&cell, Status::idle());
        for request in aborted {
            self.abort(&request);
        }
    }

    /// Runs the code of a cell; some commands are answered here, without the session.
    fn evaluate(
        &self,
        evaluator: &mut dyn Evaluator,
        cell: &Arc<JupyterMessage>,
        request: &ExecuteRequest,
        voice: &mut Voice,
    ) -> (Reply, Vec<Payload>) {
        if request.code.trim().is_empty() {
            return (Reply::Ok { value: None }, Vec::new());
        }
        let known = locked(&self.kernel.known).clone();
        match commands::answer(&request.code, &known, &self.kernel.answers) {
            Some(Answer::Page(data)) => {
                let page = Payload::Page {
                    data: media(data),
                    start: 0,
                };
                return (Reply::Ok { value: None }, vec![page]);
            }
            Some(Answer::Failed(failure)) => return (Reply::Error(failure), Vec::new()),
            None => {}
        }
        let kernel = &self.kernel;
        let allowed = request.allow_stdin;
        let reader = |wanted: InputRequest| match allowed {
            true => kernel.prompt.ask(cell, wanted.prompt, wanted.password),
            false => None,
        };
        let mut sink = |output: Output| {
            if !request.silent {
                voice.say(output);
            }
        };
        evaluator.number_next(self.count.value());
        (
            evaluator.execute(&request.code, &mut sink, &reader),
            Vec::new(),
        )
    }

    fn expressions(
        &self,
        evaluator: &mut dyn Evaluator,
        request: &ExecuteRequest,
    ) -> HashMap<String, ExpressionResult> {
        let wanted = request.user_expressions.clone().unwrap_or_default();
        let mut found = HashMap::new();
        for (name, code) in wanted {
            // What it prints has no place in the answer.
            let result = match evaluator.execute(&code, &mut |_| {}, &|_| None) {
                Reply::Ok { value } => ExpressionResult::Ok {
                    data: media(value.unwrap_or_default()),
                    metadata: map(Bundle::new()),
                },
                Reply::Error(failure) => ExpressionResult::Error {
                    ename: failure.ename,
                    evalue: failure.evalue,
                    traceback: failure.traceback,
                },
            };
            found.insert(name, result);
        }
        found
    }

    /// Waits until the outputs have left, so that no reply overtakes them.
    fn flush(&self) {
        let flushed = self.kernel.iopub.flushed();
        if flushed.recv_timeout(FLUSH).is_err() {
            log::warn!("outputs of a cell are still on their way");
        }
    }

    fn reply(
        &self,
        cell: &JupyterMessage,
        reply: &Reply,
        expressions: HashMap<String, ExpressionResult>,
        payload: Vec<Payload>,
    ) {
        let (status, error) = match reply {
            Reply::Ok { .. } => (ReplyStatus::Ok, None),
            Reply::Error(failure) => (ReplyStatus::Error, Some(Box::new(details(failure)))),
        };
        let content = ExecuteReply {
            status,
            execution_count: self.count,
            payload,
            // `None` would be sent as null, which is not an object.
            user_expressions: Some(expressions),
            error,
        };
        self.send(child_of(cell, content));
    }

    fn abort(&self, request: &JupyterMessage) {
        self.kernel.iopub.status(request, Status::busy());
        let content = ExecuteReply {
            status: ReplyStatus::Aborted,
            execution_count: self.count,
            user_expressions: Some(HashMap::new()),
            ..Default::default()
        };
        self.send(child_of(request, content));
        self.kernel.iopub.status(request, Status::idle());
    }

    fn send(&self, message: JupyterMessage) {
        if self.replies.send(message).is_err() {
            log::warn!("shell: the channel is closed; a reply is lost");
        }
    }
}

/// Tells a waiting cell that the session still starts.
struct Notice {
    ready: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<Option<Arc<JupyterMessage>>>,
}

impl Notice {
    /// Takes the notice away, before the cell says anything of its own; returns the cell.
    fn finish(self) -> Option<Arc<JupyterMessage>> {
        drop(self.ready);
        self.thread.join().unwrap_or_else(|_| {
            log::warn!("the notice about the start could not be shown");
            None
        })
    }
}

fn details(failure: &Failure) -> ReplyError {
    ReplyError {
        ename: failure.ename.clone(),
        evalue: failure.evalue.clone(),
        traceback: failure.traceback.clone(),
    }
}

/// Stands in for a session that did not start: every cell says why.
struct Refused(Error);

impl Evaluator for Refused {
    fn execute(
        &mut self,
        _: &str,
        _: &mut dyn FnMut(Output),
        _: crate::session::Reader<'_>,
    ) -> Reply {
        let text = format!("{}\nRestart the kernel once this is mended.", self.0);
        Reply::Error(Failure {
            ename: "error".to_string(),
            evalue: self.0.to_string(),
            traceback: text.lines().map(str::to_string).collect(),
            lost: Vec::new(),
        })
    }

    fn variables(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn preamble(&self) -> String {
        String::new()
    }
}
