//! Batch normalisation over the pixels of each channel, fused with a residual sum and an activation.
//!
//! Per channel `c`, over the `M = samples * height * width` pixels of a batch:
//!
//! ```text
//! mean = 1/M sum z        var = 1/M sum (z - mean)^2        (biased)
//! x^   = (z - mean) / sqrt(var + eps)
//! y    = act(gamma x^ + beta + residual)
//! ```
//!
//! Gradient, with `g = dL/d(pre-activation) = dy * act'`:
//!
//! ```text
//! dbeta = sum g           dgamma = sum g x^            dresidual = g
//! dz    = gamma / sqrt(var + eps) * (g - dbeta/M - x^ dgamma/M)     batch statistics
//! dz    = gamma / sqrt(var + eps) * g                               given statistics
//! ```
//!
//! Source: Ioffe and Szegedy, "Batch Normalization", arXiv:1502.03167, algorithms 1 and 2 and §3.

use dfdx::prelude::Storage;

use crate::error::Result;
use crate::ops::relu::Activation;

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod tape;
#[cfg(test)]
mod tests;

pub use tape::{BatchNormState, Mode, batch_norm2d, try_batch_norm2d};

/// Size of a channels-last buffer: `pixels = samples * height * width` rows of `channels` values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormShape {
    /// Rows.
    pub pixels: usize,
    /// Values of a row.
    pub channels: usize,
}

/// Fused kernels. `z`, `y`, `residual` and their gradients are `pixels x channels`, everything else has
/// one value per channel. NaN in `z` makes its whole channel NaN, as the formula says.
#[allow(clippy::too_many_arguments)]
pub trait BatchNormKernel: Storage<f32> {
    /// `y = act(gamma (z - mean) / sqrt(var + eps) + beta + residual)` with the statistics of this batch,
    /// which come out in `mean` and `var` (biased).
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for a buffer of another length, [`crate::Error::Invalid`] without a pixel.
    fn batch_norm_train(
        &self,
        s: NormShape,
        z: &Self::Vec,
        gamma: &Self::Vec,
        beta: &Self::Vec,
        eps: f32,
        residual: Option<&Self::Vec>,
        act: Activation,
        y: &mut Self::Vec,
        mean: &mut Self::Vec,
        var: &mut Self::Vec,
    ) -> Result<()>;

    /// The same with given (running) statistics.
    ///
    /// # Errors
    /// As [`batch_norm_train`](Self::batch_norm_train).
    fn batch_norm_infer(
        &self,
        s: NormShape,
        z: &Self::Vec,
        gamma: &Self::Vec,
        beta: &Self::Vec,
        mean: &Self::Vec,
        var: &Self::Vec,
        eps: f32,
        residual: Option<&Self::Vec>,
        act: Activation,
        y: &mut Self::Vec,
    ) -> Result<()>;

    /// Gradient where the batch's statistics (`mean`, `var`) are part of the graph.
    ///
    /// `dy` goes in as `dL/dy` and comes out as `dL/d(pre-activation)`, which is the residual's gradient;
    /// `dz`, `dgamma` and `dbeta` are overwritten.
    ///
    /// # Errors
    /// As [`batch_norm_train`](Self::batch_norm_train).
    fn batch_norm_grad(
        &self,
        s: NormShape,
        z: &Self::Vec,
        y: &Self::Vec,
        gamma: &Self::Vec,
        mean: &Self::Vec,
        var: &Self::Vec,
        eps: f32,
        act: Activation,
        dy: &mut Self::Vec,
        dz: &mut Self::Vec,
        dgamma: &mut Self::Vec,
        dbeta: &mut Self::Vec,
    ) -> Result<()>;

    /// Gradient where the statistics are constants (inference mode on a tape).
    ///
    /// # Errors
    /// As [`batch_norm_train`](Self::batch_norm_train).
    fn batch_norm_infer_grad(
        &self,
        s: NormShape,
        z: &Self::Vec,
        y: &Self::Vec,
        gamma: &Self::Vec,
        mean: &Self::Vec,
        var: &Self::Vec,
        eps: f32,
        act: Activation,
        dy: &mut Self::Vec,
        dz: &mut Self::Vec,
        dgamma: &mut Self::Vec,
        dbeta: &mut Self::Vec,
    ) -> Result<()>;
}
