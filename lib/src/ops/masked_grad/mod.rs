//! The gradient of a convolution's weights where they are still free, and nowhere else.
//!
//! Quantisation-aware training with freezing (LTS) fixes more and more weights for good. The gradient of a frozen
//! entry is never used, and this op does not compute it:
//!
//! ```text
//! dw[k] = 0                       where entry k is frozen
//! dw[k] = dL/dw[k]                elsewhere, as in [`conv2d`](super::conv2d), to rounding
//! ```
//!
//! While many entries are free the dense product is the quickest way to a few of its numbers, because a register tile
//! reuses every operand many times. Otherwise only free entries are computed, each as a sum over pixels:
//!
//! - with AVX-512, sixteen at a time: for each pixel and tap one permutation brings sixteen input channels into the
//!   places of sixteen free entries, another the output channels, and one multiply-add serves them all. Which entries
//!   share a register is decided once a call, and so is, from the permutations it takes, whether it beats the dense
//!   product (random masks: from about half of the entries on);
//! - elsewhere, below a measured share ([`SAMPLED_SHARE`]), one by one: the images are turned so that a channel's
//!   pixels are neighbours, and `dw[o, c, u, v]` is the dot product of the plane of `dL/dy` in channel `o` with the
//!   plane of the input in channel `c`, moved by `(u, v)`.
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

/// Share of free entries below which they are computed one by one, without AVX-512.
pub const SAMPLED_SHARE: f64 = 0.3;

/// The same for a 1x1 kernel, whose few products do not pay for turning the images earlier.
pub const SAMPLED_SHARE_POINTWISE: f64 = 0.05;

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
