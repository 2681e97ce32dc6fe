//! A finished figure.

use std::path::Path;

use crate::error::{Error, Result};
use crate::files;
use crate::show::{MimeBundle, Show, bundle_of};

/// A picture as SVG, with a line of text for places that show no pictures.
#[derive(Clone, PartialEq)]
pub struct Figure {
    svg: String,
    size: (u32, u32),
    summary: String,
}

impl Figure {
    pub(super) fn new(mut svg: String, size: (u32, u32), summary: String) -> Self {
        // A title may come from a terminal or a file's name; XML knows no way to write these.
        if svg.contains(is_not_xml) {
            svg = svg.replace(is_not_xml, "\u{fffd}");
        }
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
        files::save(path, self.svg.as_bytes())
    }
}

/// The widest picture that a notebook shows, in pixels: JupyterLab puts SVG into an `img` element without a limit of its
/// own, and what is wider than the page is cut off.
const SHOWN: u32 = 690;

/// The widest line of [`row`], in pixels of its figures.
const LINE: u32 = 870;

impl Figure {
    /// The picture as a notebook shows it: no wider than a page, and where SVG stands in the page itself, no wider than
    /// its place.
    fn fitted(&self) -> String {
        let (width, height) = self.size;
        let shown = width.min(SHOWN);
        let shown_height = (height as f64 * shown as f64 / width.max(1) as f64).round();
        let natural = format!("width=\"{width}\" height=\"{height}\"");
        let fitted = format!(
            "width=\"{shown}\" height=\"{shown_height}\" style=\"max-width:100%;height:auto\""
        );
        self.svg.replacen(&natural, &fitted, 1)
    }
}

/// Whether XML 1.0 has no place for a character.
fn is_not_xml(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

impl Show for Figure {
    fn bundle(&self) -> MimeBundle {
        bundle_of("image/svg+xml", self.fitted(), &self.summary)
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

/// Figures side by side, as one figure; those that would make it wider than 870 pixels go on below. (A notebook shows a
/// figure at most 690 pixels wide, so letters shrink by a fifth at most.)
///
/// ```
/// use rebit::prelude::*;
/// let panel = |name: &str| plot::lines(name).size(350, 280).series("", 0..3, 0..3).figure();
/// assert_eq!(plot::row([panel("a"), panel("b"), panel("c")]).size(), (700, 560));
/// ```
pub fn row(figures: impl IntoIterator<Item = Figure>) -> Figure {
    let mut lines: Vec<Vec<Figure>> = Vec::new();
    let mut used = 0;
    for figure in figures {
        let width = figure.size.0;
        match lines.last_mut() {
            Some(line) if used + width <= LINE => {
                used += width;
                line.push(figure);
            }
            _ => {
                used = width;
                lines.push(vec![figure]);
            }
        }
    }
    let line = |line| {
        joined(line, |(x, y), (w, h), size| {
            ((x + size.0, y), (w + size.0, h.max(size.1)))
        })
    };
    match lines.len() {
        0 | 1 => line(lines.pop().unwrap_or_default()),
        _ => column(lines.into_iter().map(line)),
    }
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
        // An inner picture needs its place and keeps its size; everything else it has.
        let placed = format!("<svg x=\"{}\" y=\"{}\"", at.0, at.1);
        body += &figure.svg.replacen("<svg", &placed, 1);
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
