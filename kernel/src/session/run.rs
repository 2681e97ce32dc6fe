//! One cell from its source to its reply.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::build_log::BuildLog;
use super::child::{Event, Phase};
use super::places::Places;
use super::rewrite::{Cell, Reading};
use super::times::Times;
use super::unnamed::Blocks;
use super::verdict::Ending;
use super::worker::{Job, Outcome};
use super::{Reader, Session, errors};
use crate::depth;
use crate::output::{Output, Reply};
use crate::supervisor::{command, frame::Frame};

/// evcxr may know that the cell has run while its last outputs, a hundred megabytes perhaps, are still on their way on
/// a busy machine. A supervisor that is gone says so at once.
const LAST_WORDS: Duration = Duration::from_secs(120);

impl Session {
    /// Runs one cell; `sink` gets what it says while it runs.
    pub fn execute(&mut self, code: &str, sink: &mut dyn FnMut(Output)) -> Reply {
        self.execute_with_input(code, sink, &|_| None)
    }

    /// Runs one cell that may ask its reader for input. Without an answer the cell gets an empty line and
    /// is interrupted.
    ///
    /// A cell also asks when it reads its standard input. There an empty answer is the end of the input:
    /// `read_line` gets nothing, `lines()` and `read_to_string` come to their end.
    pub fn execute_with_input(
        &mut self,
        code: &str,
        sink: &mut dyn FnMut(Output),
        reader: Reader<'_>,
    ) -> Reply {
        if code.trim().is_empty() {
            return Reply::Ok { value: None };
        }
        if let Err(deep) = depth::check(code) {
            return Reply::Error(errors::plain("error", &deep.to_string()));
        }
        self.number = self.next_number.take().unwrap_or(self.number + 1);
        let mut times = Times::begin(&self.folder.path);
        let reading = Reading {
            history: Some(&self.history),
            folder: Some(&self.workdir),
            shown: Some(&self.shown),
        };
        let mut cell = Cell::read(code, &reading);
        if cell.forgets() {
            self.blocks = Blocks::default();
            self.history = Arc::default();
            self.dependencies.clear();
        }
        cell.after(&self.blocks);
        let mut as_code = cell.as_code.take();
        if let Some(code) = &mut as_code {
            code.after(&self.blocks);
        }
        times.mark("read");
        let (events, inbox) = sync_channel(64);
        let (idle_sink, kept) = self.shared.begin_cell(events.clone());
        let job = Job {
            cell: cell.clone(),
            as_code: as_code.clone(),
            history: self.history.clone(),
            events,
        };
        if self
            .jobs
            .as_ref()
            .is_none_or(|jobs| jobs.send(job).is_err())
        {
            self.shared.end_cell(idle_sink);
            return Reply::Error(errors::plain("crashed", "the session has ended"));
        }
        let translator = self.translator.clone();
        let mut translator = translator.lock().unwrap_or_else(|e| e.into_inner());
        let was_idle = std::mem::replace(&mut self.has_run, true);
        for frame in kept.into_iter().filter(|_| was_idle) {
            translator.frame(&frame, sink);
        }
        let mut places = Places {
            folder: self.folder.path.clone(),
            cell: cell.clone(),
            history: self.history.clone(),
        };
        translator.begin_cell(places.clone());
        let mut ending = Ending::default();
        let mut log = BuildLog::new(&self.folder.path);
        let mut done: Option<Outcome> = None;
        let mut ran = false;
        let mut waiting_for = None;
        loop {
            let patience = if done.is_some() {
                LAST_WORDS
            } else if translator.has_pending() {
                Duration::from_millis(2)
            } else {
                Duration::from_millis(100)
            };
            match inbox.recv_timeout(patience) {
                Ok(Event::Frame(Frame::Sync(n))) if Some(n) == waiting_for => break,
                Ok(Event::Frame(frame)) => {
                    match &frame {
                        Frame::Started => {
                            ran = true;
                            times.mark("compile");
                        }
                        Frame::Complete => times.mark("run"),
                        Frame::Panic => ending.panicked = true,
                        Frame::Lost(name) => ending.retyped.push(name.clone()),
                        Frame::UserError(text) => ending.user_error = Some(text.clone()),
                        Frame::Exited { code, signal, note } => {
                            ending.exited = Some((*code, *signal, note.clone()));
                        }
                        _ => {}
                    }
                    translator.frame(&frame, sink);
                }
                Ok(Event::Gone) if waiting_for.is_some() => break,
                Ok(Event::Gone) => {}
                Ok(Event::Input(request, answer)) => {
                    translator.flush(sink);
                    let line = reader(request).unwrap_or_else(|| {
                        // An interrupt is no answer either, but needs no second one.
                        match self.shared.interrupted() {
                            true => ending.cut_off = true,
                            false => {
                                ending.unanswered = true;
                                self.shared.interrupt();
                            }
                        }
                        String::new()
                    });
                    let _ = answer.send(line);
                }
                Ok(Event::IsCode) => {
                    if let Some(code) = as_code.take() {
                        cell = *code;
                        places.cell = cell.clone();
                        translator.set_places(places.clone());
                    }
                }
                Ok(Event::Done(outcome)) => {
                    done = Some(outcome);
                    // A cell that did not come to run was compiled until now.
                    times.mark(if ran { "commit" } else { "compile" });
                    // Everything that was said before this is on its way.
                    self.syncs = self.syncs.wrapping_add(1);
                    waiting_for = Some(self.syncs);
                    if !self.shared.send(&[command::SYNC, self.syncs]) {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) if done.is_some() => break,
                Err(RecvTimeoutError::Timeout) => translator.flush(sink),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if done.is_none() && self.shared.phase() == Phase::Compiling {
                log.show(sink);
            }
        }
        log.show(sink);
        translator.flush(sink);
        let reply = match done {
            Some(mut outcome) => {
                ending.interrupted = self.shared.interrupted() || translator.interrupted();
                ending.failure = self.ended(&ending, &places, &mut translator);
                if outcome.result.is_ok() {
                    // Items stay also where what stands beside them panicked.
                    self.blocks = std::mem::take(&mut outcome.blocks);
                    for note in &cell.notes {
                        sink(Output::stderr(note.clone()));
                    }
                    self.shown = cell.shown.clone();
                    self.remember(&cell);
                    self.recall(&cell, &mut outcome);
                    self.note_moved(&cell, &outcome, &ending);
                }
                self.reply(outcome, ending, &mut translator, sink)
            }
            None => Reply::Error(errors::plain("crashed", "the session has ended")),
        };
        self.shared.end_cell(idle_sink);
        times.mark("reply");
        times.write(code);
        reply
    }

    /// Takes back the variables that a failed cell was to bind anew: their old values wait in the store.
    fn recall(&mut self, cell: &Cell, outcome: &mut Outcome) {
        let is_there = |name: &str| outcome.variables.iter().any(|(found, _)| found == name);
        let lost = self.variables.iter().filter(|(name, _)| {
            !is_there(name) && cell.bound.iter().any(|variable| variable.name == *name)
        });
        let source = std::fs::read_to_string(self.folder.path.join("src/lib.rs"));
        let source = source.unwrap_or_default();
        let mut code = String::new();
        for (name, of) in lost {
            // The cell's end put it back, unless the cell has used it up.
            let waits = source.lines().any(|line| {
                line.contains("evcxr_variable_store.put_back")
                    && line.contains(&format!("stringify!({name})"))
            });
            if waits {
                let mutable = if self.mutable.contains(name) {
                    "mut "
                } else {
                    ""
                };
                code += &format!(
                    "let {mutable}{name}: {of} = evcxr_variable_store.take_variable::<{of}>(stringify!({name}));\n"
                );
            }
        }
        if code.is_empty() {
            return;
        }
        let (events, inbox) = sync_channel(64);
        drop(self.shared.begin_cell(events.clone()));
        let job = Job {
            cell: Cell::as_is(&code),
            as_code: None,
            history: self.history.clone(),
            events,
        };
        if self
            .jobs
            .as_ref()
            .is_none_or(|jobs| jobs.send(job).is_err())
        {
            return;
        }
        for event in inbox {
            if let Event::Done(done) = event {
                if done.result.is_ok() {
                    outcome.variables = done.variables;
                }
                return;
            }
        }
    }

    /// Notes which variables are mutable, and which ones a cell took with it.
    fn note_moved(&mut self, cell: &Cell, outcome: &Outcome, ending: &Ending) {
        let there = &outcome.variables;
        let is_there = |name: &String| there.iter().any(|(found, _)| found == name);
        let before = self.variables.iter().map(|(name, _)| name);
        let is_moved = |name: &&String| !is_there(name) && !ending.retyped.contains(name);
        let mut gone: Vec<String> = before.filter(is_moved).cloned().collect();
        let failed = ending.failure.is_some();
        let bound = cell.bound.iter().map(|variable| &variable.name);
        gone.extend(bound.filter(|name| !failed && is_moved(name)).cloned());
        if !gone.is_empty() || !cell.bound.is_empty() {
            Arc::make_mut(&mut self.history).note_moved(self.number, &gone, there);
        }
        for variable in cell.bound.iter().filter(|_| !failed) {
            match variable.mutable {
                true => self.mutable.insert(variable.name.clone()),
                false => self.mutable.remove(&variable.name),
            };
        }
    }
}
