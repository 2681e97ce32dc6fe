//! Pooling: the largest value of a window, and the mean over a whole map.
//!
//! ```text
//! max:  y[oy, ox] = max over ky, kx < kernel of x[oy stride + ky - padding, ox stride + kx - padding]
//!       out = (in + 2 padding - kernel) / stride + 1, rounded down; outside the map there is nothing
//! mean: y = 1/(H W) sum over the map of x
//! ```
//!
//! The gradient of the maximum goes to the first largest value of the window in row-major order, as in
//! PyTorch; a NaN counts as largest. The gradient of the mean is `dy / (H W)` everywhere.

use dfdx::prelude::Storage;

use crate::error::{Error, Result};
use crate::ops::parallel::checked_product;

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod tape;
#[cfg(test)]
mod tests;

pub use tape::{global_avg_pool, max_pool2d, try_global_avg_pool, try_max_pool2d};

/// Sizes of a max pool; buffers are `(batch, height, width, channels)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// Samples.
    pub batch: usize,
    /// Height of the input map.
    pub in_h: usize,
    /// Width of the input map.
    pub in_w: usize,
    /// Channels.
    pub channels: usize,
    /// Side of the square window.
    pub kernel: usize,
    /// Step from window to window.
    pub stride: usize,
    /// Rows and columns of nothing around the map.
    pub padding: usize,
}

impl PoolShape {
    /// `(height, width)` of the output map.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a window, stride or map of size 0 and for padding over half the window (a
    /// window could then see nothing); [`Error::Shape`] for a map smaller than the window.
    pub fn out(self) -> Result<(usize, usize)> {
        if self.kernel == 0 || self.stride == 0 || self.padding > self.kernel / 2 {
            return Err(Error::invalid(
                format!(
                    "max_pool2d with kernel {}, stride {}, padding {}",
                    self.kernel, self.stride, self.padding
                ),
                "kernel and stride are at least 1, padding is at most half the kernel",
            ));
        }
        // Padding is at most half a kernel that fits into what can be counted.
        let side = |len: usize| {
            let padded = len.checked_add(self.padding)?.checked_add(self.padding)?;
            padded.checked_sub(self.kernel)
        };
        match (side(self.in_h), side(self.in_w)) {
            (Some(h), Some(w)) if self.in_h > 0 && self.in_w > 0 => {
                Ok((h / self.stride + 1, w / self.stride + 1))
            }
            _ => Err(Error::shape(
                "max_pool2d",
                format!(
                    "a map of at least {0}x{0} with padding {1}",
                    self.kernel, self.padding
                ),
                format!("{}x{}", self.in_h, self.in_w),
            )),
        }
    }

    /// Elements of the input buffer, of which there cannot be more than can be counted.
    pub fn in_len(self) -> usize {
        [self.in_h, self.in_w, self.channels]
            .into_iter()
            .fold(self.batch, usize::saturating_mul)
    }

    /// Elements of the output buffer.
    ///
    /// # Errors
    /// As [`out`](Self::out).
    pub fn out_len(self) -> Result<usize> {
        let (h, w) = self.out()?;
        checked_product("max_pool2d", &[self.batch, h, w, self.channels])
    }
}

/// Kernels on channels-last buffers. Errors are those of [`PoolShape::out`] and [`Error::Shape`] for a
/// buffer of another length.
pub trait PoolKernel: Storage<f32> {
    /// `y = max pool of x`.
    fn max_pool_forward(&self, s: PoolShape, x: &Self::Vec, y: &mut Self::Vec) -> Result<()>;

    /// Gradient of the input; the winners are found again in `x`, nothing need be kept from the forward.
    fn max_pool_grad(
        &self,
        s: PoolShape,
        x: &Self::Vec,
        dy: &Self::Vec,
        dx: &mut Self::Vec,
        accumulate: bool,
    ) -> Result<()>;

    /// `y[b, c] = mean over pixels of x[b, pixel, c]`.
    fn global_avg_pool_forward(
        &self,
        batch: usize,
        pixels_per_image: usize,
        channels: usize,
        x: &Self::Vec,
        y: &mut Self::Vec,
    ) -> Result<()>;

    /// `dx[b, pixel, c] = dy[b, c] / pixels`.
    fn global_avg_pool_grad(
        &self,
        batch: usize,
        pixels_per_image: usize,
        channels: usize,
        dy: &Self::Vec,
        dx: &mut Self::Vec,
        accumulate: bool,
    ) -> Result<()>;
}
