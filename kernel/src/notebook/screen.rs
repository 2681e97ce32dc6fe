//! What `rebit run` shows while it works: one moving line on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Progress;
use crate::terminal::harmless;
use crate::workshop::BuildProgress;

/// A line on standard error, as long as there is one: a terminal that was closed ends no run.
fn say_plainly(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The place where progress is shown (standard error).
pub struct Screen {
    line: Option<ProgressBar>,
    title: String,
    last_plain: Option<Instant>,
}

impl Default for Screen {
    fn default() -> Self {
        Screen::new()
    }
}

impl Screen {
    /// A screen on standard error.
    pub fn new() -> Screen {
        let line = std::io::stderr().is_terminal().then(|| {
            let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
                line.set_style(style);
            }
            line.enable_steady_tick(Duration::from_millis(200));
            line
        });
        Screen {
            line,
            title: String::new(),
            last_plain: None,
        }
    }

    /// A line that stays.
    pub fn say(&self, text: &str) {
        match &self.line {
            Some(line) => line.println(harmless(text, true)),
            None => say_plainly(&harmless(text, false)),
        }
    }

    /// Something begins; its time counts from now.
    pub fn begin(&mut self, title: String) {
        let title = harmless(&title, false);
        if let Some(line) = &self.line {
            line.reset_elapsed();
            line.set_message(title.clone());
        }
        self.title = title;
    }

    /// The library is being compiled.
    pub fn build(&mut self, progress: &BuildProgress) {
        let text = format!(
            "preparing the library for the first time: crate {} of about {}, {}",
            progress.done, progress.total, progress.name
        );
        match &self.line {
            Some(line) => line.set_message(text),
            None => {
                if self.plain_is_due(Duration::from_secs(5)) {
                    say_plainly(&text);
                }
            }
        }
    }

    /// A loop of the running cell moved.
    pub fn progress(&mut self, progress: &Progress) {
        let Some(line) = &self.line else { return };
        if progress.finished {
            line.set_message(self.title.clone());
            return;
        }
        let total = progress.total.map(|n| format!("/{n}")).unwrap_or_default();
        let left = progress
            .eta_seconds
            .map(|s| format!(", {s:.0} s left"))
            .unwrap_or_default();
        let (label, note) = (
            harmless(&progress.label, false),
            harmless(&progress.note, false),
        );
        line.set_message(format!(
            "{} | {label} {}{total} {note}{left}",
            self.title, progress.done
        ));
    }

    fn plain_is_due(&mut self, every: Duration) -> bool {
        let due = self.last_plain.is_none_or(|last| last.elapsed() >= every);
        if due {
            self.last_plain = Some(Instant::now());
        }
        due
    }

    /// Takes the moving line away.
    pub fn end(&self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }
}
