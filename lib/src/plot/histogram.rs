//! How often values occur.

use super::axis::Axis;
use super::canvas::{Anchor, INK, Point, TextStyle, WHITE, colour, text_width};
use super::figure::Figure;
use super::frame::{Frame, Key, Plot, Sample, frame_methods};
use super::{Number, extent, numbers};
use crate::error::{Error, Result};

/// Overlaid histograms; see [`histogram`].
#[derive(Debug, Clone)]
pub struct Histogram {
    frame: Frame,
    series: Vec<(String, Vec<f64>)>,
    thresholds: Vec<(String, f64)>,
    ticks: Vec<(String, Vec<f64>)>,
    bins: usize,
    shares: bool,
}

/// A chart of how often values fall into each of 50 equal bins; all series share the bins.
///
/// ```
/// use rebit::prelude::*;
/// let distances: Vec<f32> = (0..1000).map(|i| (i as f32 / 1000.0).powi(2)).collect();
/// plot::histogram("Distance to the boundary").x("distance").series("layer 1", &distances)
///     .threshold("frozen below", 0.1).figure();
/// ```
pub fn histogram(title: impl Into<String>) -> Histogram {
    Histogram {
        frame: Frame::new(title),
        series: Vec::new(),
        thresholds: Vec::new(),
        ticks: Vec::new(),
        bins: 50,
        shares: false,
    }
}

impl Histogram {
    frame_methods!();

    /// Values to count; those that are not finite or lie beyond `x_range` are left out.
    pub fn series<N: Number>(
        mut self,
        name: impl Into<String>,
        values: impl IntoIterator<Item = N>,
    ) -> Self {
        self.series.push((name.into(), numbers(values)));
        self
    }

    /// The number of bins; 50 if not set.
    pub fn bins(mut self, bins: usize) -> Self {
        self.bins = bins;
        self
    }

    /// Shares of each series in per cent instead of counts, to compare series of different lengths.
    pub fn shares(mut self) -> Self {
        self.shares = true;
        self
    }

    /// A vertical line at `x` with its name.
    pub fn threshold(mut self, name: impl Into<String>, x: impl Number) -> Self {
        self.thresholds.push((name.into(), x.number()));
        self
    }

    /// Short strokes on the horizontal axis at each of `at`, one entry of the legend for all of them: the levels of a
    /// quantiser, say, which a [`threshold`](Self::threshold) could be taken for.
    pub fn ticks<N: Number>(
        mut self,
        name: impl Into<String>,
        at: impl IntoIterator<Item = N>,
    ) -> Self {
        self.ticks.push((name.into(), numbers(at)));
        self
    }

    /// The finished figure.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no bins or a logarithmic horizontal axis, or a size that leaves no room.
    pub fn try_figure(mut self) -> Result<Figure> {
        if self.bins == 0 || self.bins > 2000 || self.frame.x.log {
            let why = "1 to 2000 bins on a linear horizontal axis are needed";
            return Err(Error::invalid(
                format!("histogram {:?}", self.frame.title),
                why,
            ));
        }
        if self.frame.y.label.is_empty() {
            self.frame.y.label = if self.shares { "share, %" } else { "count" }.to_string();
        }
        let all = self.series.iter().flat_map(|(_, values)| values);
        let marks = self.thresholds.iter().map(|t| &t.1);
        let marks = marks.chain(self.ticks.iter().flat_map(|(_, at)| at));
        let found = extent(all.chain(marks), false);
        let (low, high) = self.frame.x.range.or(found).unwrap_or((0.0, 1.0));
        // A single value gets a bin around it.
        let (low, high) = if high > low {
            (low, high)
        } else {
            (low - 0.5, low + 0.5)
        };
        let counts: Vec<Vec<f64>> = self
            .series
            .iter()
            .map(|(_, v)| self.count(v, low, high))
            .collect();

        let (x_marks, y_marks) = self.frame.mark_counts();
        let x = Axis::new(&self.frame.x, &[low, high], 0.02, x_marks);
        let mut y_spec = self.frame.y.clone();
        if y_spec.range.is_none() && !y_spec.log {
            let top = counts.iter().flatten().copied().fold(0.0, f64::max);
            y_spec.range = Some((0.0, if top > 0.0 { top * 1.05 } else { 1.0 }));
        }
        let y = Axis::new(&y_spec, counts.iter().flatten(), 0.05, y_marks);
        let named = self
            .series
            .iter()
            .enumerate()
            .filter(|(_, (name, _))| !name.is_empty());
        let boxes = named.map(|(i, (name, _))| Key {
            name: name.clone(),
            colour: colour(i),
            sample: Sample::Box,
        });
        let strokes = self.ticks.iter().enumerate().map(|(i, (name, _))| Key {
            name: name.clone(),
            colour: colour(self.series.len() + i),
            sample: Sample::Line,
        });
        let keys: Vec<Key> = boxes.chain(strokes).collect();
        self.frame.draw((&x, &y), &keys, self.summary(), |plot| {
            for (i, counts) in counts.iter().enumerate() {
                draw_bins(plot, counts, (low, high), i, self.series.len() > 1)?;
            }
            for (i, (name, x)) in self.thresholds.iter().enumerate() {
                draw_threshold(plot, name, *x, i)?;
            }
            for (i, (_, at)) in self.ticks.iter().enumerate() {
                let foot = plot.y.start();
                for x in at.iter().filter(|x| plot.x.takes(**x)) {
                    let (x, _) = plot.at(*x, foot);
                    let top = plot.bottom - 0.18 * (plot.bottom - plot.top);
                    let stroke = [(x, plot.bottom), (x, top)];
                    plot.canvas
                        .line(&stroke, colour(self.series.len() + i), 3.0)?;
                }
            }
            Ok(())
        })
    }

    fn count(&self, values: &[f64], low: f64, high: f64) -> Vec<f64> {
        let mut counts = vec![0.0; self.bins];
        for value in values.iter().filter(|v| (low..=high).contains(*v)) {
            let bin = (value - low) / (high - low) * self.bins as f64;
            counts[(bin as usize).min(self.bins - 1)] += 1.0;
        }
        if self.shares && !values.is_empty() {
            let total = values.len() as f64 / 100.0;
            counts.iter_mut().for_each(|c| *c /= total);
        }
        counts
    }

    fn summary(&self) -> String {
        let mut text = format!("[figure: {}]", self.frame.title);
        for (name, values) in &self.series {
            let n = values.len();
            if let Some((low, high)) = extent(values, false) {
                text += &format!("\n  {name}: {n} values, {low:.4} to {high:.4}");
            }
        }
        text
    }
}

fn draw_bins(
    plot: &Plot,
    counts: &[f64],
    (low, high): Point,
    i: usize,
    outlined: bool,
) -> Result<()> {
    let edge = |bin: usize| low + (high - low) * bin as f64 / counts.len() as f64;
    let mut outline = vec![plot.at(low, plot.y.start())];
    for (bin, &count) in counts.iter().enumerate() {
        // On a logarithmic axis nothing stands at the foot.
        let count = if plot.y.takes(count) {
            count
        } else {
            plot.y.start()
        };
        outline.push(plot.at(edge(bin), count));
        outline.push(plot.at(edge(bin + 1), count));
    }
    outline.push(plot.at(high, plot.y.start()));
    plot.canvas
        .polygon(&outline, colour(i), if outlined { 0.3 } else { 0.55 })?;
    plot.canvas.line(&outline, colour(i), 1.5)
}

fn draw_threshold(plot: &Plot, name: &str, x: f64, i: usize) -> Result<()> {
    let (x, _) = plot.at(x, plot.y.start());
    plot.canvas
        .dashed(&[(x, plot.top), (x, plot.bottom)], INK, 2.0)?;
    let width = text_width(name, 12.0);
    let (anchor, shift, from) = match x + width + 10.0 < plot.right {
        true => (Anchor::Left, 6.0, x + 3.0),
        false => (Anchor::Right, -6.0, x - width - 9.0),
    };
    let y = plot.top + 10.0 + (i % 4) as f64 * 16.0;
    plot.canvas
        .rect((from, y - 8.0), (from + width + 6.0, y + 8.0), WHITE, 0.8)?;
    plot.canvas
        .text((x + shift, y), name, TextStyle::new(12.0, anchor))
}
