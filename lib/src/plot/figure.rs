//! A finished figure.

use std::path::Path;

use crate::error::{Error, Result};
use crate::files::write_whole;
use crate::show::{MimeBundle, Show, bundle_of};

/// A picture as SVG, with a line of text for places that show no pictures.
#[derive(Clone, PartialEq)]
pub struct Figure {
    svg: String,
    size: (u32, u32),
    summary: String,
}

impl Figure {
    pub(super) fn new(svg: String, size: (u32, u32), summary: String) -> Self {
        Figure { svg, size, summary }
    }

    /// The picture.
    pub fn svg(&self) -> &str {
        &self.svg
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Writes the picture to a file `*.svg`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another kind of file, [`Error::Io`] when it cannot be written; an older file
    /// of that name is then still there.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        if path
            .extension()
            .is_none_or(|e| !e.eq_ignore_ascii_case("svg"))
        {
            let why = "figures are SVG; take a file name that ends in .svg";
            return Err(Error::invalid(path.display(), why));
        }
        write_whole(path, self.svg.as_bytes()).map_err(|e| Error::io(path, e))
    }
}

impl Show for Figure {
    fn bundle(&self) -> MimeBundle {
        bundle_of("image/svg+xml", &self.svg, &self.summary)
    }
}

impl std::fmt::Debug for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Figure {} x {}: {}",
            self.size.0, self.size.1, self.summary
        )
    }
}

/// Figures side by side, as one figure.
pub fn row(figures: impl IntoIterator<Item = Figure>) -> Figure {
    joined(figures, |(x, y), (w, h), size| {
        ((x + size.0, y), (w + size.0, h.max(size.1)))
    })
}

/// Figures below each other, as one figure.
pub fn column(figures: impl IntoIterator<Item = Figure>) -> Figure {
    joined(figures, |(x, y), (w, h), size| {
        ((x, y + size.1), (w.max(size.0), h + size.1))
    })
}

/// `place` says, from the place of a figure, the size of the whole before and its own size, where the
/// next figure stands and how large the whole is now.
fn joined(
    figures: impl IntoIterator<Item = Figure>,
    place: impl Fn((u32, u32), (u32, u32), (u32, u32)) -> ((u32, u32), (u32, u32)),
) -> Figure {
    let (mut at, mut size) = ((0, 0), (0, 0));
    let mut body = String::new();
    let mut summaries = Vec::new();
    for figure in figures {
        // An inner picture needs its place; everything else it has.
        let inner = figure
            .svg
            .replacen("<svg", &format!("<svg x=\"{}\" y=\"{}\"", at.0, at.1), 1);
        body += &inner;
        body.push('\n');
        summaries.push(figure.summary);
        (at, size) = place(at, size, figure.size);
    }
    let (width, height) = size;
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         {body}</svg>\n"
    );
    Figure::new(svg, size, summaries.join("\n"))
}
