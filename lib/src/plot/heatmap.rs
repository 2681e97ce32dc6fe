//! A matrix as colours.

use super::canvas::{AXIS, Anchor, Canvas, INK, TextStyle, WHITE, text_width};
use super::figure::Figure;
use super::frame::{Frame, frame_methods};
use super::png::Pixels;
use super::{Number, axis::Axis, extent, numbers};
use crate::error::{Error, Result};

/// Dark blue over green to yellow, brighter at every step: eleven points of the map viridis.
const VIRIDIS: [[u8; 3]; 11] = [
    [68, 1, 84],
    [72, 36, 117],
    [65, 68, 135],
    [53, 95, 141],
    [42, 120, 142],
    [33, 145, 140],
    [34, 168, 132],
    [68, 191, 112],
    [122, 209, 81],
    [189, 223, 38],
    [253, 231, 37],
];
/// Blue over white to red, for values with a meaningful zero.
const DIVERGING: [[u8; 3]; 5] = [
    [5, 48, 97],
    [67, 147, 195],
    [247, 247, 247],
    [214, 96, 77],
    [103, 0, 31],
];
/// Up to this many cells the values are written into them.
const WRITTEN: usize = 144;

/// A matrix as colours; see [`heatmap`].
#[derive(Debug, Clone)]
pub struct Heatmap {
    frame: Frame,
    rows: usize,
    columns: usize,
    values: Vec<f64>,
    row_names: Vec<String>,
    column_names: Vec<String>,
    range: Option<(f64, f64)>,
    diverging: bool,
    decimals: Option<usize>,
}

/// A chart of `rows` x `columns` coloured cells; `values` in row-major order, the first row on top.
///
/// ```
/// use rebit::prelude::*;
/// let confusion = [50, 2, 1, 47];
/// plot::heatmap("Confusion", 2, 2, confusion).x("predicted").y("true").written(0).figure();
/// ```
pub fn heatmap<N: Number>(
    title: impl Into<String>,
    rows: usize,
    columns: usize,
    values: impl IntoIterator<Item = N>,
) -> Heatmap {
    Heatmap {
        frame: Frame::new(title),
        rows,
        columns,
        values: numbers(values),
        row_names: Vec::new(),
        column_names: Vec::new(),
        range: None,
        diverging: false,
        decimals: None,
    }
}

impl Heatmap {
    frame_methods!(size);

    /// What the columns are.
    pub fn x(mut self, label: impl Into<String>) -> Self {
        self.frame.x.label = label.into();
        self
    }

    /// What the rows are.
    pub fn y(mut self, label: impl Into<String>) -> Self {
        self.frame.y.label = label.into();
        self
    }

    /// A name for each row, from the top; numbers from 0 if not set.
    pub fn row_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.row_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// A name for each column, from the left; numbers from 0 if not set.
    pub fn column_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.column_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// The values of the first and the last colour; those of the data if not set.
    pub fn range(mut self, from: f64, to: f64) -> Self {
        self.range = Some((from, to));
        self
    }

    /// Blue for negative and red for positive values, white at zero.
    pub fn diverging(mut self) -> Self {
        self.diverging = true;
        self
    }

    /// Writes each value into its cell, with this many digits after the point, if there are at most 144.
    pub fn written(mut self, decimals: usize) -> Self {
        self.decimals = Some(decimals);
        self
    }

    /// The finished figure.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of values is not `rows * columns`, [`Error::Invalid`] for an empty
    /// matrix or a size that leaves no room.
    pub fn try_figure(self) -> Result<Figure> {
        let cells = self.rows.checked_mul(self.columns);
        if cells != Some(self.values.len()) || self.values.is_empty() {
            return Err(Error::shape(
                "heatmap",
                format!("{} x {} values, at least one", self.rows, self.columns),
                self.values.len(),
            ));
        }
        let (low, high) = self.colour_range();
        let (width, height) = (self.frame.size.0 as f64, self.frame.size.1 as f64);
        let (row_marks, column_marks) = (self.marks(true), self.marks(false));
        let widest = row_marks
            .iter()
            .map(|(_, t)| text_width(t, 13.0))
            .fold(0.0, f64::max);
        let y_label = if self.frame.y.label.is_empty() {
            0.0
        } else {
            24.0
        };
        let left = 12.0 + y_label + widest + 8.0;
        let scale = Axis::new(&Default::default(), &[low, high], 0.0, 5);
        let scale_text = scale
            .marks
            .iter()
            .map(|(_, t)| text_width(t, 13.0))
            .fold(0.0, f64::max);
        let right = width - 44.0 - scale_text;
        let top = if self.frame.title.is_empty() {
            10.0
        } else {
            40.0
        };
        let cell = (right - left) / self.columns as f64;
        let names = column_marks
            .iter()
            .map(|(_, t)| text_width(t, 13.0))
            .fold(0.0, f64::max);
        // Names wider than their cells are written upright.
        let every = column_marks
            .get(1)
            .map_or(1.0, |m| (m.0 - column_marks[0].0).max(1.0));
        let upright = names + 6.0 > cell * every;
        let foot = if upright { names + 12.0 } else { 24.0 };
        let x_label = if self.frame.x.label.is_empty() {
            0.0
        } else {
            22.0
        };
        let bottom = height - 8.0 - foot - x_label;
        if right - left < 30.0 || bottom - top < 30.0 {
            let why = format!("{width} x {height} pixels leave no room for the data; take more");
            return Err(Error::invalid("figure size", why));
        }
        let cell_height = (bottom - top) / self.rows as f64;

        let colours = |v: &f64| self.colour((v - low) / (high - low));
        let matrix = Pixels {
            width: self.columns,
            height: self.rows,
            rgb: self.values.iter().flat_map(colours).collect(),
        };
        let ramp = Pixels {
            width: 1,
            height: 128,
            rgb: (0..128)
                .rev()
                .flat_map(|i| self.colour(i as f64 / 127.0))
                .collect(),
        };
        let bar = right + 16.0;
        let below = matrix.element((left, top), (right - left, bottom - top))?
            + &ramp.element((bar, top), (14.0, bottom - top))?;

        let svg = Canvas::svg(self.frame.size, &below, |canvas| {
            let mut title = TextStyle::new(16.0, Anchor::Left);
            title.bold = true;
            title.size *= ((width - 24.0) / text_width(&self.frame.title, 16.0).max(1.0)).min(1.0);
            canvas.text((12.0, 20.0), &self.frame.title, title)?;
            for (row, text) in &row_marks {
                let y = top + (row + 0.5) * cell_height;
                canvas.text((left - 7.0, y), text, TextStyle::new(13.0, Anchor::Right))?;
            }
            for (column, text) in &column_marks {
                let mut style = TextStyle::new(13.0, Anchor::Centre);
                if upright {
                    (style.upright, style.anchor) = (true, Anchor::Right);
                }
                let x = left + (column + 0.5) * cell;
                let y = bottom + if upright { 6.0 } else { 13.0 };
                canvas.text((x, y), text, style)?;
            }
            for (value, text) in &scale.marks {
                let y = bottom - scale.fraction(*value) * (bottom - top);
                canvas.line(&[(bar + 14.0, y), (bar + 18.0, y)], AXIS, 1.0)?;
                canvas.text((bar + 22.0, y), text, TextStyle::new(13.0, Anchor::Left))?;
            }
            let style = TextStyle::new(14.0, Anchor::Centre);
            canvas.text(
                ((left + right) / 2.0, height - 15.0),
                &self.frame.x.label,
                style,
            )?;
            let upright = TextStyle {
                upright: true,
                ..style
            };
            canvas.text((17.0, (top + bottom) / 2.0), &self.frame.y.label, upright)?;
            if let Some(decimals) = self.decimals.filter(|_| self.values.len() <= WRITTEN) {
                for (i, value) in self.values.iter().enumerate() {
                    let (row, column) = (i / self.columns, i % self.columns);
                    let x = left + (column as f64 + 0.5) * cell;
                    let y = top + (row as f64 + 0.5) * cell_height;
                    let text = format!("{value:.decimals$}");
                    let fits = cell * 0.9 / text_width(&text, 13.0).max(1.0);
                    let mut style = TextStyle::new(13.0 * fits.min(1.0), Anchor::Centre);
                    let [r, g, b] = colours(value).map(f64::from);
                    let light = 0.299 * r + 0.587 * g + 0.114 * b > 140.0;
                    style.colour = if light { INK } else { WHITE };
                    canvas.text((x, y), &text, style)?;
                }
            }
            Ok(())
        })?;
        let summary = format!(
            "[figure: {}]\n  {} x {} values, {low:.4} to {high:.4}",
            self.frame.title, self.rows, self.columns
        );
        Ok(Figure::new(svg, self.frame.size, summary))
    }

    fn colour_range(&self) -> (f64, f64) {
        let found = extent(&self.values, false).unwrap_or((0.0, 1.0));
        let (low, high) = match (self.range, self.diverging) {
            (Some(range), _) => range,
            (None, true) => {
                let end = found.0.abs().max(found.1.abs());
                (-end, end)
            }
            (None, false) => found,
        };
        if high > low {
            (low, high)
        } else {
            (low - 0.5, low + 0.5)
        }
    }

    /// The colour at `part` of the range; grey for what is not a number.
    fn colour(&self, part: f64) -> [u8; 3] {
        if part.is_nan() {
            return [190; 3];
        }
        let map: &[[u8; 3]] = if self.diverging { &DIVERGING } else { &VIRIDIS };
        let place = part.clamp(0.0, 1.0) * (map.len() - 1) as f64;
        let i = (place as usize).min(map.len() - 2);
        let t = place - i as f64;
        std::array::from_fn(|c| {
            let (a, b) = (map[i][c] as f64, map[i + 1][c] as f64);
            (a + (b - a) * t).round() as u8
        })
    }

    /// Index and name of the rows or columns that are named: all, or as many as fit.
    fn marks(&self, rows: bool) -> Vec<(f64, String)> {
        let (count, names, pixels) = match rows {
            true => (self.rows, &self.row_names, self.frame.size.1),
            false => (self.columns, &self.column_names, self.frame.size.0),
        };
        let space = if rows { 22 } else { 44 };
        let fit = (pixels as usize / space).max(2);
        let every = match names.is_empty() {
            true => [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
                .into_iter()
                .find(|every| count.div_ceil(*every) <= fit)
                .unwrap_or(count),
            false => count.div_ceil((pixels as usize / 18).max(2)).max(1),
        };
        let name = |i: usize| names.get(i).cloned().unwrap_or(i.to_string());
        (0..count)
            .step_by(every)
            .map(|i| (i as f64, name(i)))
            .collect()
    }
}
