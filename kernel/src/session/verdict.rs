//! How a cell ended, in the words of its reply.

use std::sync::Arc;

use super::places::Places;
use super::rewrite::Cell;
use super::stream::{ErrorReport, PanicReport, Translator};
use super::worker::{Ended, Outcome};
use super::{Session, errors};
use crate::output::{Failure, Output, Reply, StreamName};

/// What the frames of a cell said about its end.
#[derive(Default)]
pub struct Ending {
    /// The cell panicked.
    pub panicked: bool,
    /// A `?` ended the cell; what the library says of it.
    pub user_error: Option<String>,
    /// Either of these, for the reader.
    pub failure: Option<Failure>,
    /// Variables whose types were no longer what they were.
    pub retyped: Vec<String>,
    /// It asked for input, and there was nobody to answer.
    pub unanswered: bool,
    /// It was interrupted while it waited for an answer, and got an empty one.
    pub cut_off: bool,
    /// It was asked to end.
    pub interrupted: bool,
    /// The runtime is gone: exit status, signal, last words.
    pub exited: Option<(Option<i32>, Option<i32>, String)>,
}

impl Session {
    /// The answer to a cell that evcxr has finished with.
    pub(super) fn reply(
        &mut self,
        outcome: Outcome,
        mut ending: Ending,
        translator: &mut Translator,
        sink: &mut dyn FnMut(Output),
    ) -> Reply {
        let before = std::mem::replace(&mut self.variables, outcome.variables);
        let lost = |now: &[(String, String)]| -> Vec<String> {
            before
                .iter()
                .map(|(name, _)| name.clone())
                .filter(|name| !now.iter().any(|(n, _)| n == name))
                .collect()
        };
        let interrupted = ending.interrupted;
        let failure = match outcome.result {
            Err(Ended::ChildGone) => {
                let failure = self.crash(&ending, translator.take_panic());
                Some(errors::with_lost(failure, lost(&self.variables)))
            }
            Err(Ended::Refused(_)) if interrupted => Some(errors::plain(
                "interrupted",
                "interrupted while the cell was being compiled",
            )),
            Err(Ended::Refused(failure)) => Some(failure),
            Ok(bundles) => match ending.failure.take() {
                Some(failure) => Some(errors::with_lost(failure, lost(&self.variables))),
                None => {
                    for data in bundles {
                        translator.command_value(data, sink);
                    }
                    if let Some(took) = outcome.took {
                        let text = format!("took {:.3} s\n", took.as_secs_f64());
                        let name = StreamName::Stdout;
                        sink(Output::Stream { name, text });
                    }
                    None
                }
            },
        };
        let failure = match failure {
            None if ending.cut_off => Some(errors::plain(
                "interrupted",
                "the cell was interrupted while it waited for input",
            )),
            // Whatever it did with the empty line that it got instead.
            failed @ Some(_) if !ending.unanswered => failed,
            None if !ending.unanswered => None,
            _ => Some(errors::with_lost(
                errors::plain(
                    "error",
                    "the cell asked for input, but nobody can be asked here\n\
                     It got an empty line and was interrupted.",
                ),
                lost(&self.variables),
            )),
        };
        match failure {
            Some(mut failure) => {
                if interrupted
                    && !ending.unanswered
                    && matches!(failure.ename.as_str(), "panic" | "error")
                    // Another failure that came after the request stays what it is.
                    && failure.evalue.to_lowercase().contains("interrupted")
                {
                    // Where in the library it stopped, and how it unwound, is of no use to anybody.
                    let lost = std::mem::take(&mut failure.lost);
                    let plain = errors::plain("interrupted", "the cell was interrupted");
                    failure = errors::with_lost(plain, lost);
                }
                Reply::Error(failure)
            }
            None => Reply::Ok {
                value: translator.take_value(),
            },
        }
    }

    /// Notes what a cell has defined.
    pub(super) fn remember(&mut self, cell: &Cell) {
        Arc::make_mut(&mut self.history).add(self.number, cell);
        self.dependencies.extend(cell.dependencies.iter().cloned());
    }

    /// What ended a cell that ran, as long as its source is the last that was compiled.
    pub(super) fn ended(
        &self,
        ending: &Ending,
        places: &Places,
        translator: &mut Translator,
    ) -> Option<Failure> {
        if ending.panicked {
            return Some(self.panic(translator, places, ending.interrupted));
        }
        let report = ending.user_error.as_deref()?;
        let report: ErrorReport = serde_json::from_str(report).unwrap_or_default();
        let text = report.text.trim_end();
        Some(match places.spot(&report.place) {
            Some(spot) => errors::ended_at("error", text, "the cell ended here", &spot),
            None => errors::plain("error", text),
        })
    }

    fn panic(&self, translator: &mut Translator, places: &Places, interrupted: bool) -> Failure {
        let Some(panic) = translator.take_panic() else {
            // A loop of the library that was interrupted unwinds without a report.
            return match interrupted {
                true => errors::plain("interrupted", "the cell was interrupted"),
                false => errors::plain("panic", "the cell panicked"),
            };
        };
        let PanicReport { message, place, .. } = &panic;
        let label = match place.calls.is_empty() {
            true => "panicked here",
            false => "panicked in this call",
        };
        match places.spot(place) {
            Some(spot) => errors::ended_at("panic", message, label, &spot),
            None if place.file.is_empty() => errors::plain("panic", message),
            None => {
                let mut failure = errors::plain("panic", message);
                let words = places.words(place);
                failure.traceback.push(format!("  at {words}"));
                failure
            }
        }
    }

    /// What happened to the child, in words.
    fn crash(&self, ending: &Ending, panic: Option<PanicReport>) -> Failure {
        if self.shared.killed() {
            return errors::plain(
                "interrupted",
                "the cell did not react to the interrupt and was killed",
            );
        }
        let (code, signal, note) = ending.exited.clone().unwrap_or_default();
        let what = match (code, signal) {
            (_, Some(libc::SIGSEGV)) => {
                "signal 11 (SIGSEGV): memory was used that is not the cell's".to_string()
            }
            (_, Some(libc::SIGBUS)) => {
                "signal 7 (SIGBUS): memory was used that is not there".to_string()
            }
            (_, Some(libc::SIGILL)) => {
                "signal 4 (SIGILL): an instruction that this processor does not have".to_string()
            }
            (_, Some(libc::SIGABRT)) if note.starts_with("memory") => {
                format!("out of memory: {note}")
            }
            (_, Some(libc::SIGABRT)) if !note.is_empty() => {
                "stack overflow (signal 6, SIGABRT): usually a recursion without end".to_string()
            }
            (_, Some(libc::SIGABRT)) => "aborted (signal 6, SIGABRT)".to_string(),
            (_, Some(libc::SIGKILL)) => {
                "killed (signal 9, SIGKILL): probably out of memory".to_string()
            }
            (_, Some(signal)) => format!("ended by signal {signal}"),
            (Some(code), None) => format!("the cell ended the process: exit status {code}"),
            (None, None) => "the process that runs the cells is gone".to_string(),
        };
        let mut failure = errors::plain("crashed", &what);
        if let Some(panic) = panic {
            failure
                .traceback
                .push(format!("panic before it: {}", panic.message));
        }
        failure
            .traceback
            .push("A new process has been started; the library is loaded.".to_string());
        failure
    }
}
