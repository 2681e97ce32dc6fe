//! The library's side of a running cell: its last value, its end, its panics.
//!
//! The kernel writes calls to these functions around a cell; nobody else needs them. What they say
//! stands behind the session's secret prefix, so nothing that a cell prints is taken for it, and a program
//! of its own that happens to call them stays silent.

mod stack;
pub mod store;
#[cfg(not(feature = "cuda"))]
pub mod warm;

use std::fmt::Debug;
use std::io::Write;
use std::panic::{Location, PanicHookInfo};
use std::sync::{Mutex, OnceLock, PoisonError};

use rebit_wire::{PREFIX_VARIABLE, ValueFormat};

/// The name by which a cell's source is compiled.
const SOURCE: &str = "src/lib.rs";

/// The prefix of this session's messages; empty outside a session.
fn secret() -> &'static str {
    static SECRET: OnceLock<String> = OnceLock::new();
    SECRET.get_or_init(|| std::env::var(PREFIX_VARIABLE).unwrap_or_default())
}

/// Says `message` to the kernel, behind what the cell has printed.
pub(crate) fn say(message: &str) {
    if !secret().is_empty() {
        let mut out = std::io::stdout().lock();
        // The kernel may be gone.
        let _ = writeln!(out, "{}cell:{message}", secret()).and_then(|()| out.flush());
    }
}

/// A `?` has ended the cell, with an error of this text.
pub fn failed(text: &str, place: &Location<'_>) {
    let report = serde_json::json!({
        "text": text,
        "file": place.file(),
        "line": place.line(),
        "column": place.column(),
    });
    say(&format!("failed {report}"));
}

/// The last value of a cell by its `Debug` form, for types that have no display of their own.
///
/// A type's own `evcxr_display` and [`Show`](crate::show::Show) are found first: a cell calls the method
/// on `&value`, where theirs need no further reference, and this one does.
pub trait ByDebug {
    /// Shows the value; `()` shows nothing.
    fn evcxr_display(&self);
}

impl<T: Debug + ?Sized> ByDebug for &T {
    fn evcxr_display(&self) {
        show_by_debug(std::any::type_name::<T>(), self);
    }
}

/// Not generic: what a cell compiles of it is a call.
fn show_by_debug(of: &str, value: &dyn Debug) {
    if of == "()" {
        return;
    }
    // A value's own text may be slow or panic: not under the lock.
    let Shown { format, with_type } = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let of = match with_type {
        true => format!(": {of} = "),
        false => String::new(),
    };
    println!(
        "EVCXR_BEGIN_CONTENT text/plain\n{of}{}\nEVCXR_END_CONTENT",
        format.of(value)
    );
}

/// How the value of the running cell is shown.
#[derive(Clone, Default)]
struct Shown {
    format: ValueFormat,
    with_type: bool,
}

static SHOWN: Mutex<Shown> = Mutex::new(Shown {
    format: ValueFormat::DEBUG,
    with_type: false,
});

/// What follows, up to [`value_end`], is the cell's value.
pub fn value() {
    set_shown(Shown::default());
    say("value");
}

/// The same for a value that is shown in this format (`:fmt`), and with its type (`:types`).
pub fn value_as(format: &str, with_type: bool) {
    set_shown(Shown {
        format: format.parse().unwrap_or_default(),
        with_type,
    });
    say("value");
}

fn set_shown(shown: Shown) {
    *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = shown;
}

/// See [`value`].
pub fn value_end() {
    say("value-end");
}

/// The cell prints content blocks of evcxr's itself, or calls something that does.
pub fn blocks() {
    say("blocks");
}

/// The cell has panicked.
pub fn panicked() {
    say("panicked");
}

/// The cell is at its end: whatever was printed without a newline is shown now.
pub fn end() {
    crate::show::end_of_cell();
}

/// A fresh process begins to run cells: panics of the cells' own thread become errors with a place.
pub fn begin() {
    keep_the_secret();
    // Without a handler an interrupt does nothing until the kernel's patience ends.
    let _ = crate::show::install_interrupt_handler();
    let cells = std::thread::current().id();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if secret().is_empty() {
            usual(info);
        } else if std::thread::current().id() == cells {
            say(&format!("panic {}", report(info, None)));
            crate::show::interrupt::clear();
        } else {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("<unnamed>");
            say_at_once(&format!("panic {}", report(info, Some(name))));
        }
    }));
}

/// Says `message` whoever holds standard output: a thread may wait for the one that panics, and hold it.
fn say_at_once(message: &str) {
    let line = format!("{}cell:{message}\n", secret());
    let mut left = line.as_bytes();
    while !left.is_empty() {
        // SAFETY: the pointer and the length describe `left`.
        let written = unsafe { libc::write(libc::STDOUT_FILENO, left.as_ptr().cast(), left.len()) };
        match usize::try_from(written) {
            Ok(written) if written > 0 => left = &left[written..],
            // The kernel may be gone.
            _ => return,
        }
    }
}

/// Takes the session's secret out of the environment: a program that a cell starts must not know it.
fn keep_the_secret() {
    let _ = (secret(), crate::show::knows_its_place());
    // SAFETY: the runtime has one thread when it loads the library.
    unsafe { std::env::remove_var(PREFIX_VARIABLE) };
}

fn report(info: &PanicHookInfo<'_>, thread: Option<&str>) -> serde_json::Value {
    let message = info.payload_as_str().unwrap_or("a value that is not text");
    let place = info.location();
    // Where the cell called what panicked.
    let calls = match place {
        Some(place) if place.file() != SOURCE => stack::calls_of_cells(),
        _ => Vec::new(),
    };
    let mut report = serde_json::json!({ "message": message, "thread": thread, "calls": calls });
    if let Some(place) = place {
        report["file"] = place.file().into();
        report["line"] = place.line().into();
        report["column"] = place.column().into();
    }
    report
}

/// Types of other crates that a cell may hold in a variable: the kernel must be able to name them.
#[doc(hidden)]
pub mod named {
    pub use rand_pcg::{Lcg64Xsh32, Lcg128Xsl64, Mcg128Xsl64};
    pub use {dfdx, image, plotters, rand, rand_distr, rebit_wire, safetensors, serde_json};
}
