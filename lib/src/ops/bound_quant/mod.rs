//! Fake quantisation between two trainable bounds, per sample, on a grid that contains zero.
//!
//! With bounds `l < u`, `n` steps between them and `s = n / (u - l)`, the reciprocal of a step:
//!
//! ```text
//! c = max(min(x, u), l)          y = round(s c) / s          half to even
//! ```
//!
//! The grid is anchored at 0, which is exact, and not at `l`: the outermost levels miss the bounds by up to half a
//! step. `n = 2^b - 1` gives at most `2^b` levels, one more only when both `s l` and `s u` are halves. The
//! symmetric quantiser of PAMS is the same formula with `l = -a`, `u = a`, `n = 2^b - 2`.
//!
//! Rounding has the gradient of the identity (straight-through estimator), everything else its own. With the
//! residual `R = y - c`:
//!
//! ```text
//! dy/dx = 1{l < x < u}      dy/du = 1{x > u} + R / (u - l)      dy/dl = 1{x < l} - R / (u - l)
//! ```
//!
//! At `x = u` and `x = l` the indicators are 1/2, as those of a minimum and a maximum on a tape. The `R` terms come from
//! `s`, as in LSQ. The gradient of a bound is the sum over its sample. NaN stays NaN and sends no gradient.
//!
//! Source: Zhong et al., "Dynamic Dual Trainable Bounds for Ultra-low Precision Super-Resolution Networks",
//! arXiv:2203.03844, as in the authors' code; the closed form of the gradient is derived from it. PAMS: Li et al.,
//! arXiv:2011.04212.

use dfdx::prelude::Storage;

use crate::error::{Error, Result};
use crate::ops::fake_quant::{BoundGrad, Bounds, levels};

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod tape;
#[cfg(test)]
mod tests;

pub use tape::{bound_quant, symmetric_quant, try_bound_quant, try_symmetric_quant};

/// A quantiser: bounds and the number of steps between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoundQuant {
    /// `l`.
    pub lower: f32,
    /// `u`.
    pub upper: f32,
    /// `n`.
    pub steps: u32,
}

impl BoundQuant {
    /// Two bounds, `2^bits - 1` steps.
    ///
    /// # Errors
    /// As [`Bounds::check`]; [`Error::Invalid`] for bits outside 1 to 16.
    pub fn dual(bounds: Bounds, bits: u32) -> Result<Self> {
        let Bounds { lower, upper } = bounds.check()?;
        Ok(BoundQuant {
            lower,
            upper,
            steps: levels(bits)?,
        })
    }

    /// From `-bound` to `bound` in `2^bits - 2` steps: `2^(bits-1) - 1` levels on either side of 0.
    ///
    /// # Errors
    /// As [`dual`](Self::dual); [`Error::Invalid`] below 2 bits, where 0 alone would be left.
    pub fn symmetric(bound: f32, bits: u32) -> Result<Self> {
        if bits < 2 {
            return Err(Error::invalid(
                format!("{bits} bits"),
                "a symmetric quantiser needs at least 2: zero and a level on either side",
            ));
        }
        let Bounds { lower, upper } = Bounds::new(-bound, bound).check()?;
        Ok(BoundQuant {
            lower,
            upper,
            steps: levels(bits)? - 1,
        })
    }

    /// `1 / s`, the distance of neighbouring levels.
    pub fn step(self) -> f32 {
        (self.upper - self.lower) / self.steps as f32
    }

    /// `y` of one value.
    #[inline(always)]
    pub fn quantise(self, x: f32) -> f32 {
        let scale = self.steps as f32 / (self.upper - self.lower);
        (scale * clamp(x, self.lower, self.upper)).round_ties_even() / scale
    }

    /// The levels, from the lowest to the highest.
    pub fn levels(self) -> Vec<f32> {
        let scale = self.steps as f32 / (self.upper - self.lower);
        let whole = |x: f32| (scale * x).round_ties_even() as i64;
        (whole(self.lower)..=whole(self.upper))
            .map(|k| k as f32 / scale)
            .collect()
    }

    fn check(self) -> Result<()> {
        if self.steps == 0 {
            return Err(Error::invalid(
                "bound_quant with 0 steps",
                "needs at least 1",
            ));
        }
        Bounds::new(self.lower, self.upper).check().map(drop)
    }
}

/// `max(min(x, upper), lower)`; NaN stays NaN.
#[inline(always)]
fn clamp(x: f32, lower: f32, upper: f32) -> f32 {
    let x = if x > upper { upper } else { x };
    if x < lower { lower } else { x }
}

/// Kernels on buffers of `q.len()` samples of equal length, one quantiser a sample.
pub trait BoundQuantKernel: Storage<f32> {
    /// `y = round(s c) / s`.
    ///
    /// # Errors
    /// [`Error::Shape`] for buffers that do not fit, and what the constructors of [`BoundQuant`] refuse.
    fn bound_quant_forward(&self, x: &Self::Vec, q: &[BoundQuant], y: &mut Self::Vec)
    -> Result<()>;

    /// `dx = dL/dx`, added to `dx` with `accumulate`; returns the gradients of each sample's bounds.
    ///
    /// # Errors
    /// As [`bound_quant_forward`](Self::bound_quant_forward).
    fn bound_quant_grad(
        &self,
        x: &Self::Vec,
        q: &[BoundQuant],
        dy: &Self::Vec,
        dx: &mut Self::Vec,
        accumulate: bool,
    ) -> Result<Vec<BoundGrad>>;
}
