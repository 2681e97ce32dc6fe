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
//! reuses every operand many times. Otherwise only free entries are computed, each as a sum over pixels:
//!
//! - a chunk in each lane: the dense gradient cuts the pixels into chunks, sums each and adds them, and here the chunks of
//!   a free entry are summed side by side in one register. The rows of as many images are turned for that;
//! - with AVX-512 also sixteen entries at a time: for each pixel and tap one permutation brings sixteen input channels into
//!   the places of sixteen free entries, another the output channels, and one multiply-add serves them all.
//!
//! All make the same sums in the same order, so the bits do not depend on the choice between them. It is made by measuring
//! them once for each shape on the machine at hand, which is remembered in the cache folder
//! (`$REBIT_CACHE/masked-gradient.json`, for this processor and version); `REBIT_TUNE=off` takes a fixed rule.
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
