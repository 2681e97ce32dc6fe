//! What the channels need from whoever runs cells.
//!
//! [`Session`] is the real one; the tests of the protocol put a scripted one in its place.

use std::sync::Arc;

use crate::analyser::Analyser;
use crate::error::Result;
use crate::language::assist::Answers;
use crate::output::{Output, Reply};
use crate::session::{Options, Reader, Session};
use crate::workshop;

/// Runs cells, one at a time, on one thread.
pub trait Evaluator {
    /// Runs a cell; `sink` gets what it says while it runs, `reader` answers its questions.
    fn execute(&mut self, code: &str, sink: &mut dyn FnMut(Output), reader: Reader<'_>) -> Reply;
    /// The number by which messages call the next cell.
    fn number_next(&mut self, _number: usize) {}
    /// The variables with their types.
    fn variables(&self) -> Vec<(String, String)>;
    /// The session so far, as source text for an [`Assistant`](crate::language::assist::Assistant).
    fn preamble(&self) -> String;
}

/// Interrupts the running cell; does nothing while none runs.
pub type Interrupt = Arc<dyn Fn() + Send + Sync>;

/// A sink for what threads of earlier cells say while no cell runs.
pub type IdleSink = Box<dyn FnMut(Output) + Send>;

/// An evaluator that is ready for its first cell.
pub struct Started {
    /// Runs the cells.
    pub evaluator: Box<dyn Evaluator>,
    /// Interrupts them.
    pub interrupt: Interrupt,
    /// Completion and help.
    pub answers: Answers,
}

/// Starts an evaluator on the thread that will own it.
pub type Start = Box<dyn FnOnce(IdleSink) -> Result<Started> + Send>;

impl Evaluator for Session {
    fn execute(&mut self, code: &str, sink: &mut dyn FnMut(Output), reader: Reader<'_>) -> Reply {
        self.execute_with_input(code, sink, reader)
    }

    fn number_next(&mut self, number: usize) {
        Session::number_next(self, number);
    }

    fn variables(&self) -> Vec<(String, String)> {
        Session::variables(self)
    }

    fn preamble(&self) -> String {
        Session::preamble(self)
    }
}

/// Starts a real session on the prepared library.
pub fn start_session(options: Options) -> Start {
    Box::new(move |idle_sink| {
        let library = workshop::prepare(&mut |step| {
            log::info!("compiling {} ({} of {})", step.name, step.done, step.total);
        })?;
        let of_analyser = library.clone();
        let answers = Answers::new(Box::new(move || {
            Ok(Box::new(Analyser::start(&of_analyser)?))
        }));
        let mut session = Session::start(&library, options)?;
        session.on_idle_output(idle_sink);
        let handle = session.interrupt_handle();
        Ok(Started {
            evaluator: Box::new(session),
            interrupt: Arc::new(move || handle.interrupt()),
            answers,
        })
    })
}
