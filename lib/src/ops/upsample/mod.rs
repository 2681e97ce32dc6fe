//! Enlarging maps by whole factors: pixels repeated, or twice the size by straight lines between pixels.
//!
//! Along one axis, from `n` to `m` pixels, output `o` reads the input at the place `p` (in pixels, 0 the first centre):
//!
//! ```text
//! nearest(f)                  m = f n     y[o] = x[o / f], rounded down
//! bilinear, half-pixel        m = 2 n     p = max((o + 1/2) / 2 - 1/2, 0)
//! bilinear, aligned corners   m = 2 n     p = o (n - 1) / (2 n - 1)
//! bilinear                    i = floor(p), t = p - i:   y[o] = (1 - t) x[i] + t x[min(i + 1, n - 1)]
//! ```
//!
//! Two axes are one after the other. Half-pixel places lie where the pixels of a picture lie that is scaled as a whole;
//! aligned corners put the outermost centres onto each other. They are PyTorch's `align_corners=False` and `True`. It
//! is linear: the gradient applies the same weights the other way round.

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

/// How a map is enlarged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Upsample {
    /// Each pixel becomes a square of this side.
    Nearest(usize),
    /// Twice the size; centres as in a picture that is scaled as a whole.
    Bilinear,
    /// Twice the size; the outermost centres stay where they are.
    BilinearAligned,
}

impl Upsample {
    /// How many times longer each side gets.
    pub fn factor(self) -> usize {
        match self {
            Upsample::Nearest(factor) => factor,
            Upsample::Bilinear | Upsample::BilinearAligned => 2,
        }
    }

    /// What output `o` of an axis of `n` pixels reads: the first pixel, and the weight of the one after it.
    #[inline(always)]
    fn tap(self, n: usize, o: usize) -> (usize, f32) {
        let place = match self {
            Upsample::Nearest(factor) => return (o / factor, 0.0),
            Upsample::Bilinear => (0.5 * (o as f32 + 0.5) - 0.5).max(0.0),
            Upsample::BilinearAligned => o as f32 * ((n - 1) as f32 / (2 * n - 1) as f32),
        };
        let first = (place as usize).min(n - 1);
        if first + 1 == n {
            return (first, 0.0);
        }
        (first, place - first as f32)
    }

    /// The outputs of an axis of `n` pixels among which are all that read pixel `i`.
    #[inline(always)]
    fn reach(self, n: usize, i: usize) -> std::ops::Range<usize> {
        match self {
            Upsample::Nearest(factor) => i * factor..(i + 1) * factor,
            // At about half a pixel from output to output, those between the neighbours of `i`, and one to spare.
            _ => (2 * i).saturating_sub(3)..(2 * i + 5).min(2 * n),
        }
    }

    /// The weight with which output `o` of an axis of `n` pixels reads pixel `i`.
    #[inline(always)]
    fn weight(self, n: usize, o: usize, i: usize) -> f32 {
        let (first, second) = self.tap(n, o);
        if i == first {
            1.0 - second
        } else if i == first + 1 {
            second
        } else {
            0.0
        }
    }
}

/// Sizes of an enlargement; buffers are `(batch, height, width, channels)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpsampleShape {
    /// Samples.
    pub batch: usize,
    /// Height and width of the small map.
    pub map: (usize, usize),
    /// Channels.
    pub channels: usize,
    /// How it is enlarged.
    pub how: Upsample,
}

impl UpsampleShape {
    /// `(height, width)` of the large map.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a factor of 0 and a map without pixels, [`Error::Shape`] for a map that no memory holds.
    pub fn out(self) -> Result<(usize, usize)> {
        let factor = self.how.factor();
        if factor == 0 || self.map.0 == 0 || self.map.1 == 0 {
            return Err(Error::invalid(
                format!("upsample of {}x{} by {factor}", self.map.0, self.map.1),
                "needs a pixel and a factor of at least 1",
            ));
        }
        let sides = [self.map.0, factor, self.map.1, factor];
        checked_product("upsample", &sides)?;
        checked_product(
            "upsample",
            &[
                self.batch,
                self.channels,
                sides[0] * factor,
                sides[2] * factor,
            ],
        )?;
        Ok((self.map.0 * factor, self.map.1 * factor))
    }

    /// Large map, after comparing the lengths of both buffers with the shape.
    fn check(self, op: &'static str, small: usize, large: usize) -> Result<(usize, usize)> {
        let (h, w) = self.out()?;
        let maps = self.batch * self.channels;
        expect_len(op, "small", maps * self.map.0 * self.map.1, small)?;
        expect_len(op, "large", maps * h * w, large)?;
        Ok((h, w))
    }
}

/// Kernels on channels-last buffers. Errors are those of [`UpsampleShape::out`] and [`Error::Shape`] for a buffer of
/// another length.
pub trait UpsampleKernel: Storage<f32> {
    /// Small map to large map.
    ///
    /// # Errors
    /// See the trait.
    fn upsample(&self, s: UpsampleShape, x: &Self::Vec, y: &mut Self::Vec) -> Result<()>;

    /// Gradient of the small map; with `accumulate` it is added to `dx`.
    ///
    /// # Errors
    /// See the trait.
    fn upsample_grad(
        &self,
        s: UpsampleShape,
        dy: &Self::Vec,
        dx: &mut Self::Vec,
        accumulate: bool,
    ) -> Result<()>;
}

/// `(N, C, H, W)` images enlarged; see the [module](self).
///
/// ```
/// use rebit::ops::upsample::{Upsample, upsample};
/// use rebit::prelude::*;
/// let x: Images = from_vec(vec![0.0, 4.0], (1, 1, 1, 2))?;
/// assert_eq!(read(&upsample(x.clone(), Upsample::Nearest(2)))[..4], [0.0, 0.0, 4.0, 4.0]);
/// assert_eq!(read(&upsample(x, Upsample::Bilinear))[..4], [0.0, 1.0, 3.0, 4.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_upsample`] fails.
#[track_caller]
pub fn upsample<T: Recorder>(x: Images<T>, how: Upsample) -> Images<T> {
    or_panic(try_upsample(x, how))
}

/// See [`upsample`].
///
/// # Errors
/// As [`UpsampleShape::out`].
pub fn try_upsample<T: Recorder>(x: Images<T>, how: Upsample) -> Result<Images<T>> {
    op(*x.shape(), how)?.record(x)
}

fn op((batch, channels, h, w): Shape4, how: Upsample) -> Result<ImageOp> {
    let s = UpsampleShape {
        batch,
        map: (h, w),
        channels,
        how,
    };
    let (out_h, out_w) = s.out()?;
    Ok(ImageOp::new(
        (batch, channels, out_h, out_w),
        move |x, y| dev().upsample(s, x, y),
        move |_, dy, dx| dev().upsample_grad(s, dy, dx, false),
    ))
}
