//! Figures for notebooks: lines, histograms, bars, scatter, heat maps, grids of images, live curves, bodies.
//!
//! Every kind is a builder that ends in `figure()`; a [`Figure`] is SVG, so it needs no font on this
//! machine and stays sharp. Colours are those of Okabe and Ito, which colour-blind people tell apart.
//! The legend stands above the data, never on it.
//!
//! ```
//! use rebit::prelude::*;
//! let epochs = [1, 2, 3, 4];
//! let figure = plot::lines("ResNet-20 on CIFAR-10")
//!     .x("epoch")
//!     .y("accuracy, %")
//!     .series("LTS", epochs, [61.0, 74.0, 80.0, 83.0])
//!     .dashed("no freezing", epochs, [60.0, 75.0, 81.0, 84.0])
//!     .reference("full precision", 91.2)
//!     .figure();
//! assert!(figure.svg().starts_with("<svg"));
//! ```

mod axis;
mod bars;
mod canvas;
mod curve;
mod figure;
mod frame;
mod heatmap;
mod histogram;
mod images;
mod lines;
mod mesh;
mod people;
mod png;
mod scatter;
mod tensor;
mod turntable;

pub use bars::{Bars, bars};
pub use curve::LiveFigure;
pub use figure::{Figure, column, row};
pub use heatmap::{Heatmap, heatmap};
pub use histogram::{Histogram, histogram};
pub use images::{ImageGrid, images};
pub use lines::{Lines, lines};
pub use mesh::{MeshPlot, mesh};
pub use people::{ScenePlot, crops, scene};
pub use scatter::{Scatter, scatter};
pub use tensor::ShownElement;
pub use turntable::{Animation, turntable};

use crate::error::{Error, Result};

/// A number that can be drawn, or a reference to one.
pub trait Number {
    /// The number as the figures use it.
    fn number(&self) -> f64;
}

macro_rules! number {
    ($($t:ty),*) => { $(impl Number for $t {
        fn number(&self) -> f64 { *self as f64 }
    })* };
}
number!(f32, f64, u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);

impl<T: Number> Number for &T {
    fn number(&self) -> f64 {
        (**self).number()
    }
}

/// Plain numbers of whatever a caller has: a slice, a vector, a range, an array.
fn numbers<N: Number>(values: impl IntoIterator<Item = N>) -> Vec<f64> {
    values.into_iter().map(|v| v.number()).collect()
}

/// Points of two lists of coordinates.
fn points(kind: &'static str, name: &str, xs: Vec<f64>, ys: Vec<f64>) -> Result<Vec<(f64, f64)>> {
    if xs.len() != ys.len() {
        return Err(Error::shape(
            kind,
            format!("as many x as y for {name:?}"),
            format!("{} x and {} y", xs.len(), ys.len()),
        ));
    }
    Ok(xs.into_iter().zip(ys).collect())
}

/// At most about `4 * buckets` of the points of a curve that runs from left to right: first, lowest,
/// highest and last of each bucket, so that no peak is lost.
fn thinned(points: &[(f64, f64)], buckets: usize) -> Vec<(f64, f64)> {
    if points.len() <= 4 * buckets {
        return points.to_vec();
    }
    let mut out = Vec::new();
    for part in points.chunks(points.len().div_ceil(buckets)) {
        let by_y = |a: &&usize, b: &&usize| part[**a].1.total_cmp(&part[**b].1);
        let all: Vec<usize> = (0..part.len()).collect();
        let lowest = all.iter().min_by(by_y).copied().unwrap_or(0);
        let highest = all.iter().max_by(by_y).copied().unwrap_or(0);
        let mut kept = vec![0, lowest, highest, part.len() - 1];
        kept.sort_unstable();
        kept.dedup();
        out.extend(kept.into_iter().map(|i| part[i]));
    }
    out
}

/// Lowest and highest finite value; with `positive`, of those above zero.
fn extent<'a>(values: impl IntoIterator<Item = &'a f64>, positive: bool) -> Option<(f64, f64)> {
    let usable = values
        .into_iter()
        .copied()
        .filter(|v| v.is_finite() && (!positive || *v > 0.0));
    usable.fold(None, |range, v| match range {
        None => Some((v, v)),
        Some((low, high)) => Some((low.min(v), high.max(v))),
    })
}

#[cfg(test)]
mod tests;
