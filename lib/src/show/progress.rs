//! How far a loop is: a bar on a terminal, lines in a file, a message under rebit's kernel.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rebit_wire::Message;

use super::live::fresh_id;
use super::{Place, check_interrupt, place};

/// About ten reports a second are as many as an eye follows.
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// In a file every report stays.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Walks through `items` and reports how far it is.
///
/// A step after an interrupt (the notebook's stop button, Ctrl-C) ends the cell; variables of earlier cells
/// keep their values. A loop that has to clean up calls [`check_interrupt`] itself in each step.
///
/// ```
/// use rebit::prelude::*;
/// let mut sum = 0;
/// for i in progress(0..1000).label("summing") {
///     sum += i;
/// }
/// assert_eq!(sum, 499_500);
/// ```
pub fn progress<I: IntoIterator>(items: I) -> ProgressIter<I::IntoIter> {
    ProgressIter {
        items: items.into_iter(),
        label: String::new(),
        progress: None,
    }
}

/// See [`progress`].
pub struct ProgressIter<I> {
    items: I,
    label: String,
    /// Started by the first step, when label and length are known.
    progress: Option<Progress>,
}

impl<I> ProgressIter<I> {
    /// What is being done.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }
}

impl<I: Iterator> Iterator for ProgressIter<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        if let Err(interrupted) = check_interrupt() {
            // An iterator has no way to return an error; unlike a panic this prints no report.
            std::panic::resume_unwind(Box::new(interrupted.to_string()));
        }
        match &mut self.progress {
            Some(progress) => progress.inc(1),
            None => {
                let total = match self.items.size_hint() {
                    (low, Some(high)) if low == high => Some(high as u64),
                    _ => None,
                };
                self.progress = Some(Progress::new(self.label.clone(), total));
            }
        }
        let item = self.items.next();
        if item.is_none() {
            self.progress.iter_mut().for_each(Progress::finish);
        }
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}

impl<I: ExactSizeIterator> ExactSizeIterator for ProgressIter<I> {}

/// How far a loop is, told step by step.
///
/// ```
/// use rebit::show::Progress;
/// let mut progress = Progress::new("epoch 1", Some(390));
/// for step in 0..390 {
///     progress.message(format!("loss {:.3}", 2.3 / (1.0 + step as f32)));
///     progress.inc(1);
/// }
/// progress.finish();
/// ```
pub struct Progress {
    state: State,
    started: Instant,
    reported: Option<Instant>,
    face: Face,
}

/// What is reported.
#[derive(Debug, Clone)]
struct State {
    id: String,
    label: String,
    done: u64,
    total: Option<u64>,
    message: Option<String>,
    elapsed: Duration,
    finished: bool,
}

/// How it is reported.
enum Face {
    Wire,
    Bar(ProgressBar),
    /// To standard output under evcxr, otherwise to standard error, which may be a file.
    Lines,
}

impl Progress {
    /// A loop of `total` steps, or of an unknown number.
    pub fn new(label: impl Into<String>, total: Option<u64>) -> Self {
        let label = label.into();
        let face = match place() {
            Place::Wire(_) => Face::Wire,
            Place::Text if std::io::stderr().is_terminal() => {
                Face::Bar(bars().add(bar(&label, total)))
            }
            _ => Face::Lines,
        };
        let mut progress = Progress {
            state: State {
                id: fresh_id(),
                label,
                done: 0,
                total,
                message: None,
                elapsed: Duration::ZERO,
                finished: false,
            },
            started: Instant::now(),
            reported: None,
            face,
        };
        if !matches!(progress.face, Face::Lines) {
            progress.report();
        }
        progress
    }

    /// `steps` more are done.
    pub fn inc(&mut self, steps: u64) {
        self.set(self.state.done + steps);
    }

    /// `done` steps are done.
    pub fn set(&mut self, done: u64) {
        self.state.done = done;
        self.tick();
    }

    /// A short remark beside the bar, shown with the next report.
    pub fn message(&mut self, message: impl Into<String>) {
        self.state.message = Some(message.into());
    }

    /// Reports, if the last report is old enough.
    pub fn tick(&mut self) {
        let every = match self.face {
            Face::Lines => LINE_EVERY,
            _ => REPORT_EVERY,
        };
        if self.reported.unwrap_or(self.started).elapsed() >= every {
            self.report();
        }
    }

    /// The last report. Dropping does the same.
    pub fn finish(&mut self) {
        if self.state.finished {
            return;
        }
        self.state.finished = true;
        // A loop too short for a line needs none at its end.
        if !matches!(self.face, Face::Lines) || self.reported.is_some() {
            self.report();
        }
    }

    fn report(&mut self) {
        self.state.elapsed = self.started.elapsed();
        self.reported = Some(Instant::now());
        match &self.face {
            Face::Wire => place().send(&self.state.to_message()),
            Face::Bar(bar) => {
                bar.set_position(self.state.done);
                bar.set_message(self.state.message.clone().unwrap_or_default());
                if self.state.finished {
                    bar.finish_and_clear();
                }
            }
            Face::Lines => {
                let line = self.state.to_line();
                let _ = match place() {
                    Place::Evcxr => writeln!(std::io::stdout(), "{line}"),
                    _ => writeln!(std::io::stderr(), "{line}"),
                };
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

impl State {
    /// Steps per second so far.
    fn rate(&self) -> Option<f64> {
        let seconds = self.elapsed.as_secs_f64();
        (self.done > 0 && seconds > 0.0).then(|| self.done as f64 / seconds)
    }

    fn eta_seconds(&self) -> Option<f64> {
        Some(self.total?.saturating_sub(self.done) as f64 / self.rate()?)
    }

    fn to_message(&self) -> Message {
        Message::Progress {
            id: self.id.clone(),
            label: self.label.clone(),
            done: self.done,
            total: self.total,
            rate: self.rate(),
            eta_seconds: self.eta_seconds(),
            message: self.message.clone(),
            finished: self.finished,
        }
    }

    fn to_line(&self) -> String {
        let mut line = match (self.label.is_empty(), self.total) {
            (true, Some(total)) => format!("{}/{total}", self.done),
            (true, None) => self.done.to_string(),
            (false, Some(total)) => format!("{}: {}/{total}", self.label, self.done),
            (false, None) => format!("{}: {}", self.label, self.done),
        };
        if let Some(rate) = self.rate() {
            line += &match rate {
                r if r >= 1.0 => format!(", {r:.1}/s"),
                r => format!(", {:.1} s each", 1.0 / r),
            };
        }
        if self.finished {
            line += &format!(", took {}", clock(self.elapsed.as_secs_f64()));
        } else if let Some(eta) = self.eta_seconds() {
            line += &format!(", {} left", clock(eta));
        }
        match &self.message {
            Some(message) => format!("{line}, {message}"),
            None => line,
        }
    }
}

/// Minutes and seconds, hours when there are any.
fn clock(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        h => format!("{h}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

/// All bars of this process, so that two loops do not write over each other.
fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(MultiProgress::new)
}

/// Writes while the bars are out of the way.
pub(super) fn above_bars(write: impl FnOnce()) {
    match place() {
        Place::Text => bars().suspend(write),
        _ => write(),
    }
}

fn bar(label: &str, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            "{prefix} {bar:30} {pos}/{len} [{elapsed}<{eta}, {per_sec}] {msg}",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {prefix} {elapsed} {msg}",
        ),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(label.to_string());
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(done: u64, total: Option<u64>, seconds: f64) -> State {
        State {
            id: "1".into(),
            label: "epoch".into(),
            done,
            total,
            message: Some("loss 1.5".into()),
            elapsed: Duration::from_secs_f64(seconds),
            finished: false,
        }
    }

    #[test]
    fn a_line_has_rate_and_remaining_time() {
        let line = state(30, Some(120), 15.0).to_line();
        assert_eq!(line, "epoch: 30/120, 2.0/s, 0:45 left, loss 1.5");
        let line = state(1, Some(500), 10.0).to_line();
        assert_eq!(line, "epoch: 1/500, 10.0 s each, 1:23:10 left, loss 1.5");
        assert_eq!(state(0, None, 3.0).to_line(), "epoch: 0, loss 1.5");
    }

    #[test]
    fn a_message_has_the_same_numbers() {
        let Message::Progress {
            rate, eta_seconds, ..
        } = state(30, Some(120), 15.0).to_message()
        else {
            panic!("another kind of message");
        };
        assert_eq!((rate, eta_seconds), (Some(2.0), Some(45.0)));
    }

    #[test]
    fn the_iterator_passes_every_item_on() {
        let items: Vec<usize> = progress(vec![3, 1, 2]).label("items").collect();
        assert_eq!(items, [3, 1, 2]);
        assert_eq!(progress(0..5).len(), 5);
        assert_eq!(progress((0..9).filter(|i| i % 2 == 0)).count(), 5);
    }
}
