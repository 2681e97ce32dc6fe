//! The mean of each window of a map, with windows and steps of any two sides.
//!
//! For windows of `kh x kw` pixels every `sh x sw` pixels, without padding:
//!
//! ```text
//! y[oy, ox] = 1/(kh kw) sum over ky < kh, kx < kw of x[oy sh + ky, ox sw + kx]
//! out = (in - kernel) / stride + 1, rounded down
//! dx[iy, ix] = 1/(kh kw) sum of dy over the windows that see this pixel
//! ```
//!
//! The mean over a whole map is [`global_avg_pool`](super::pool::global_avg_pool).

use dfdx::prelude::{HasShape, Storage};

use crate::error::{Error, Result};
use crate::ops::or_panic;
use crate::ops::parallel::{checked_product, expect_len};
use crate::ops::tape::{ImageOp, Recorder};
use crate::tensors::{Images, Shape4, dev};

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

/// Sizes of an average pool; buffers are `(batch, height, width, channels)`, pairs are (rows, columns).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPoolShape {
    /// Samples.
    pub batch: usize,
    /// Height and width of the input map.
    pub map: (usize, usize),
    /// Channels.
    pub channels: usize,
    /// Height and width of a window.
    pub kernel: (usize, usize),
    /// Steps from window to window.
    pub stride: (usize, usize),
}

impl AvgPoolShape {
    /// `(height, width)` of the output map.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a window or step of size 0, [`Error::Shape`] for a map smaller than the window.
    pub fn out(self) -> Result<(usize, usize)> {
        let (kernel, stride) = (self.kernel, self.stride);
        if [kernel.0, kernel.1, stride.0, stride.1].contains(&0) {
            return Err(Error::invalid(
                format!("avg_pool2d with kernel {kernel:?}, stride {stride:?}"),
                "all four are at least 1",
            ));
        }
        let side = |map: usize, kernel: usize, stride: usize| {
            map.checked_sub(kernel).map(|room| room / stride + 1)
        };
        let sides = (
            side(self.map.0, kernel.0, stride.0),
            side(self.map.1, kernel.1, stride.1),
        );
        let (Some(h), Some(w)) = sides else {
            return Err(Error::shape(
                "avg_pool2d",
                format!("a map of at least {}x{}", kernel.0, kernel.1),
                format!("{}x{}", self.map.0, self.map.1),
            ));
        };
        Ok((h, w))
    }

    /// `1 / (kh kw)`.
    fn share(self) -> f32 {
        1.0 / (self.kernel.0 * self.kernel.1) as f32
    }

    /// Output map, after comparing the lengths of both buffers with the shape.
    fn check(self, op: &'static str, map: usize, means: usize) -> Result<(usize, usize)> {
        let (h, w) = self.out()?;
        let (batch, c) = (self.batch, self.channels);
        let input = checked_product(op, &[batch, self.map.0, self.map.1, c])?;
        expect_len(op, "map", input, map)?;
        let output = checked_product(op, &[batch, h, w, c])?;
        expect_len(op, "means", output, means)?;
        Ok((h, w))
    }
}

/// Kernels on channels-last buffers. Errors are those of [`AvgPoolShape::out`] and [`Error::Shape`] for a buffer of
/// another length.
pub trait AvgPoolKernel: Storage<f32> {
    /// `y = means of x`.
    ///
    /// # Errors
    /// See the trait.
    fn avg_pool_forward(&self, s: AvgPoolShape, x: &Self::Vec, y: &mut Self::Vec) -> Result<()>;

    /// Gradient of the input; with `accumulate` it is added to `dx`.
    ///
    /// # Errors
    /// See the trait.
    fn avg_pool_grad(
        &self,
        s: AvgPoolShape,
        dy: &Self::Vec,
        dx: &mut Self::Vec,
        accumulate: bool,
    ) -> Result<()>;
}

/// The mean of each `kernel` (rows, columns) of `(N, C, H, W)` images, every `stride` pixels; see the [module](self).
///
/// ```
/// use rebit::ops::avg_pool::avg_pool2d;
/// use rebit::prelude::*;
/// let x: Images = from_vec((0..8).map(|i| i as f32).collect(), (1, 1, 2, 4))?;
/// assert_eq!(read(&avg_pool2d(x, (2, 1), (1, 2))), [2.0, 4.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_avg_pool2d`] fails.
#[track_caller]
pub fn avg_pool2d<T: Recorder>(
    x: Images<T>,
    kernel: (usize, usize),
    stride: (usize, usize),
) -> Images<T> {
    or_panic(try_avg_pool2d(x, kernel, stride))
}

/// See [`avg_pool2d`].
///
/// # Errors
/// As [`AvgPoolShape::out`].
pub fn try_avg_pool2d<T: Recorder>(
    x: Images<T>,
    kernel: (usize, usize),
    stride: (usize, usize),
) -> Result<Images<T>> {
    op(*x.shape(), kernel, stride)?.record(x)
}

fn op(
    (batch, channels, h, w): Shape4,
    kernel: (usize, usize),
    stride: (usize, usize),
) -> Result<ImageOp> {
    let s = AvgPoolShape {
        batch,
        map: (h, w),
        channels,
        kernel,
        stride,
    };
    let (out_h, out_w) = s.out()?;
    Ok(ImageOp::new(
        (batch, channels, out_h, out_w),
        move |x, y| dev().avg_pool_forward(s, x, y),
        move |_, dy, dx| dev().avg_pool_grad(s, dy, dx, false),
    ))
}
