//! A running session: the only room that names `evcxr`.
//!
//! A [`Session`] compiles cells, runs them in a child process that stands behind a supervisor, and
//! hands over everything they say while they run. It is used by Jupyter, the REPL and `rebit run`
//! alike.

mod absent;
mod build_log;
mod child;
mod commands;
mod constants;
mod errors;
mod history;
mod imports;
mod in_the_way;
mod kept;
mod made;
mod places;
mod processes;
mod rewrite;
mod run;
mod sources;
mod start;
mod statement;
mod stream;
mod text;
mod times;
mod told;
mod types;
mod unnamed;
mod verdict;
mod worker;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use child::Shared;
use history::History;
use rewrite::ShownAs;
use stream::Translator;
use unnamed::Blocks;
use worker::Job;

use crate::error::Result;
use crate::output::Output;
use crate::supervisor::command;
use crate::workshop::{Prepared, SessionFolder};

/// How a session is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Environment of the running cells, on top of ours (`REBIT_BUDGET` for instance).
    pub env: Vec<(String, String)>,
    /// Working folder of the running cells; ours when absent.
    pub workdir: Option<PathBuf>,
}

/// What a cell asks its reader for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRequest {
    /// Shown before the input.
    pub prompt: String,
    /// Whether the input must not be echoed.
    pub password: bool,
}

/// Answers [`InputRequest`]s, `None` when there is nobody to ask; called by
/// [`Session::execute_with_input`] on its caller's thread.
pub type Reader<'a> = &'a dyn Fn(InputRequest) -> Option<String>;

/// A running session.
pub struct Session {
    // The worker ends with its channel, and with it the child: before the folder goes.
    jobs: Option<Sender<Job>>,
    shared: Arc<Shared>,
    prepared: Prepared,
    options: Options,
    /// Where the cells run.
    workdir: PathBuf,
    variables: Vec<(String, String)>,
    dependencies: Vec<String>,
    blocks: Blocks,
    history: Arc<History>,
    /// Variables that were bound as `mut`.
    mutable: HashSet<String>,
    /// The number of the running cell, or of the last one.
    number: usize,
    next_number: Option<usize>,
    translator: Arc<Mutex<Translator>>,
    syncs: u8,
    /// How values are shown.
    shown: ShownAs,
    /// Whether a cell has run: what was said before is evcxr trying itself out.
    has_run: bool,
    folder: SessionFolder,
    /// Last to go: its tools are called until the worker has ended.
    _home: Arc<SessionFolder>,
}

/// Interrupts the running cell from another thread.
///
/// The first interrupt is a signal that the library's loops notice: the cell ends with an error and
/// every variable stays. A cell that has not ended five seconds later, or at a second interrupt, is
/// killed with its variables. While nothing runs an interrupt does nothing.
#[derive(Clone)]
pub struct InterruptHandle {
    shared: Arc<Shared>,
}

impl InterruptHandle {
    /// Asks the running cell (or its compilation) to end; returns at once.
    pub fn interrupt(&self) {
        self.shared.interrupt();
    }
}

impl Session {
    /// What to do with output that arrives while no cell runs (from threads of earlier cells); without
    /// it such output waits for the next cell.
    pub fn on_idle_output(&mut self, mut sink: impl FnMut(Output) + Send + 'static) {
        let translator = Arc::downgrade(&self.translator);
        self.shared.set_idle_sink(Box::new(move |frame| {
            if let Some(translator) = translator.upgrade() {
                let mut translator = translator.lock().unwrap_or_else(|e| e.into_inner());
                translator.frame(&frame, &mut sink);
                translator.flush(&mut sink);
            }
        }));
    }

    /// A handle that interrupts this session from any thread.
    pub fn interrupt_handle(&self) -> InterruptHandle {
        InterruptHandle {
            shared: self.shared.clone(),
        }
    }

    /// The variables with their types, sorted by name.
    pub fn variables(&self) -> Vec<(String, String)> {
        self.variables.clone()
    }

    /// The session so far as source text for [`crate::analyser`]: extra dependencies, imports and
    /// items of earlier cells, and one typed `let` for each variable.
    pub fn preamble(&self) -> String {
        // evcxr skips comments in front of the first statement, and with them documentation.
        let mut text = String::new();
        for line in &self.dependencies {
            text += &format!("{line}\n");
        }
        text += "let _ = ();\n";
        for item in self.history.items() {
            text += &format!("{item}\n");
        }
        for (name, of) in &self.variables {
            text += &format!("let mut {name}: {of} = todo!();\n");
        }
        text
    }

    /// The number by which messages call the next cell; without it cells are counted.
    pub fn number_next(&mut self, number: usize) {
        self.next_number = Some(number);
    }

    /// The process id of the child that runs the cells, while it lives.
    pub fn child_id(&self) -> Option<u32> {
        self.shared.runtime()
    }

    /// Forgets every variable and item and starts a fresh child; the library stays loaded.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn restart(&mut self) -> Result<()> {
        let fresh = Session::start(&self.prepared, self.options.clone())?;
        *self = fresh;
        Ok(())
    }

    /// Ends the child and removes the session's folder.
    pub fn stop(self) {}
}

impl Drop for Session {
    fn drop(&mut self) {
        // A child that still computes would not notice that nobody listens any more.
        self.shared.send(&[command::KILL]);
        self.jobs.take();
    }
}
