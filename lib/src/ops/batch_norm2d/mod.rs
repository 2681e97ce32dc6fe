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

pub(crate) mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
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

/// What a batch norm computes from; `z` and `residual` are `pixels x channels`, `gamma` and `beta` have one value per
/// channel.
#[derive(Debug)]
pub struct NormInput<'a, V> {
    /// What is normalised.
    pub z: &'a V,
    /// Factor of each channel.
    pub gamma: &'a V,
    /// What is added to each channel.
    pub beta: &'a V,
    /// What keeps the root away from 0; not negative.
    pub eps: f32,
    /// What is added to each value before the activation.
    pub residual: Option<&'a V>,
    /// What follows.
    pub act: Activation,
}

/// What a forward leaves for its gradient; `z` and `y` are `pixels x channels`, the others per channel.
#[derive(Debug)]
pub struct NormSaved<'a, V> {
    /// What was normalised.
    pub z: &'a V,
    /// The result; not looked at without an activation.
    pub y: &'a V,
    /// Factor of each channel.
    pub gamma: &'a V,
    /// The mean that was taken off.
    pub mean: &'a V,
    /// The variance that was divided by.
    pub var: &'a V,
    /// As in the forward.
    pub eps: f32,
    /// As in the forward.
    pub act: Activation,
}

/// The gradients of a batch norm.
#[derive(Debug)]
pub struct NormGrads<'a, V> {
    /// Goes in as `dL/dy` and comes out as `dL/d(pre-activation)`, which is the residual's gradient.
    pub dy: &'a mut V,
    /// `dL/dz`, overwritten.
    pub dz: &'a mut V,
    /// `dL/dgamma`, overwritten.
    pub dgamma: &'a mut V,
    /// `dL/dbeta`, overwritten.
    pub dbeta: &'a mut V,
}

impl<V> Clone for NormInput<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for NormInput<'_, V> {}

/// Fused kernels. NaN in `z` makes its whole channel NaN, as the formula says.
pub trait BatchNormKernel: Storage<f32> {
    /// `y = act(gamma (z - mean) / sqrt(var + eps) + beta + residual)` with the statistics of this batch,
    /// which come out in `mean` and `var` (biased).
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for a buffer of another length, [`crate::Error::Invalid`] without a pixel and for an
    /// `eps` that is negative or no number.
    fn batch_norm_train(
        &self,
        s: NormShape,
        input: NormInput<Self::Vec>,
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
        input: NormInput<Self::Vec>,
        mean: &Self::Vec,
        var: &Self::Vec,
        y: &mut Self::Vec,
    ) -> Result<()>;

    /// Gradient where the batch's statistics are part of the graph.
    ///
    /// # Errors
    /// As [`batch_norm_train`](Self::batch_norm_train).
    fn batch_norm_grad(
        &self,
        s: NormShape,
        saved: NormSaved<Self::Vec>,
        grads: NormGrads<Self::Vec>,
    ) -> Result<()>;

    /// Gradient where the statistics are constants (inference mode on a tape).
    ///
    /// # Errors
    /// As [`batch_norm_train`](Self::batch_norm_train).
    fn batch_norm_infer_grad(
        &self,
        s: NormShape,
        saved: NormSaved<Self::Vec>,
        grads: NormGrads<Self::Vec>,
    ) -> Result<()>;
}
