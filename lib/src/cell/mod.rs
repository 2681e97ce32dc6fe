//! The library's side of a running cell: its last value, its end, its panics.
//!
//! The kernel writes calls to these functions around a cell; nobody else needs them. What they say
//! stands behind the session's secret prefix, so nothing that a cell prints is taken for it, and a program
//! of its own that happens to call them stays silent.

pub mod store;

use std::fmt::{self, Debug, Display};
use std::io::Write;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use rebit_wire::PREFIX_VARIABLE;

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

/// A word to the kernel that source text prints.
#[doc(hidden)]
pub struct Word(pub(crate) &'static str);

impl Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}cell:{}", secret(), self.0)
    }
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
        if std::any::type_name::<T>() == "()" {
            return;
        }
        println!("EVCXR_BEGIN_CONTENT text/plain\n{self:?}\nEVCXR_END_CONTENT");
    }
}

/// What follows, up to [`value_end`], is the cell's value.
pub fn value() {
    say("value");
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
        if secret().is_empty() || std::thread::current().id() != cells {
            usual(info);
        } else {
            report(info);
        }
    }));
}

/// Takes the session's secret out of the environment: a program that a cell starts must not know it.
fn keep_the_secret() {
    let _ = (secret(), crate::show::knows_its_place());
    // SAFETY: the runtime has one thread when it loads the library.
    unsafe { std::env::remove_var(PREFIX_VARIABLE) };
}

fn report(info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("a value that is not text");
    let place = info.location();
    let report = serde_json::json!({
        "message": message,
        "file": place.map(|p| p.file()),
        "line": place.map(|p| p.line()),
        "column": place.map(|p| p.column()),
    });
    say(&format!("panic {report}"));
    crate::show::interrupt::clear();
}

/// Types of other crates that a cell may hold in a variable: the kernel must be able to name them.
#[doc(hidden)]
pub mod named {
    pub use rand_pcg::{Lcg64Xsh32, Lcg128Xsl64, Mcg128Xsl64};
    pub use {dfdx, image, plotters, rand, rand_distr, rebit_wire, safetensors, serde_json};
}
