//! What every chart shares: title, legend, axes, grid.

use plotters::prelude::RGBColor;

use super::axis::{Axis, AxisSpec};
use super::canvas::{AXIS, Anchor, Canvas, GRID, Point, TextStyle, text_width};
use super::figure::Figure;
use crate::error::{Error, Result};

const TITLE: f64 = 16.0;
const LABEL: f64 = 14.0;
const MARK: f64 = 13.0;
const LEGEND_ROW: f64 = 20.0;

/// The outside of a chart.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub title: String,
    pub x: AxisSpec,
    pub y: AxisSpec,
    pub size: (u32, u32),
}

/// How a series looks in the legend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sample {
    Line,
    Dashed,
    Dot,
    Box,
}

/// One entry of the legend.
pub(super) struct Key {
    pub name: String,
    pub colour: RGBColor,
    pub sample: Sample,
}

/// The rectangle of the data with its axes.
pub(super) struct Plot<'a, 'b> {
    pub canvas: &'a Canvas<'b>,
    pub x: &'a Axis,
    pub y: &'a Axis,
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
}

impl Plot<'_, '_> {
    /// The pixel of a pair of values.
    pub fn at(&self, x: f64, y: f64) -> Point {
        (
            self.left + self.x.fraction(x) * (self.right - self.left),
            self.bottom - self.y.fraction(y) * (self.bottom - self.top),
        )
    }

    /// The parts of a curve between values that cannot be drawn.
    pub fn runs(&self, points: &[Point]) -> Vec<Vec<Point>> {
        points
            .split(|&(x, y)| !(self.x.takes(x) && self.y.takes(y)))
            .filter(|run| !run.is_empty())
            .map(|run| run.iter().map(|&(x, y)| self.at(x, y)).collect())
            .collect()
    }
}

impl Frame {
    pub fn new(title: impl Into<String>) -> Self {
        Frame {
            title: title.into(),
            x: AxisSpec::default(),
            y: AxisSpec::default(),
            size: (640, 400),
        }
    }

    /// About how many marks fit the x axis and the y axis.
    pub fn mark_counts(&self) -> (usize, usize) {
        let (width, height) = self.size;
        ((width / 85).max(2) as usize, (height / 65).max(2) as usize)
    }

    /// Draws the chart; `draw` draws what is inside.
    pub fn draw(
        &self,
        (x, y): (&Axis, &Axis),
        keys: &[Key],
        summary: String,
        draw: impl FnOnce(&Plot) -> Result<()>,
    ) -> Result<Figure> {
        let (width, height) = (self.size.0 as f64, self.size.1 as f64);
        if !(160..=8000).contains(&self.size.0) || !(120..=8000).contains(&self.size.1) {
            return Err(Error::invalid(
                "figure size",
                format!("{width} x {height} pixels; take 160 x 120 to 8000 x 8000"),
            ));
        }
        let widest = |marks: &[(f64, String)]| {
            let widths = marks.iter().map(|(_, text)| text_width(text, MARK));
            widths.fold(0.0, f64::max)
        };
        let y_label = if self.y.label.is_empty() { 0.0 } else { 24.0 };
        let left = (12.0 + y_label + widest(&y.marks) + 8.0).min(width / 2.0);
        let right = width - 20.0;
        let title_height = if self.title.is_empty() { 8.0 } else { 34.0 };
        let (places, rows) = legend_places(keys, left, right);
        let top = title_height + rows as f64 * LEGEND_ROW + 6.0;
        // Names that would touch each other are written on alternating lines.
        let x_space = (right - left) / x.marks.len().max(1) as f64;
        let staggered = widest(&x.marks) + 6.0 > x_space && x.marks.len() > 1;
        let x_marks = if staggered { 40.0 } else { 24.0 };
        let x_label = if self.x.label.is_empty() { 0.0 } else { 22.0 };
        let bottom = height - 8.0 - x_marks - x_label;
        if bottom - top < 20.0 {
            let why = format!("{width} x {height} pixels leave no room for the data; take more");
            return Err(Error::invalid("figure size", why));
        }

        let svg = Canvas::svg(self.size, "", |canvas| {
            let plot = Plot {
                canvas,
                x,
                y,
                left,
                right,
                top,
                bottom,
            };
            self.draw_axes(&plot, staggered)?;
            if !self.title.is_empty() {
                let mut style = TextStyle::new(TITLE, Anchor::Left);
                style.bold = true;
                // A title too long for the line is made smaller rather than cut.
                style.size *= ((width - 24.0) / text_width(&self.title, TITLE)).min(1.0);
                canvas.text((12.0, 20.0), &self.title, style)?;
            }
            for (key, (at, row)) in keys.iter().zip(&places) {
                let y = title_height + (*row as f64 + 0.5) * LEGEND_ROW;
                draw_key(canvas, key, (*at, y))?;
            }
            draw(&plot)?;
            canvas.line(&[(left, top), (left, bottom), (right, bottom)], AXIS, 1.0)
        })?;
        Ok(Figure::new(svg, self.size, summary))
    }

    fn draw_axes(&self, plot: &Plot, staggered: bool) -> Result<()> {
        let Plot {
            canvas,
            left,
            right,
            top,
            bottom,
            ..
        } = *plot;
        for (value, text) in &plot.y.marks {
            let (_, y) = plot.at(plot.x.start(), *value);
            canvas.line(&[(left, y), (right, y)], GRID, 1.0)?;
            canvas.text((left - 7.0, y), text, TextStyle::new(MARK, Anchor::Right))?;
        }
        for (i, (value, text)) in plot.x.marks.iter().enumerate() {
            let (x, _) = plot.at(*value, plot.y.start());
            canvas.line(&[(x, bottom), (x, bottom + 4.0)], AXIS, 1.0)?;
            let line = if staggered && i % 2 == 1 { 16.0 } else { 0.0 };
            // A long name at the edge moves inwards.
            let half = text_width(text, MARK) / 2.0 + 2.0;
            let inside = x.min(self.size.0 as f64 - half).max(half);
            let at = (inside, bottom + 14.0 + line);
            canvas.text(at, text, TextStyle::new(MARK, Anchor::Centre))?;
        }
        let style = TextStyle::new(LABEL, Anchor::Centre);
        if !self.x.label.is_empty() {
            let at = ((left + right) / 2.0, self.size.1 as f64 - 15.0);
            canvas.text(at, &self.x.label, style)?;
        }
        if !self.y.label.is_empty() {
            let upright = TextStyle {
                upright: true,
                ..style
            };
            canvas.text((17.0, (top + bottom) / 2.0), &self.y.label, upright)?;
        }
        Ok(())
    }
}

/// Where each entry of the legend starts (pixels from the left, row), and the number of rows.
fn legend_places(keys: &[Key], left: f64, right: f64) -> (Vec<(f64, usize)>, usize) {
    let (mut x, mut row) = (left, 0);
    let mut places = Vec::new();
    for key in keys {
        let width = 30.0 + text_width(&key.name, MARK) + 16.0;
        if x > left && x + width > right {
            (x, row) = (left, row + 1);
        }
        places.push((x, row));
        x += width;
    }
    let rows = if keys.is_empty() { 0 } else { row + 1 };
    (places, rows)
}

fn draw_key(canvas: &Canvas, key: &Key, (x, y): Point) -> Result<()> {
    let (from, to) = ((x, y), (x + 24.0, y));
    match key.sample {
        Sample::Line => canvas.line(&[from, to], key.colour, 2.5)?,
        Sample::Dashed => canvas.dashed(&[from, to], key.colour, 2.0)?,
        Sample::Dot => canvas.circle((x + 14.0, y), 4.5, key.colour, 1.0)?,
        Sample::Box => canvas.rect((x + 6.0, y - 6.0), (x + 22.0, y + 6.0), key.colour, 0.75)?,
    }
    canvas.text((x + 30.0, y), &key.name, TextStyle::new(MARK, Anchor::Left))
}

/// The builder methods that every chart with two axes has.
macro_rules! frame_methods {
    () => {
        /// What the horizontal axis shows, with its unit.
        pub fn x(mut self, label: impl Into<String>) -> Self {
            self.frame.x.label = label.into();
            self
        }

        /// What the vertical axis shows, with its unit.
        pub fn y(mut self, label: impl Into<String>) -> Self {
            self.frame.y.label = label.into();
            self
        }

        /// The ends of the horizontal axis; what lies beyond is drawn at the edge.
        pub fn x_range(mut self, from: f64, to: f64) -> Self {
            self.frame.x.range = Some((from, to));
            self
        }

        /// The ends of the vertical axis; what lies beyond is drawn at the edge.
        pub fn y_range(mut self, from: f64, to: f64) -> Self {
            self.frame.y.range = Some((from, to));
            self
        }

        /// A logarithmic horizontal axis; values that are not positive are left out.
        pub fn log_x(mut self) -> Self {
            self.frame.x.log = true;
            self
        }

        /// A logarithmic vertical axis; values that are not positive are left out.
        pub fn log_y(mut self) -> Self {
            self.frame.y.log = true;
            self
        }

        frame_methods!(size);
    };
    (size) => {
        /// Width and height in pixels; 640 x 400 if not set.
        pub fn size(mut self, width: u32, height: u32) -> Self {
            self.frame.size = (width, height);
            self
        }

        /// The finished figure.
        ///
        /// # Panics
        /// Where `try_figure` returns an error.
        pub fn figure(self) -> Figure {
            self.try_figure().unwrap_or_else(|e| panic!("{e}"))
        }
    };
}
pub(super) use frame_methods;
