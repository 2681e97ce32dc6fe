//! What a cell shows: figures, tables, live displays, progress, claims. The library's end of the wire.
//!
//! The same calls work in four places. Under rebit's kernel they are messages of
//! [`rebit_wire`], shown while the cell runs. Under the stock evcxr kernel they are evcxr's
//! content blocks, on a terminal and in a file they are text. The place is found out once, from the
//! environment.
//!
//! ```
//! use rebit::prelude::*;
//! let table = Table::new(["method", "accuracy, %"])
//!     .row(("no freezing", 91.42))
//!     .row(("LTS", 91.18))
//!     .caption("ResNet-20, 2 bit");
//! display(&table);
//! ```

mod budget;
mod claim_table;
mod claims;
mod input;
pub mod interrupt;
mod live;
mod numbers;
mod place;
mod progress;
mod table;
mod tensor;

use std::fmt::Display;

pub use budget::{Budget, budget};
pub use claim_table::{Claims, claims};
pub use claims::{Quantity, Spread, claim, finding, spread};
pub use input::{input, password};
pub use interrupt::{check_interrupt, install_interrupt_handler};
pub use live::{LiveDisplay, clear_output};
pub use place::end_of_cell;
pub use progress::{Progress, ProgressIter, progress};
pub use rebit_wire::MimeBundle;
pub(crate) use rebit_wire::escape_html;
pub use table::{Cell, IntoRow, Table};
pub use tensor::Element;

use rebit_wire::{Message, Value};

pub(crate) use place::{Place, knows_its_place, place};
pub(crate) use tensor::{TensorSummary, shape_text};

/// Something that can be shown in one or several forms.
pub trait Show {
    /// The forms, by MIME type. `text/plain` should be among them: a terminal shows it.
    fn bundle(&self) -> MimeBundle;

    /// What evcxr calls on the value that ends a cell.
    fn evcxr_display(&self) {
        display(self);
    }
}

impl Show for MimeBundle {
    fn bundle(&self) -> MimeBundle {
        self.clone()
    }
}

/// What a call that shows something returns: it can end a cell without being shown itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown;

impl Shown {
    /// Shows nothing more.
    pub fn evcxr_display(&self) {}
}

/// Shows a value now; a cell may show any number of them.
pub fn display(value: &(impl Show + ?Sized)) -> Shown {
    display_bundle(value.bundle())
}

/// Not generic: what a cell compiles of [`display`] is a call.
fn display_bundle(data: MimeBundle) -> Shown {
    place().send(&Message::Display {
        id: None,
        data,
        metadata: MimeBundle::new(),
    });
    Shown
}

/// A bundle of one form, and the text for places that cannot show it.
pub fn bundle_of(mime: &str, content: impl Display, text: impl Display) -> MimeBundle {
    two_forms(mime, content.to_string(), text.to_string())
}

fn two_forms(mime: &str, content: String, text: String) -> MimeBundle {
    MimeBundle::from([
        (mime.to_string(), Value::String(content)),
        ("text/plain".to_string(), Value::String(text)),
    ])
}

/// Shows HTML.
pub fn html(html: impl Display) -> Shown {
    display_bundle(bundle_of("text/html", html, "[HTML]"))
}

/// Shows an SVG picture.
pub fn svg(svg: impl Display) -> Shown {
    display_bundle(bundle_of("image/svg+xml", svg, "[SVG picture]"))
}

/// Shows an encoded PNG picture.
pub fn png(png: &[u8]) -> Shown {
    display_bundle(bundle_of("image/png", base64_of(png), "[PNG picture]"))
}

/// Shows a LaTeX formula; the dollar signs are added when there are none.
pub fn latex(formula: impl Display) -> Shown {
    let formula = formula.to_string();
    let formula = match formula.contains('$') {
        true => formula,
        false => format!("$${formula}$$"),
    };
    display_bundle(bundle_of("text/latex", &formula, &formula))
}

/// Shows Markdown.
pub fn markdown(markdown: impl Display) -> Shown {
    let markdown = markdown.to_string();
    display_bundle(bundle_of("text/markdown", &markdown, &markdown))
}

/// Shows plain text.
pub fn text(text: impl Display) -> Shown {
    let text = Value::String(text.to_string());
    display_bundle(MimeBundle::from([("text/plain".to_string(), text)]))
}

pub(crate) fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
