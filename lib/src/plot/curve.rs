//! Curves that grow while a cell runs.

use super::figure::{Figure, row};
use super::lines::{Lines, lines};
use super::{Number, canvas::Point};
use crate::show::LiveDisplay;

/// A chart that is redrawn while points arrive, at most twice a second.
///
/// Under rebit's kernel it changes in its place; elsewhere the finished chart is shown once, when it is
/// finished or dropped.
///
/// ```
/// use rebit::prelude::*;
/// let mut live = LiveFigure::new("loss").with_panel("accuracy, %").x("step");
/// for step in 0..100 {
///     live.push("train", step, 2.3 / (1.0 + step as f32));
///     if step % 20 == 0 {
///         live.push_to(1, "test", step, 10.0 + step as f32);
///     }
/// }
/// live.finish();
/// ```
pub struct LiveFigure {
    panels: Vec<Panel>,
    x: String,
    log_y: bool,
    display: LiveDisplay,
    /// Whether points arrived after the last redraw.
    changed: bool,
}

struct Panel {
    title: String,
    series: Vec<(String, Vec<Point>)>,
}

impl LiveFigure {
    /// A chart with one panel of this title.
    pub fn new(title: impl Into<String>) -> Self {
        LiveFigure {
            panels: Vec::new(),
            x: String::new(),
            log_y: false,
            display: LiveDisplay::new(),
            changed: false,
        }
        .with_panel(title)
    }

    /// One more panel, beside the others.
    pub fn with_panel(mut self, title: impl Into<String>) -> Self {
        self.panels.push(Panel {
            title: title.into(),
            series: Vec::new(),
        });
        self
    }

    /// What the horizontal axes show.
    pub fn x(mut self, label: impl Into<String>) -> Self {
        self.x = label.into();
        self
    }

    /// A logarithmic vertical axis for the first panel.
    pub fn log_y(mut self) -> Self {
        self.log_y = true;
        self
    }

    /// Adds a point to a curve of the first panel; a new name starts a new curve.
    pub fn push(&mut self, series: &str, x: impl Number, y: impl Number) {
        self.push_to(0, series, x, y);
    }

    /// Adds a point to a curve of panel `panel`, counted from 0; a panel that is not there is the last.
    pub fn push_to(&mut self, panel: usize, series: &str, x: impl Number, y: impl Number) {
        let last = self.panels.len() - 1;
        let curves = &mut self.panels[panel.min(last)].series;
        let point = (x.number(), y.number());
        match curves.iter_mut().find(|(name, _)| name == series) {
            Some((_, points)) => points.push(point),
            None => curves.push((series.to_string(), vec![point])),
        }
        self.changed = true;
        if self.display.is_due() {
            self.redraw();
        }
    }

    /// The chart as it is now.
    pub fn figure(&self) -> Figure {
        let mut panels = self.panels.iter().enumerate().map(|(i, panel)| {
            let mut chart: Lines = lines(panel.title.clone()).x(self.x.clone());
            if self.panels.len() > 1 {
                chart = chart.size(400, 300);
            }
            if self.log_y && i == 0 {
                chart = chart.log_y();
            }
            for (name, points) in &panel.series {
                let (xs, ys): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
                chart = chart.series(name.clone(), xs, ys);
            }
            chart.figure()
        });
        match self.panels.len() {
            1 => panels.next_back().unwrap_or_else(|| row([])),
            _ => row(panels),
        }
    }

    /// Shows the chart as it is now, if it changed. Dropping does the same.
    pub fn finish(&mut self) {
        if self.changed {
            self.redraw();
        }
        self.display.finish();
    }

    fn redraw(&mut self) {
        self.display.update(&self.figure());
        self.changed = false;
    }
}

impl Drop for LiveFigure {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.finish();
        }
    }
}
