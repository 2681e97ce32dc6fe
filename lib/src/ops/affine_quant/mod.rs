//! Asymmetric uniform fake quantisation: a range and a whole-number zero point, for a tensor or for each of its output
//! channels.
//!
//! For the range `[l, u]` and `k` bits:
//!
//! ```text
//! s = (2^k - 1) / max(u - l, 1e-8)      z = round(s l) + 2^(k-1)
//! q = clamp(round(s x - z), -2^(k-1), 2^(k-1) - 1)            y = (q + z) / s
//! dL/dx = dL/dy                          for every element, clipped ones too
//! ```
//!
//! All rounding is half to even. `z` is a whole number, so 0 is a level wherever the range holds it. The gradient is
//! straight through and the range is a constant: it is taken from the data (a weight's own minimum and maximum, a
//! moving average of an activation's). NaN stays NaN.
//!
//! Source: Zhong et al., "IntraQ", arXiv:2111.09136, §4.1, and the authors' code.

use dfdx::prelude::{HasShape, PutTape, ReshapeTo, Shape, Storage, Tensor};

use crate::buffer::HostAccess;
use crate::error::{Error, Result};
use crate::ops::fake_quant::{Bounds, levels};
use crate::ops::or_panic;
use crate::ops::parallel::expect_len;
use crate::ops::tape::{BackwardOp, Recorder, backward_of, load, split_flat, store, zeros};
use crate::tensors::{Dev, Vector, dev};

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

/// The grid of one range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AffineGrid {
    /// `s`: level steps in one unit of `x`.
    pub scale: f32,
    /// `z`, a whole number.
    pub zero: f32,
    /// `-2^(k-1)`, the lowest `q`.
    pub lowest: f32,
    /// `2^(k-1) - 1`, the highest `q`.
    pub highest: f32,
}

impl AffineGrid {
    /// The grid of `range` with `2^bits` levels. A range of one point has a grid too: very fine, around it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for bounds that are not finite or cross, and for bits outside 1 to 16.
    ///
    /// ```
    /// use rebit::ops::{affine_quant::AffineGrid, fake_quant::Bounds};
    /// let grid = AffineGrid::new(Bounds::new(-1.0, 2.0), 2)?;
    /// assert_eq!([-9.0, -0.4, 0.6, 1.6, 9.0].map(|x| grid.quantise(x)), [-1.0, 0.0, 1.0, 2.0, 2.0]);
    /// # Ok::<(), rebit::Error>(())
    /// ```
    pub fn new(range: Bounds, bits: u32) -> Result<Self> {
        let Bounds { lower, upper } = range;
        let width = range.width();
        if !lower.is_finite() || !upper.is_finite() || !width.is_finite() || width < 0.0 {
            return Err(Error::invalid(
                format!("affine range lower = {lower}, upper = {upper}"),
                "both must be finite and upper at least lower; take them from data without NaN",
            ));
        }
        let half = 2f32.powi(bits as i32 - 1);
        let scale = levels(bits)? as f32 / width.max(1e-8);
        Ok(AffineGrid {
            scale,
            zero: (scale * lower).round_ties_even() + half,
            lowest: -half,
            highest: half - 1.0,
        })
    }

    /// `q` of one value, a whole number.
    #[inline(always)]
    pub fn level(self, x: f32) -> f32 {
        let q = (self.scale * x - self.zero).round_ties_even();
        let q = if q < self.lowest { self.lowest } else { q };
        if q > self.highest { self.highest } else { q }
    }

    /// `y` of one value.
    #[inline(always)]
    pub fn quantise(self, x: f32) -> f32 {
        (self.level(x) + self.zero) / self.scale
    }
}

/// Smallest and largest number of each of `channels` equal parts of `values`: the ranges of a weight's output channels
/// (its first axis), or of a whole tensor with 1.
///
/// # Errors
/// [`Error::Shape`] unless the parts come out even and hold something, [`Error::Invalid`] for a value that is not
/// finite.
pub fn ranges(values: &[f32], channels: usize) -> Result<Vec<Bounds>> {
    if channels == 0 || values.is_empty() || !values.len().is_multiple_of(channels) {
        return Err(Error::shape(
            "affine ranges",
            format!("a multiple of {channels} channels, at least one value each"),
            format!("{} values", values.len()),
        ));
    }
    let range = |(k, part): (usize, &[f32])| {
        let (mut lower, mut upper) = (f32::INFINITY, f32::NEG_INFINITY);
        for &v in part {
            if !v.is_finite() {
                return Err(Error::invalid(
                    format!("{v} in channel {k}"),
                    "a range is taken from finite numbers; a diverged run gives others, lower the learning rate",
                ));
            }
            (lower, upper) = (lower.min(v), upper.max(v));
        }
        Ok(Bounds::new(lower, upper))
    };
    let parts = values.chunks_exact(values.len() / channels).enumerate();
    parts.map(range).collect()
}

/// Kernels on buffers of `grids.len()` equal parts: one grid for all, or one for each output channel of a weight.
pub trait AffineQuantKernel: Storage<f32> {
    /// `y = (q + z) / s`; its gradient is that of the identity.
    ///
    /// # Errors
    /// [`Error::Shape`] for buffers that do not fit, [`Error::Invalid`] for a grid without a scale.
    fn affine_quant(&self, x: &Self::Vec, grids: &[AffineGrid], y: &mut Self::Vec) -> Result<()>;
}

/// Elements of each grid's part.
fn part_len(x: usize, grids: &[AffineGrid], y: usize) -> Result<usize> {
    expect_len("affine_quant", "y", x, y)?;
    if grids.is_empty() || !x.is_multiple_of(grids.len()) {
        return Err(Error::shape(
            "affine_quant",
            format!("a multiple of {} channels, one grid each", grids.len()),
            format!("{x} elements"),
        ));
    }
    if let Some(grid) = grids
        .iter()
        .find(|g| !g.scale.is_normal() || !g.zero.is_finite())
    {
        return Err(Error::invalid(
            format!("affine grid with scale {}, zero {}", grid.scale, grid.zero),
            "a grid comes from AffineGrid::new",
        ));
    }
    Ok(x / grids.len())
}

/// Quantises any tensor to `2^bits` levels of one range, or, with as many ranges as its first axis is long, each output
/// channel to its own; see the [module](self).
///
/// ```
/// use rebit::ops::affine_quant::{affine_quant, ranges};
/// use rebit::prelude::*;
/// let w = from_vec(vec![0.0, 0.4, 1.0, -2.0, 0.0, 1.0], (2, 3))?;
/// let own = ranges(&read(&w), 2)?;
/// assert_eq!(read(&affine_quant(w, &own, 1)), [0.0, 0.0, 1.0, -3.0, 0.0, 0.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_affine_quant`] fails.
#[track_caller]
pub fn affine_quant<S: Shape, T: Recorder>(
    x: Tensor<S, f32, Dev, T>,
    ranges: &[Bounds],
    bits: u32,
) -> Tensor<S, f32, Dev, T> {
    or_panic(try_affine_quant(x, ranges, bits))
}

/// See [`affine_quant`].
///
/// # Errors
/// As [`AffineGrid::new`]; [`Error::Shape`] unless there is one range, or one for each output channel.
pub fn try_affine_quant<S: Shape, T: Recorder>(
    x: Tensor<S, f32, Dev, T>,
    ranges: &[Bounds],
    bits: u32,
) -> Result<Tensor<S, f32, Dev, T>> {
    let shape = *x.shape();
    let sides: Vec<usize> = shape.concrete().into_iter().collect();
    let grids = grids(&sides, ranges, bits)?;
    let (x, tape) = split_flat(x)?;
    let (y, backward) = record(x, &grids)?;
    let y = y.try_reshape_like(&shape)?;
    Ok(y.put_tape(tape.record(backward)))
}

fn grids(sides: &[usize], ranges: &[Bounds], bits: u32) -> Result<Vec<AffineGrid>> {
    let channels = sides.first().copied().unwrap_or(1);
    if ranges.len() != 1 && (ranges.len() != channels || channels == 0) {
        return Err(Error::shape(
            "affine_quant",
            format!("1 range, or {channels}, one for each output channel of {sides:?}"),
            format!("{} ranges", ranges.len()),
        ));
    }
    let grid = |range: &Bounds| AffineGrid::new(*range, bits);
    ranges.iter().map(grid).collect()
}

fn record(x: Vector, grids: &[AffineGrid]) -> Result<(Vector, BackwardOp)> {
    let values = load(&x)?;
    let mut y = zeros(values.elements())?;
    dev().affine_quant(&values, grids, &mut y)?;
    let y = store(y, *x.shape())?;
    let backward = backward_of(&y, move |grads, dy| {
        crate::ops::tape::add_gradient(grads, &x, dy)
    });
    Ok((y, backward))
}
