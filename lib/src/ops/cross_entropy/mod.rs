//! Softmax cross entropy, the mean over samples, with optional label smoothing.
//!
//! For logits `z` of `K` classes, the label `k` and smoothing `s`:
//!
//! ```text
//! p_j  = exp(z_j) / sum_i exp(z_i)
//! t_j  = (1 - s) [j = k] + s/K
//! loss = mean over samples of - sum_j t_j ln p_j
//! dloss/dz_j = (p_j - t_j) / samples
//! ```
//!
//! Computed from `z - max z`, so that no exponential overflows. Smoothing as in Szegedy et al., "Rethinking
//! the Inception Architecture", arXiv:1512.00567, §7.

use dfdx::prelude::Storage;

use crate::error::Result;

mod cpu;

/// Kernel on `(samples, classes)` buffers.
pub trait CrossEntropyKernel: Storage<f32> {
    /// The mean loss; with `dlogits`, which is overwritten, its gradient too. NaN logits give a NaN loss.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for buffers or labels of another length, [`crate::Error::Invalid`] without a
    /// sample or class, for a label outside `0..classes` and for smoothing outside `[0, 1)`.
    fn cross_entropy(
        &self,
        samples: usize,
        classes: usize,
        logits: &Self::Vec,
        labels: &[u32],
        smoothing: f32,
        dlogits: Option<&mut Self::Vec>,
    ) -> Result<f32>;
}
