//! Curves over a common axis.

use super::axis::Axis;
use super::canvas::{AXIS, INK, Point, TextStyle, colour};
use super::canvas::{Anchor, WHITE, text_width};
use super::figure::Figure;
use super::frame::{Frame, Key, Plot, Sample, frame_methods};
use super::{Number, numbers, points, thinned};
use crate::error::{Error, Result};

/// Buckets of a curve: more points than pixels only make a file large.
const BUCKETS: usize = 400;

/// Curves in one chart; see [`lines`].
#[derive(Debug, Clone)]
pub struct Lines {
    frame: Frame,
    series: Vec<Series>,
    references: Vec<(String, f64)>,
    verticals: Vec<(String, f64)>,
    markers: bool,
    /// The first mistake of the caller, reported at the end so that the chain stays readable.
    mistake: Option<String>,
}

#[derive(Debug, Clone)]
struct Series {
    name: String,
    points: Vec<Point>,
    band: Option<(Vec<Point>, Vec<Point>)>,
    dashed: bool,
}

/// A chart of curves.
///
/// ```
/// use rebit::prelude::*;
/// let steps: Vec<f32> = (0..100).map(|i| i as f32).collect();
/// let loss: Vec<f32> = steps.iter().map(|s| 2.3 * (-s / 30.0).exp()).collect();
/// plot::lines("Training").x("step").y("loss").series("LTS", &steps, &loss).log_y().figure();
/// ```
pub fn lines(title: impl Into<String>) -> Lines {
    Lines {
        frame: Frame::new(title),
        series: Vec::new(),
        references: Vec::new(),
        verticals: Vec::new(),
        markers: false,
        mistake: None,
    }
}

impl Lines {
    frame_methods!();

    /// A curve; values that are not finite leave a gap. An empty name is left out of the legend.
    pub fn series<X: Number, Y: Number>(
        self,
        name: impl Into<String>,
        xs: impl IntoIterator<Item = X>,
        ys: impl IntoIterator<Item = Y>,
    ) -> Self {
        self.curve(name.into(), numbers(xs), numbers(ys), false)
    }

    /// A curve of dashes.
    pub fn dashed<X: Number, Y: Number>(
        self,
        name: impl Into<String>,
        xs: impl IntoIterator<Item = X>,
        ys: impl IntoIterator<Item = Y>,
    ) -> Self {
        self.curve(name.into(), numbers(xs), numbers(ys), true)
    }

    /// A curve that keeps each value until the next x, as a schedule does.
    pub fn steps<X: Number, Y: Number>(
        self,
        name: impl Into<String>,
        xs: impl IntoIterator<Item = X>,
        ys: impl IntoIterator<Item = Y>,
    ) -> Self {
        let (xs, ys) = (numbers(xs), numbers(ys));
        if xs.len() != ys.len() {
            return self.curve(name.into(), xs, ys, false);
        }
        let mut stairs = Vec::new();
        for (x, y) in xs.into_iter().zip(ys) {
            if let Some(&(_, before)) = stairs.last() {
                stairs.push((x, before));
            }
            stairs.push((x, y));
        }
        let (xs, ys) = stairs.into_iter().unzip();
        self.curve(name.into(), xs, ys, false)
    }

    /// A band around the last curve, from `low` to `high` at the curve's own x: an error, a spread.
    pub fn band<L: Number, H: Number>(
        mut self,
        low: impl IntoIterator<Item = L>,
        high: impl IntoIterator<Item = H>,
    ) -> Self {
        let (low, high) = (numbers(low), numbers(high));
        match self.series.last_mut() {
            Some(series) if series.points.len() == low.len() && low.len() == high.len() => {
                let edge = |ys: Vec<f64>| {
                    let xs = series.points.iter().map(|p| p.0);
                    xs.zip(ys).collect()
                };
                series.band = Some((edge(low), edge(high)));
            }
            Some(series) => {
                let (n, low, high) = (series.points.len(), low.len(), high.len());
                let why = format!("a band of {low} and {high} values around {n} points");
                self.mistake.get_or_insert(why);
            }
            None => {
                let why = "a band without a curve; call series first".to_string();
                self.mistake.get_or_insert(why);
            }
        }
        self
    }

    /// A dashed horizontal line at `y`, with its name in the legend.
    pub fn reference(mut self, name: impl Into<String>, y: impl Number) -> Self {
        self.references.push((name.into(), y.number()));
        self
    }

    /// A dashed vertical line at `x`, with its name beside it: an event, a change of the learning rate.
    pub fn vertical(mut self, name: impl Into<String>, x: impl Number) -> Self {
        self.verticals.push((name.into(), x.number()));
        self
    }

    /// A dot on every point of every curve.
    pub fn markers(mut self) -> Self {
        self.markers = true;
        self
    }

    fn curve(mut self, name: String, xs: Vec<f64>, ys: Vec<f64>, dashed: bool) -> Self {
        match points("lines", &name, xs, ys) {
            Ok(points) => self.series.push(Series {
                name,
                points,
                band: None,
                dashed,
            }),
            Err(e) => {
                self.mistake.get_or_insert(e.to_string());
            }
        }
        self
    }

    /// The finished figure.
    ///
    /// # Errors
    /// [`Error::Invalid`] for lists of different lengths, a band that does not fit its curve, or a size
    /// that leaves no room.
    pub fn try_figure(self) -> Result<Figure> {
        if let Some(mistake) = self.mistake {
            return Err(Error::invalid(
                format!("lines {:?}", self.frame.title),
                mistake,
            ));
        }
        let bands = self.series.iter().filter_map(|s| s.band.as_ref());
        let edges = bands.flat_map(|(low, high)| low.iter().chain(high));
        let all: Vec<Point> = self
            .series
            .iter()
            .flat_map(|s| &s.points)
            .chain(edges)
            .copied()
            .collect();
        let xs = all
            .iter()
            .map(|p| &p.0)
            .chain(self.verticals.iter().map(|v| &v.1));
        let ys = all
            .iter()
            .map(|p| &p.1)
            .chain(self.references.iter().map(|r| &r.1));
        let (x_marks, y_marks) = self.frame.mark_counts();
        let x = Axis::new(&self.frame.x, xs, 0.02, x_marks);
        let y = Axis::new(&self.frame.y, ys, 0.05, y_marks);

        let key = |name: &String, colour, sample| Key {
            name: name.clone(),
            colour,
            sample,
        };
        let curves = self.series.iter().enumerate().map(|(i, s)| {
            let sample = if s.dashed {
                Sample::Dashed
            } else {
                Sample::Line
            };
            key(&s.name, colour(i), sample)
        });
        let references = self
            .references
            .iter()
            .map(|(name, _)| key(name, INK, Sample::Dashed));
        let keys: Vec<Key> = curves
            .chain(references)
            .filter(|k| !k.name.is_empty())
            .collect();

        self.frame.draw((&x, &y), &keys, self.summary(), |plot| {
            self.series
                .iter()
                .enumerate()
                .try_for_each(|(i, series)| match &series.band {
                    Some((low, high)) => draw_band(plot, low, high, i),
                    None => Ok(()),
                })?;
            for (_, y) in &self.references {
                let (_, y) = plot.at(x.start(), *y);
                plot.canvas
                    .dashed(&[(plot.left, y), (plot.right, y)], INK, 1.5)?;
            }
            for (i, series) in self.series.iter().enumerate() {
                draw_curve(plot, series, i, self.markers)?;
            }
            self.draw_verticals(plot)
        })
    }

    fn draw_verticals(&self, plot: &Plot) -> Result<()> {
        for (i, (name, x)) in self.verticals.iter().enumerate() {
            let (x, _) = plot.at(*x, plot.y.start());
            plot.canvas
                .dashed(&[(x, plot.top), (x, plot.bottom)], AXIS, 1.5)?;
            let width = text_width(name, 12.0);
            // On the side with room, one line lower for each.
            let (anchor, shift) = match x + width + 8.0 < plot.right {
                true => (Anchor::Left, 5.0),
                false => (Anchor::Right, -5.0),
            };
            let y = plot.top + 9.0 + (i % 4) as f64 * 16.0;
            let from = if shift > 0.0 {
                x + 3.0
            } else {
                x - width - 7.0
            };
            plot.canvas
                .rect((from, y - 8.0), (from + width + 4.0, y + 8.0), WHITE, 0.8)?;
            plot.canvas
                .text((x + shift, y), name, TextStyle::new(12.0, anchor))?;
        }
        Ok(())
    }

    fn summary(&self) -> String {
        let mut text = format!("[figure: {}]", self.frame.title);
        for series in &self.series {
            if let (Some(first), Some(last)) = (series.points.first(), series.points.last()) {
                text += &format!(
                    "\n  {}: {} points, from {:.4} at {} to {:.4} at {}",
                    series.name,
                    series.points.len(),
                    first.1,
                    first.0,
                    last.1,
                    last.0
                );
            }
        }
        text
    }
}

fn draw_band(plot: &Plot, low: &[Point], high: &[Point], i: usize) -> Result<()> {
    let usable = |p: &Point| plot.x.takes(p.0) && plot.y.takes(p.1);
    let both: Vec<(Point, Point)> = low.iter().copied().zip(high.iter().copied()).collect();
    for run in both.split(|(l, h)| !(usable(l) && usable(h))) {
        let there = run.iter().map(|(l, _)| plot.at(l.0, l.1));
        let back = run.iter().rev().map(|(_, h)| plot.at(h.0, h.1));
        let outline: Vec<Point> = there.chain(back).collect();
        if outline.len() > 2 {
            plot.canvas.polygon(&outline, colour(i), 0.2)?;
        }
    }
    Ok(())
}

fn draw_curve(plot: &Plot, series: &Series, i: usize, markers: bool) -> Result<()> {
    for run in plot.runs(&series.points) {
        let alone = run.len() == 1;
        let run = thinned(&run, BUCKETS);
        match series.dashed {
            true => plot.canvas.dashed(&run, colour(i), 2.0)?,
            false => plot.canvas.line(&run, colour(i), 2.0)?,
        }
        if markers || alone {
            for &at in &run {
                plot.canvas.circle(at, 3.5, colour(i), 1.0)?;
            }
        }
    }
    Ok(())
}
