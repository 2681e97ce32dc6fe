//! The gradient of a convolution's weights where they are still free, and nowhere else.
//!
//! Quantisation-aware training with freezing (LTS) fixes more and more weights for good. The gradient of a frozen
//! entry is never used, and this op does not compute it:
//!
//! ```text
//! dw[k] = 0                       where entry k is frozen
//! dw[k] = dL/dw[k]                elsewhere, as in [`conv2d`](super::conv2d), to the bit on a CPU
//! ```
//!
//! While many entries are free the dense product is the quickest way to a few of its numbers, because a register tile
//! reuses every operand many times. Otherwise only free entries are computed, each as a sum over pixels: the dense
//! gradient cuts the pixels into chunks, sums each and adds them, and a free entry's chunks are summed side by side, one in
//! each lane of a register. For that the rows of as many images are turned, so that a pixel's lanes are neighbours.
//!
//! Both ways make the same sums in the same order, so the bits do not depend on the choice between them. It is made by
//! measuring both once for each shape on the machine at hand, a few milliseconds that are remembered in the cache folder
//! (`$REBIT_CACHE/masked-gradient.json`, for this processor and version); `REBIT_TUNE=off` takes a fixed rule: free
//! entries one by one from a half of the entries down, less where lanes are idle.
//!
//! A layer without a free entry costs nothing.
//!
//! The bias has no mask; its gradient is computed when asked for.

use super::conv2d::{Conv2dKernel, ConvInput, ConvShape};
use crate::error::Result;

pub(crate) mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod mask;

pub use mask::FreezeMask;

/// A device's masked weight gradient.
pub trait MaskedGradKernel: Conv2dKernel {
    /// As [`Conv2dKernel::conv2d_grad_weight`], but zero in frozen entries, whose gradient is not computed.
    ///
    /// # Errors
    /// A shape that [`ConvShape::check`] refuses; [`crate::Error::Shape`] for a buffer or a mask of the wrong length.
    fn conv2d_grad_weight_masked(
        &self,
        s: &ConvShape,
        x: ConvInput<Self::Vec>,
        dy: &Self::Vec,
        frozen: &FreezeMask,
        dw: &mut Self::Vec,
        dbias: Option<&mut Self::Vec>,
    ) -> Result<()>;
}

#[cfg(test)]
mod tests;
