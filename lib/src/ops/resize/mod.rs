//! Resizing: by the antialiased bicubic kernel of MATLAB's `imresize`, which made the low-resolution images of every
//! super-resolution benchmark, bilinear as networks do it, or by areas; see [`Filter`].
//!
//! Along one axis, from `n` to `m` samples with scale `s = m / n`, output `i` is a weighted mean of the inputs
//! around `u = (i + 1/2) / s - 1/2`:
//!
//! ```text
//! y[i] = sum_j w(u - j) x[j] / sum_j w(u - j)
//! w(t) = k(t)          enlarging        k(t) = 3/2 |t|^3 - 5/2 |t|^2 + 1                 |t| <= 1
//! w(t) = k(s t)        shrinking               -1/2 |t|^3 + 5/2 |t|^2 - 4 |t| + 2    1 < |t| <= 2
//! ```
//!
//! When shrinking, the kernel is stretched over `4 / s` inputs, so that no detail finer than the new pixels is
//! left to alias. Beyond the border the outermost pixel is repeated: with that, and with bytes rounded after each
//! axis, the small images of Set5 and Set14 come out to the last bit. It is linear: the gradient applies the same
//! weights the other way round.
//!
//! The other filters, from `n` to `m` samples; they do not antialias, areas excepted:
//!
//! ```text
//! bilinear             p = max((i + 1/2) n / m - 1/2, 0)       y[i] = (1 - t) x[f] + t x[f + 1],  f = floor(p), t = p - f
//! bilinear, aligned    p = i (n - 1) / (m - 1)                 the same
//! area                 y[i] = mean of x over [i n / m, (i + 1) n / m), where x[j] fills [j, j + 1)
//! ```
//!
//! The bilinear ones are PyTorch's `interpolate` with `align_corners=False` and `True`.
//!
//! Source: Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981 (a = -1/2); the
//! antialiasing follows MATLAB's documentation of `imresize`, the borders the benchmarks' files.

use dfdx::prelude::{HasShape, Storage};

use crate::error::{Error, Result};
use crate::ops::or_panic;
use crate::ops::parallel::checked_product;
use crate::ops::tape::{ImageOp, Recorder};
use crate::tensors::{Images, Shape4, dev};

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

/// How a pixel of the result is made of those of the image; see the [module](self).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Filter {
    /// Cubic, antialiased when shrinking.
    #[default]
    Bicubic,
    /// On the straight line between two pixels; centres as in a picture that is scaled as a whole.
    Bilinear,
    /// The same; the outermost centres are put onto each other.
    BilinearAligned,
    /// The mean of what a pixel covers.
    Area,
}

/// Sizes of a resize; buffers are `(batch, height, width, channels)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResizeShape {
    /// Samples.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Height and width of the input.
    pub from: (usize, usize),
    /// Height and width of the output.
    pub to: (usize, usize),
    /// How.
    pub filter: Filter,
}

impl ResizeShape {
    /// Elements of the input buffer.
    pub fn in_len(self) -> usize {
        self.batch * self.channels * self.from.0 * self.from.1
    }

    /// Elements of the output buffer.
    pub fn out_len(self) -> usize {
        self.batch * self.channels * self.to.0 * self.to.1
    }

    /// What the outputs of the rows and of the columns read.
    fn taps(self) -> (Taps, Taps) {
        let taps = |from, to| Taps::new(from, to, self.filter);
        (taps(self.from.0, self.to.0), taps(self.from.1, self.to.1))
    }

    fn check(self) -> Result<()> {
        if [self.from.0, self.from.1, self.to.0, self.to.1].contains(&0) {
            return Err(Error::invalid(
                format!("resize from {:?} to {:?}", self.from, self.to),
                "height and width must be at least 1",
            ));
        }
        let ResizeShape {
            batch, channels, ..
        } = self;
        checked_product("resize", &[batch, channels, self.from.0, self.from.1])?;
        checked_product("resize", &[batch, channels, self.to.0, self.to.1])?;
        // What stands between the two passes.
        checked_product("resize", &[batch, channels, self.to.0, self.from.1])?;
        Ok(())
    }
}

/// Kernels on channels-last buffers.
pub trait ResizeKernel: Storage<f32> {
    /// `y = resize(x)`: rows first, then columns, as `imresize` does for equal scales.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty image, [`Error::Shape`] for a buffer of another length.
    fn resize_forward(&self, s: ResizeShape, x: &Self::Vec, y: &mut Self::Vec) -> Result<()>;

    /// `dx = dL/dx` (overwritten).
    ///
    /// # Errors
    /// As [`resize_forward`](Self::resize_forward).
    fn resize_grad(&self, s: ResizeShape, dy: &Self::Vec, dx: &mut Self::Vec) -> Result<()>;
}

/// Images of `height` x `width`; see the [module](self).
///
/// ```
/// use rebit::ops::resize::resize;
/// use rebit::prelude::*;
/// let x: Images = from_vec(vec![5.0; 36], (1, 1, 6, 6))?;
/// let y = resize(x, 3, 2);
/// assert_eq!(y.shape(), &(1, 1, 3, 2));
/// assert!(read(&y).iter().all(|v| (v - 5.0).abs() < 1e-5));
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_resize`] fails.
#[track_caller]
pub fn resize<T: Recorder>(x: Images<T>, height: usize, width: usize) -> Images<T> {
    or_panic(try_resize(x, height, width))
}

/// See [`resize`].
///
/// # Errors
/// [`Error::Invalid`] for images without pixels, [`Error::Shape`] for a size that no memory holds.
pub fn try_resize<T: Recorder>(x: Images<T>, height: usize, width: usize) -> Result<Images<T>> {
    op(*x.shape(), (height, width), Filter::Bicubic)?.record(x)
}

/// [`resize`] by any filter.
///
/// ```
/// use rebit::ops::resize::{Filter, resize_by};
/// use rebit::prelude::*;
/// let x: Images = from_vec(vec![0.0, 3.0, 6.0], (1, 1, 1, 3))?;
/// assert_eq!(read(&resize_by(x.clone(), (1, 2), Filter::Area)), [1.0, 5.0]);
/// assert_eq!(read(&resize_by(x.clone(), (1, 2), Filter::Bilinear)), [0.75, 5.25]);
/// assert_eq!(read(&resize_by(x, (1, 2), Filter::BilinearAligned)), [0.0, 6.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_resize_by`] fails.
#[track_caller]
pub fn resize_by<T: Recorder>(x: Images<T>, size: (usize, usize), filter: Filter) -> Images<T> {
    or_panic(try_resize_by(x, size, filter))
}

/// See [`resize_by`].
///
/// # Errors
/// As [`try_resize`].
pub fn try_resize_by<T: Recorder>(
    x: Images<T>,
    size: (usize, usize),
    filter: Filter,
) -> Result<Images<T>> {
    op(*x.shape(), size, filter)?.record(x)
}

fn op((batch, channels, h, w): Shape4, size: (usize, usize), filter: Filter) -> Result<ImageOp> {
    let (height, width) = size;
    let s = ResizeShape {
        batch,
        channels,
        from: (h, w),
        to: size,
        filter,
    };
    s.check()?;
    Ok(ImageOp::new(
        (batch, channels, height, width),
        move |x, y| dev().resize_forward(s, x, y),
        move |_, dy, dx| dev().resize_grad(s, dy, dx),
    ))
}

/// The inputs that one axis' outputs read, and with which weight.
pub(crate) struct Taps {
    /// Reads of each output.
    per: usize,
    index: Vec<usize>,
    weight: Vec<f32>,
}

impl Taps {
    pub fn new(from: usize, to: usize, filter: Filter) -> Self {
        match filter {
            Filter::Bicubic => Taps::bicubic(from, to),
            Filter::Bilinear => Taps::linear(from, to, |i| {
                ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0)
            }),
            Filter::BilinearAligned => Taps::linear(from, to, |i| {
                i as f64 * (from - 1) as f64 / (to - 1).max(1) as f64
            }),
            Filter::Area => Taps::area(from, to),
        }
    }

    /// Straight lines between the two inputs around a place.
    fn linear(from: usize, to: usize, place: impl Fn(usize) -> f64) -> Self {
        let (mut index, mut weight) = (Vec::new(), Vec::new());
        for i in 0..to {
            let place = place(i).min((from - 1) as f64);
            let first = place.floor();
            let second = place - first;
            index.extend([first as usize, (first as usize + 1).min(from - 1)]);
            weight.extend([(1.0 - second) as f32, second as f32]);
        }
        Taps {
            per: 2,
            index,
            weight,
        }
    }

    /// Inputs by the share of an output that they fill.
    fn area(from: usize, to: usize) -> Self {
        let step = from as f64 / to as f64;
        let per = step.ceil() as usize + 1;
        let (mut index, mut weight) = (Vec::new(), Vec::new());
        for i in 0..to {
            let (start, end) = (i as f64 * step, (i + 1) as f64 * step);
            let first = start.floor() as usize;
            for j in first..first + per {
                let filled = end.min((j + 1) as f64) - start.max(j as f64);
                index.push(j.min(from - 1));
                // What is left over by rounding is nothing.
                let share = if filled > 1e-9 { filled / step } else { 0.0 };
                weight.push(share as f32);
            }
        }
        Taps { per, index, weight }
    }

    fn bicubic(from: usize, to: usize) -> Self {
        let scale = to as f64 / from as f64;
        let stretch = scale.min(1.0);
        let support = 4.0 / stretch;
        let per = support.ceil() as usize + 2;
        let (mut index, mut weight) = (Vec::new(), Vec::new());
        for i in 0..to {
            let centre = (i as f64 + 0.5) / scale - 0.5;
            let first = (centre - support / 2.0).floor() as i64;
            let weights: Vec<f64> = (0..per as i64)
                .map(|k| keys(stretch * (centre - (first + k) as f64)))
                .collect();
            let sum: f64 = weights.iter().sum();
            index.extend((0..per as i64).map(|k| repeated(first + k, from)));
            weight.extend(weights.iter().map(|w| (w / sum) as f32));
        }
        Taps { per, index, weight }
    }

    /// Inputs and weights of output `i`.
    pub fn of(&self, i: usize) -> impl Iterator<Item = (usize, f32)> {
        let at = i * self.per..(i + 1) * self.per;
        let pairs = self.index[at.clone()].iter().zip(&self.weight[at]);
        pairs.map(|(&i, &w)| (i, w)).filter(|(_, w)| *w != 0.0)
    }
}

/// Keys' cubic kernel with `a = -1/2`.
fn keys(t: f64) -> f64 {
    let t = t.abs();
    if t <= 1.0 {
        (1.5 * t - 2.5) * t * t + 1.0
    } else if t <= 2.0 {
        ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0
    } else {
        0.0
    }
}

/// `... 0 0 | 0 1 2 ... n-1 | n-1 n-1 ...`
fn repeated(i: i64, n: usize) -> usize {
    i.clamp(0, n as i64 - 1) as usize
}
