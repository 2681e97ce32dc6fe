//! Bars in groups.

use super::axis::Axis;
use super::canvas::{Anchor, INK, TextStyle, colour};
use super::figure::Figure;
use super::frame::{Frame, Key, Plot, Sample, frame_methods};
use super::{Number, extent, numbers};
use crate::error::{Error, Result};

/// Grouped bars; see [`bars`].
#[derive(Debug, Clone)]
pub struct Bars {
    frame: Frame,
    groups: Vec<String>,
    series: Vec<Series>,
    decimals: Option<usize>,
}

#[derive(Debug, Clone)]
struct Series {
    name: String,
    values: Vec<f64>,
    errors: Vec<f64>,
}

/// A chart of one group of bars for each name, with one bar for each series.
///
/// ```
/// use rebit::prelude::*;
/// plot::bars("Updates eliminated", ["linear", "cosine", "step"])
///     .y("%")
///     .series("weights", [62.1, 58.3, 66.0])
///     .series("layers", [40.2, 38.0, 44.9])
///     .values(1)
///     .figure();
/// ```
pub fn bars<S: Into<String>>(
    title: impl Into<String>,
    groups: impl IntoIterator<Item = S>,
) -> Bars {
    Bars {
        frame: Frame::new(title),
        groups: groups.into_iter().map(Into::into).collect(),
        series: Vec::new(),
        decimals: None,
    }
}

impl Bars {
    frame_methods!();

    /// One value for each group; a value that is not finite leaves its place empty.
    pub fn series<N: Number>(
        mut self,
        name: impl Into<String>,
        values: impl IntoIterator<Item = N>,
    ) -> Self {
        self.series.push(Series {
            name: name.into(),
            values: numbers(values),
            errors: Vec::new(),
        });
        self
    }

    /// Half the height of the error bar of each bar of the last series.
    pub fn errors<N: Number>(mut self, errors: impl IntoIterator<Item = N>) -> Self {
        if let Some(series) = self.series.last_mut() {
            series.errors = numbers(errors);
        }
        self
    }

    /// Writes each value above its bar, with this many digits after the point.
    pub fn values(mut self, decimals: usize) -> Self {
        self.decimals = Some(decimals);
        self
    }

    /// The finished figure.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a series has not one value for each group, or for a size that leaves no
    /// room.
    pub fn try_figure(self) -> Result<Figure> {
        let n = self.groups.len();
        for Series {
            name,
            values,
            errors,
        } in &self.series
        {
            if values.len() != n || !(errors.is_empty() || errors.len() == n) {
                let why = format!("{name:?} has {} values for {n} groups", values.len());
                return Err(Error::invalid(format!("bars {:?}", self.frame.title), why));
            }
        }
        let ends: Vec<f64> = self.series.iter().flat_map(Series::ends).collect();
        let mut y_spec = self.frame.y.clone();
        if y_spec.range.is_none() && !y_spec.log {
            // Bars start at zero, or their lengths would lie.
            let (low, high) = extent(&ends, false).unwrap_or((0.0, 1.0));
            let (low, high) = (low.min(0.0), high.max(0.0));
            let free = (high - low).max(1e-12) * 0.08;
            let low = if low < 0.0 { low - free } else { 0.0 };
            let high = if high > 0.0 { high + free } else { 0.0 };
            y_spec.range = Some((low, high));
        }
        let (_, y_marks) = self.frame.mark_counts();
        let x = Axis::categories(&self.groups);
        let y = Axis::new(&y_spec, &ends, 0.1, y_marks);
        let named = self
            .series
            .iter()
            .enumerate()
            .filter(|(_, s)| !s.name.is_empty());
        let keys: Vec<Key> = named
            .map(|(i, s)| Key {
                name: s.name.clone(),
                colour: colour(i),
                sample: Sample::Box,
            })
            .collect();
        self.frame.draw((&x, &y), &keys, self.summary(), |plot| {
            let foot = if y.start() <= 0.0 && y.end() >= 0.0 {
                0.0
            } else {
                y.start()
            };
            for (i, series) in self.series.iter().enumerate() {
                self.draw_series(plot, series, i, foot)?;
            }
            let (_, zero) = plot.at(0.0, foot);
            plot.canvas
                .line(&[(plot.left, zero), (plot.right, zero)], INK, 1.0)
        })
    }

    fn draw_series(&self, plot: &Plot, series: &Series, i: usize, foot: f64) -> Result<()> {
        let width = 0.8 / self.series.len() as f64;
        for (group, &value) in series.values.iter().enumerate() {
            if !plot.y.takes(value) {
                continue;
            }
            let from = group as f64 - 0.4 + i as f64 * width;
            let (left, end) = plot.at(from + 0.04 * width, value);
            let (right, start) = plot.at(from + 0.96 * width, foot);
            plot.canvas.rect(
                (left, end.min(start)),
                (right, end.max(start)),
                colour(i),
                0.85,
            )?;
            let middle = (left + right) / 2.0;
            let (mut above, mut below) = (end.min(start), end.max(start));
            if let Some(&error) = series.errors.get(group).filter(|e| e.is_finite()) {
                let low = if plot.y.takes(value - error) {
                    value - error
                } else {
                    plot.y.start()
                };
                let (_, high) = plot.at(0.0, value + error);
                let (_, low) = plot.at(0.0, low);
                plot.canvas
                    .line(&[(middle, high), (middle, low)], INK, 1.5)?;
                for y in [high, low] {
                    plot.canvas
                        .line(&[(middle - 4.0, y), (middle + 4.0, y)], INK, 1.5)?;
                }
                (above, below) = (above.min(high), below.max(low));
            }
            if let Some(decimals) = self.decimals {
                let y = if value >= foot {
                    above - 9.0
                } else {
                    below + 9.0
                };
                let style = TextStyle::new(12.0, Anchor::Centre);
                plot.canvas
                    .text((middle, y), &format!("{value:.decimals$}"), style)?;
            }
        }
        Ok(())
    }

    fn summary(&self) -> String {
        let mut text = format!("[figure: {}]", self.frame.title);
        for series in &self.series {
            let pairs = self.groups.iter().zip(&series.values);
            let pairs: Vec<String> = pairs.map(|(g, v)| format!("{g} {v:.4}")).collect();
            text += &format!("\n  {}: {}", series.name, pairs.join(", "));
        }
        text
    }
}

impl Series {
    /// Where the bars and their error bars end.
    fn ends(&self) -> Vec<f64> {
        let errors = self.errors.iter().copied().chain(std::iter::repeat(0.0));
        let both = self.values.iter().zip(errors);
        both.flat_map(|(v, e)| [v - e, v + e]).collect()
    }
}
