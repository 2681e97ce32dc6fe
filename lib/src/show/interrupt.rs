//! Stopping a computation without losing its variables.
//!
//! A request (the notebook's stop button, Ctrl-C) sets a flag; long computations of the library look at
//! it with [`check_interrupt`] and return [`Error::Interrupted`]. The cell ends with an error, every
//! variable of earlier cells keeps its value.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rebit_wire::Message;

use crate::error::{Error, Result};

/// Set by [`request`]. A plain static, so that a signal handler can set it without allocating.
static REQUESTED: AtomicBool = AtomicBool::new(false);
/// Set by the handler of [`install_interrupt_handler`].
static SIGNALLED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Asks running computations to stop.
pub fn request() {
    REQUESTED.store(true, Ordering::SeqCst);
}

/// Forgets a request.
pub fn clear() {
    REQUESTED.store(false, Ordering::SeqCst);
    if let Some(flag) = SIGNALLED.get() {
        flag.store(false, Ordering::SeqCst);
    }
}

/// Whether computations are asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
        || SIGNALLED
            .get()
            .is_some_and(|flag| flag.load(Ordering::SeqCst))
}

/// Returns an error, once, when computations are asked to stop; to be called in every step of a loop.
///
/// # Errors
/// [`Error::Interrupted`] after a request, which is then answered.
///
/// ```
/// use rebit::show::{check_interrupt, interrupt};
/// assert!(check_interrupt().is_ok());
/// interrupt::request();
/// assert!(check_interrupt().is_err());
/// assert!(check_interrupt().is_ok());
/// ```
pub fn check_interrupt() -> Result<()> {
    if !requested() {
        return Ok(());
    }
    clear();
    super::place().send(&Message::Interrupted);
    Err(Error::Interrupted)
}

/// Turns the system's interrupt signal (SIGINT) into a request, instead of the end of the process.
/// Further calls change nothing.
///
/// # Errors
/// [`Error::Invalid`] when the system refuses a handler.
pub fn install_interrupt_handler() -> Result<()> {
    let mut outcome = Ok(());
    SIGNALLED.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        let sigint = signal_hook::consts::SIGINT;
        outcome = signal_hook::flag::register(sigint, flag.clone())
            .map(|_| ())
            .map_err(|e| Error::invalid("interrupt handler", e));
        flag
    });
    outcome
}

/// [`request`] for callers that know the library only by its symbols, safe in a signal handler.
// SAFETY: no other symbol of this name exists in the library or its dependencies.
#[unsafe(no_mangle)]
pub extern "C" fn rebit_interrupt_request() {
    request();
}

/// [`super::end_of_cell`] for callers that know the library only by its symbols.
// SAFETY: no other symbol of this name exists in the library or its dependencies.
#[unsafe(no_mangle)]
pub extern "C" fn rebit_end_of_cell() {
    super::end_of_cell();
}
