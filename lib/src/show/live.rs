//! A display that changes while a cell runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rebit_wire::{Message, MimeBundle};

use super::{Place, Show, Shown, place};

/// One place in the output that is redrawn.
///
/// Redraws that come faster than [`LiveDisplay::at_most_every`] are left out, except the last: it is
/// shown when the display is finished or dropped. Outside rebit's kernel, where nothing can be redrawn,
/// only that last state is shown.
///
/// ```
/// use rebit::show::{LiveDisplay, Table};
/// let mut live = LiveDisplay::new();
/// for step in 0..1000 {
///     live.update_with(move || Table::new(["step"]).row((step,)));
/// }
/// live.finish();
/// ```
pub struct LiveDisplay {
    id: String,
    interval: Duration,
    shown_at: Option<Instant>,
    /// The latest state, as long as it has not been shown.
    pending: Option<Pending>,
}

type Pending = Box<dyn FnOnce() -> MimeBundle + Send>;

impl Default for LiveDisplay {
    fn default() -> Self {
        Self::new()
    }
}

impl LiveDisplay {
    /// A display that appears with its first update.
    pub fn new() -> Self {
        LiveDisplay {
            id: fresh_id(),
            interval: Duration::from_millis(500),
            shown_at: None,
            pending: None,
        }
    }

    /// The shortest time between two redraws; half a second if not set.
    pub fn at_most_every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Shows `value` instead of what was there; what must not be left out for being too early.
    pub fn update(&mut self, value: &(impl Show + ?Sized)) {
        let bundle = value.bundle();
        match place() {
            Place::Wire(_) => self.show_now(bundle),
            _ => self.pending = Some(Box::new(move || bundle)),
        }
    }

    /// Shows what `make` returns, if the time has come; otherwise keeps `make` for later.
    pub fn update_with<S: Show>(&mut self, make: impl FnOnce() -> S + Send + 'static) {
        if self.is_due() {
            self.show_now(make().bundle());
        } else {
            self.pending = Some(Box::new(move || make().bundle()));
        }
    }

    /// Whether an update would be shown now; never outside rebit's kernel.
    pub fn is_due(&self) -> bool {
        let early = self.shown_at.is_some_and(|t| t.elapsed() < self.interval);
        !early && matches!(place(), Place::Wire(_))
    }

    /// Shows the latest state, if it has not been shown.
    pub fn finish(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.show_now(pending());
        }
    }

    fn show_now(&mut self, data: MimeBundle) {
        let metadata = MimeBundle::new();
        let id = self.id.clone();
        let message = match (self.shown_at, place()) {
            (Some(_), Place::Wire(_)) => Message::UpdateDisplay { id, data, metadata },
            _ => Message::Display {
                id: Some(id),
                data,
                metadata,
            },
        };
        place().send(&message);
        self.shown_at = Some(Instant::now());
        self.pending = None;
    }
}

impl Drop for LiveDisplay {
    fn drop(&mut self) {
        // A panic on the way must not be joined by one from drawing.
        if !std::thread::panicking() {
            self.finish();
        }
    }
}

/// Removes what this cell has shown so far; with `wait`, when the next output comes.
pub fn clear_output(wait: bool) -> Shown {
    place().send(&Message::ClearOutput { wait });
    Shown
}

/// An id that no other process has used in this notebook.
pub(super) fn fresh_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let started = now.map_or(0, |t| t.as_nanos());
    format!("rebit-{:x}-{:x}-{number}", std::process::id(), started)
}
