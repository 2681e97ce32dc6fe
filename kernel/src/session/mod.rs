//! A running session: the only room that names `evcxr`.
//!
//! A [`Session`] compiles cells, runs them in a child process that stands behind a supervisor, and
//! hands over everything they say while they run. It is used by Jupyter, the REPL and `rebit run`
//! alike.

pub mod analyser;

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::output::{Output, Reply};
use crate::workshop::Prepared;

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

/// Answers [`InputRequest`]s; called from another thread than [`Session::execute`]'s caller.
pub type Reader<'a> = &'a (dyn Fn(InputRequest) -> String + Sync);

/// A running session.
pub struct Session {
    _private: (),
}

/// Interrupts the running cell from another thread.
///
/// The first interrupt is a signal that the library's loops notice: the cell ends with an error and
/// every variable stays. A cell that has not ended five seconds later, or at a second interrupt, is
/// killed with its variables. While nothing runs an interrupt does nothing.
#[derive(Clone, Debug)]
pub struct InterruptHandle {
    _private: (),
}

impl InterruptHandle {
    /// Asks the running cell (or its compilation) to end; returns at once.
    pub fn interrupt(&self) {}
}

impl Session {
    /// Starts a session with the prepared library loaded (about three seconds).
    ///
    /// # Errors
    /// A missing compiler or linker, a full disk, a child that does not start.
    pub fn start(library: &Prepared, options: Options) -> Result<Session> {
        let _ = (library, options);
        Err(Error::Session("not built yet".to_string()))
    }

    /// Runs one cell; `sink` gets what it says while it runs.
    pub fn execute(&mut self, code: &str, sink: &mut dyn FnMut(Output)) -> Reply {
        self.execute_with_input(code, sink, &|_| String::new())
    }

    /// Runs one cell that may ask its reader for input (`evcxr_input`).
    pub fn execute_with_input(
        &mut self,
        code: &str,
        sink: &mut dyn FnMut(Output),
        reader: Reader<'_>,
    ) -> Reply {
        let _ = (code, sink, reader);
        Reply::Ok { value: None }
    }

    /// What to do with output that arrives while no cell runs (from threads of earlier cells); without
    /// it such output waits for the next cell.
    pub fn on_idle_output(&mut self, sink: impl FnMut(Output) + Send + 'static) {
        let _ = sink;
    }

    /// A handle that interrupts this session from any thread.
    pub fn interrupt_handle(&self) -> InterruptHandle {
        InterruptHandle { _private: () }
    }

    /// The variables with their types, sorted by name.
    pub fn variables(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// The session so far as source text for [`analyser::Analyser`]: extra dependencies, imports and
    /// items of earlier cells, and one typed `let` for each variable.
    pub fn preamble(&self) -> String {
        String::new()
    }

    /// The process id of the child that runs the cells, while it lives.
    pub fn child_id(&self) -> Option<u32> {
        None
    }

    /// Forgets every variable and item and starts a fresh child; the library stays loaded.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn restart(&mut self) -> Result<()> {
        Ok(())
    }

    /// Ends the child and removes the session's folder.
    pub fn stop(self) {}
}
