//! The library's side of a running cell: its last value, its end, its panics.
//!
//! The kernel writes calls to these functions around a cell; nobody else needs them. What they say
//! stands behind the session's secret prefix (environment `REBIT_WIRE`), so a program of its own that
//! happens to call them stays silent.

pub mod store;

use std::fmt::Debug;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

/// The prefix of this session's messages; empty outside a session.
fn secret() -> &'static str {
    static SECRET: OnceLock<String> = OnceLock::new();
    SECRET.get_or_init(|| std::env::var("REBIT_WIRE").unwrap_or_default())
}

fn say(message: &str) {
    if !secret().is_empty() {
        println!("{}cell:{message}", secret());
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

/// The cell is at its end: whatever was printed without a newline is shown now.
pub fn end() {
    crate::show::end_of_cell();
}

/// A fresh process begins to run cells: panics of the cells' own thread become errors with a place.
pub fn begin() {
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
