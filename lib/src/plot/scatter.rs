//! Points.

use super::axis::Axis;
use super::canvas::{AXIS, Anchor, Point, TextStyle, colour};
use super::figure::Figure;
use super::frame::{Frame, Key, Sample, frame_methods};
use super::{Number, numbers, points};
use crate::error::{Error, Result};

/// Points in one chart; see [`scatter`].
#[derive(Debug, Clone)]
pub struct Scatter {
    frame: Frame,
    series: Vec<(String, Vec<Point>)>,
    notes: Vec<(String, Point)>,
    diagonal: bool,
    radius: Option<f64>,
    mistake: Option<String>,
}

/// A chart of points.
///
/// ```
/// use rebit::prelude::*;
/// plot::scatter("Size and accuracy")
///     .x("MB")
///     .y("accuracy, %")
///     .series("2 bit", [0.07, 0.3], [88.0, 91.0])
///     .note("ours", 0.3, 91.0)
///     .figure();
/// ```
pub fn scatter(title: impl Into<String>) -> Scatter {
    Scatter {
        frame: Frame::new(title),
        series: Vec::new(),
        notes: Vec::new(),
        diagonal: false,
        radius: None,
        mistake: None,
    }
}

impl Scatter {
    frame_methods!();

    /// Points of one colour; those that are not finite are left out.
    pub fn series<X: Number, Y: Number>(
        mut self,
        name: impl Into<String>,
        xs: impl IntoIterator<Item = X>,
        ys: impl IntoIterator<Item = Y>,
    ) -> Self {
        let name = name.into();
        match points("scatter", &name, numbers(xs), numbers(ys)) {
            Ok(points) => self.series.push((name, points)),
            Err(e) => {
                self.mistake.get_or_insert(e.to_string());
            }
        }
        self
    }

    /// A text beside the point (x, y).
    pub fn note(mut self, text: impl Into<String>, x: impl Number, y: impl Number) -> Self {
        self.notes.push((text.into(), (x.number(), y.number())));
        self
    }

    /// The line y = x.
    pub fn diagonal(mut self) -> Self {
        self.diagonal = true;
        self
    }

    /// The radius of a point in pixels; chosen by the number of points if not set.
    pub fn radius(mut self, radius: f64) -> Self {
        self.radius = Some(radius);
        self
    }

    /// The finished figure.
    ///
    /// # Errors
    /// [`Error::Invalid`] for lists of different lengths, or a size that leaves no room.
    pub fn try_figure(self) -> Result<Figure> {
        if let Some(mistake) = self.mistake {
            return Err(Error::invalid(
                format!("scatter {:?}", self.frame.title),
                mistake,
            ));
        }
        let all: Vec<Point> = self.series.iter().flat_map(|s| &s.1).copied().collect();
        let (x_marks, y_marks) = self.frame.mark_counts();
        let x = Axis::new(&self.frame.x, all.iter().map(|p| &p.0), 0.04, x_marks);
        let y = Axis::new(&self.frame.y, all.iter().map(|p| &p.1), 0.06, y_marks);
        let (radius, opacity) = match all.len() {
            0..=100 => (4.5, 0.85),
            101..=2000 => (3.0, 0.55),
            _ => (1.75, 0.35),
        };
        let radius = self.radius.unwrap_or(radius).clamp(0.25, 50.0);
        let named = self
            .series
            .iter()
            .enumerate()
            .filter(|(_, s)| !s.0.is_empty());
        let keys: Vec<Key> = named
            .map(|(i, s)| Key {
                name: s.0.clone(),
                colour: colour(i),
                sample: Sample::Dot,
            })
            .collect();
        let summary = format!("[figure: {}]\n  {} points", self.frame.title, all.len());
        self.frame.draw((&x, &y), &keys, summary, |plot| {
            if self.diagonal {
                let (from, to) = (x.start().max(y.start()), x.end().min(y.end()));
                if from < to {
                    plot.canvas
                        .dashed(&[plot.at(from, from), plot.at(to, to)], AXIS, 1.5)?;
                }
            }
            for (i, (_, points)) in self.series.iter().enumerate() {
                for at in plot.runs(points).concat() {
                    plot.canvas.circle(at, radius, colour(i), opacity)?;
                }
            }
            for (text, (nx, ny)) in &self.notes {
                let (px, py) = plot.at(*nx, *ny);
                let (anchor, shift) = match px < (plot.left + plot.right * 3.0) / 4.0 {
                    true => (Anchor::Left, radius + 4.0),
                    false => (Anchor::Right, -radius - 4.0),
                };
                let at = (px + shift, py - 8.0);
                plot.canvas.text(at, text, TextStyle::new(12.0, anchor))?;
            }
            Ok(())
        })
    }
}
