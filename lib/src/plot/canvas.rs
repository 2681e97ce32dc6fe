//! Drawing in pixels on plotters' SVG backend.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::element::{Circle, PathElement, Polygon, Rectangle, Text};
use plotters::prelude::{DrawingArea, IntoDrawingArea, RGBColor, ShapeStyle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontTransform, IntoFont};

use crate::error::{Error, Result};

/// plotters works with whole pixels. The backend is this many times larger than the figure, so that a
/// curve does not become a staircase.
const FINE: f64 = 4.0;
/// The backend writes `font-size = size / 1.24`.
const FONT: f64 = 1.24;

pub(super) type Point = (f64, f64);

/// Colours that colour-blind people tell apart (Okabe and Ito), the strongest first.
pub(super) const PALETTE: [RGBColor; 8] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x40, 0x40, 0x40),
    RGBColor(0x99, 0x99, 0x99),
];
pub(super) const INK: RGBColor = RGBColor(0x26, 0x26, 0x26);
pub(super) const AXIS: RGBColor = RGBColor(0x80, 0x80, 0x80);
pub(super) const GRID: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);
pub(super) const WHITE: RGBColor = RGBColor(0xff, 0xff, 0xff);

/// The colour of series `i`.
pub(super) fn colour(i: usize) -> RGBColor {
    PALETTE[i % PALETTE.len()]
}

/// Which point of a text stands at its coordinates.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Left,
    Centre,
    Right,
}

/// A text's look.
#[derive(Clone, Copy)]
pub(super) struct TextStyle {
    pub size: f64,
    pub anchor: Anchor,
    pub colour: RGBColor,
    pub bold: bool,
    /// Read from bottom to top.
    pub upright: bool,
}

impl TextStyle {
    pub fn new(size: f64, anchor: Anchor) -> Self {
        TextStyle {
            size,
            anchor,
            colour: INK,
            bold: false,
            upright: false,
        }
    }
}

/// About how wide a text is: no font is loaded, the viewer chooses one.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * 0.57
}

/// `text` where it fits `width`, otherwise its beginning and an ellipsis.
pub(super) fn fitted(text: &str, size: f64, width: f64) -> String {
    if text_width(text, size) <= width {
        return text.to_string();
    }
    let characters = (width / text_width("x", size)) as usize;
    let kept: String = text.chars().take(characters.saturating_sub(1)).collect();
    kept.trim_end().to_string() + "…"
}

/// A drawing surface measured in pixels of the figure.
pub(super) struct Canvas<'a> {
    root: DrawingArea<SVGBackend<'a>, Shift>,
}

fn fine((x, y): Point) -> (i32, i32) {
    ((x * FINE).round() as i32, (y * FINE).round() as i32)
}

fn drawing_error(e: impl std::fmt::Display) -> Error {
    Error::invalid("figure", e)
}

impl Canvas<'_> {
    /// Draws a figure of `width` x `height` pixels and returns it as SVG. `below` is SVG that lies under
    /// the drawing, in pixels of the figure.
    pub fn svg(
        (width, height): (u32, u32),
        below: &str,
        draw: impl FnOnce(&Canvas) -> Result<()>,
    ) -> Result<String> {
        let mut drawn = String::new();
        let size = [width, height].map(|v| (v as f64 * FINE) as u32);
        {
            let backend = SVGBackend::with_string(&mut drawn, (size[0], size[1]));
            let canvas = Canvas {
                root: backend.into_drawing_area(),
            };
            draw(&canvas)?;
            canvas.root.present().map_err(drawing_error)?;
        }
        let body = drawn.split_once('>').map_or("", |(_, body)| body);
        Ok(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {} {}\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
             <g transform=\"scale({FINE})\">{below}</g>{body}",
            size[0], size[1]
        ))
    }

    pub fn line(&self, points: &[Point], colour: RGBColor, width: f64) -> Result<()> {
        let path: Vec<_> = points.iter().map(|&p| fine(p)).collect();
        let style = ShapeStyle::from(colour).stroke_width((width * FINE) as u32);
        let element = PathElement::new(path, style);
        self.root.draw(&element).map_err(drawing_error)
    }

    /// A line of dashes of 7 pixels with gaps of 5, measured along the line.
    pub fn dashed(&self, points: &[Point], colour: RGBColor, width: f64) -> Result<()> {
        const DASH: f64 = 7.0;
        const GAP: f64 = 5.0;
        let mut dash = Vec::new();
        let (mut drawing, mut left) = (true, DASH);
        for pair in points.windows(2) {
            let ((mut x, mut y), (to_x, to_y)) = (pair[0], pair[1]);
            if drawing && dash.is_empty() {
                dash.push((x, y));
            }
            loop {
                let length = (to_x - x).hypot(to_y - y);
                if length < left {
                    left -= length;
                    break;
                }
                let part = left / length.max(f64::MIN_POSITIVE);
                (x, y) = (x + (to_x - x) * part, y + (to_y - y) * part);
                if drawing {
                    dash.push((x, y));
                    self.line(&std::mem::take(&mut dash), colour, width)?;
                } else {
                    dash.push((x, y));
                }
                drawing = !drawing;
                left = if drawing { DASH } else { GAP };
            }
            if drawing {
                dash.push((to_x, to_y));
            }
        }
        if dash.len() > 1 {
            self.line(&dash, colour, width)?;
        }
        Ok(())
    }

    pub fn polygon(&self, points: &[Point], colour: RGBColor, opacity: f64) -> Result<()> {
        let corners: Vec<_> = points.iter().map(|&p| fine(p)).collect();
        let element = Polygon::new(corners, colour.mix(opacity).filled());
        self.root.draw(&element).map_err(drawing_error)
    }

    pub fn rect(&self, from: Point, to: Point, colour: RGBColor, opacity: f64) -> Result<()> {
        let element = Rectangle::new([fine(from), fine(to)], colour.mix(opacity).filled());
        self.root.draw(&element).map_err(drawing_error)
    }

    pub fn circle(&self, at: Point, radius: f64, colour: RGBColor, opacity: f64) -> Result<()> {
        let style = colour.mix(opacity).filled();
        let element = Circle::new(fine(at), (radius * FINE) as i32, style);
        self.root.draw(&element).map_err(drawing_error)
    }

    /// Text whose vertical middle is at `at`.
    pub fn text(&self, at: Point, text: &str, style: TextStyle) -> Result<()> {
        let mut font = ("sans-serif", style.size * FINE * FONT).into_font();
        if style.bold {
            font = font.style(plotters::style::FontStyle::Bold);
        }
        if style.upright {
            font = font.transform(FontTransform::Rotate270);
        }
        let horizontal = match style.anchor {
            Anchor::Left => HPos::Left,
            Anchor::Centre => HPos::Center,
            Anchor::Right => HPos::Right,
        };
        let style = font
            .color(&style.colour)
            .pos(Pos::new(horizontal, VPos::Center));
        let element = Text::new(text.to_string(), fine(at), style);
        self.root.draw(&element).map_err(drawing_error)
    }
}
