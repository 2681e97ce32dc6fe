//! Pixel shuffle: `r * r` channels of a small map become the `r x r` pixels of a large one.
//!
//! For an input `x` of `(N, C r^2, H, W)` and an output `y` of `(N, C, r H, r W)`
//!
//! ```text
//! y[n, c, r h + i, r w + j] = x[n, c r^2 + i r + j, h, w]        0 <= i, j < r
//! ```
//!
//! The order of the channels is PyTorch's. It moves numbers and changes none, so its gradient is the way back.
//!
//! Source: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
//! Convolutional Neural Network", arXiv:1609.05158, equation 4.

use dfdx::prelude::{HasShape, Storage};

use crate::error::{Error, Result};
use crate::ops::or_panic;
use crate::ops::tape::{ImageOp, Recorder};
use crate::tensors::{Images, Shape4, dev};

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

/// Sizes of a pixel shuffle; buffers are `(batch, height, width, channels)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShuffleShape {
    /// Samples.
    pub batch: usize,
    /// Height of the small map.
    pub height: usize,
    /// Width of the small map.
    pub width: usize,
    /// Channels of the large map; the small one has `factor * factor` times as many.
    pub channels: usize,
    /// `r`.
    pub factor: usize,
}

impl ShuffleShape {
    /// Elements of either map.
    pub fn elements(self) -> usize {
        self.batch * self.height * self.width * self.channels * self.factor * self.factor
    }
}

/// Kernels on channels-last buffers; [`Error::Shape`] for a buffer of another length.
pub trait PixelShuffleKernel: Storage<f32> {
    /// Small map to large map.
    ///
    /// # Errors
    /// [`Error::Shape`] for a buffer of another length.
    fn pixel_shuffle(&self, s: ShuffleShape, x: &Self::Vec, y: &mut Self::Vec) -> Result<()>;

    /// Large map to small map: the gradient; with `accumulate` it is added to `dx`.
    ///
    /// # Errors
    /// As [`pixel_shuffle`](Self::pixel_shuffle).
    fn pixel_shuffle_grad(
        &self,
        s: ShuffleShape,
        dy: &Self::Vec,
        dx: &mut Self::Vec,
        accumulate: bool,
    ) -> Result<()>;
}

/// `(N, C r^2, H, W)` to `(N, C, r H, r W)`; see the [module](self).
///
/// ```
/// use rebit::ops::pixel_shuffle::pixel_shuffle;
/// use rebit::prelude::*;
/// let x: Images = from_vec(vec![1.0, 2.0, 3.0, 4.0], (1, 4, 1, 1))?;
/// let y = pixel_shuffle(x, 2);
/// assert_eq!(y.shape(), &(1, 1, 2, 2));
/// assert_eq!(read(&y), [1.0, 2.0, 3.0, 4.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_pixel_shuffle`] fails.
#[track_caller]
pub fn pixel_shuffle<T: Recorder>(x: Images<T>, factor: usize) -> Images<T> {
    or_panic(try_pixel_shuffle(x, factor))
}

/// See [`pixel_shuffle`].
///
/// # Errors
/// [`Error::Shape`] unless the square of a positive `factor` divides the channels.
pub fn try_pixel_shuffle<T: Recorder>(x: Images<T>, factor: usize) -> Result<Images<T>> {
    op(*x.shape(), factor)?.record(x)
}

fn op((batch, c, height, width): Shape4, factor: usize) -> Result<ImageOp> {
    let square = factor.saturating_mul(factor);
    if square == 0 || !c.is_multiple_of(square) {
        return Err(Error::shape(
            "pixel_shuffle",
            format!("channels divisible by {factor} x {factor}, a factor above 0"),
            format!("{c} channels"),
        ));
    }
    let s = ShuffleShape {
        batch,
        height,
        width,
        channels: c / square,
        factor,
    };
    let sides = [height, width].map(|side| side.checked_mul(factor));
    let [Some(tall), Some(wide)] = sides else {
        return Err(Error::shape(
            "pixel_shuffle",
            "a map that memory holds",
            format!("{height}x{width} times {factor}"),
        ));
    };
    Ok(ImageOp::new(
        (batch, s.channels, tall, wide),
        move |x, y| dev().pixel_shuffle(s, x, y),
        move |_, dy, dx| dev().pixel_shuffle_grad(s, dy, dx, false),
    ))
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, MeanTo, Trace};

    use super::*;
    use crate::ops::{assert_close, buffer, cpu, numeric_gradient, wave};
    use crate::tensors::{from_vec, read};

    #[test]
    fn channels_of_a_pixel_become_a_square_in_pytorchs_order() {
        // Two output channels, two pixels: channel 4 c + 2 i + j of pixel w lands at (i, 2 w + j).
        let x: Images = from_vec((0..16).map(|v| v as f32).collect(), (1, 8, 1, 2)).unwrap();
        let y = pixel_shuffle(x, 2);
        assert_eq!(y.shape(), &(1, 2, 2, 4));
        let first = [0., 2., 1., 3., 4., 6., 5., 7.];
        let second = first.map(|v| v + 8.0);
        assert_eq!(read(&y), [first, second].concat());
    }

    #[test]
    fn gradient_is_the_way_back() {
        let shape = (2, 9, 2, 3);
        let values = wave(2 * 9 * 6);
        let loss = |v: &[f32]| {
            let y = pixel_shuffle(from_vec(v.to_vec(), shape).unwrap(), 3);
            let weights = wave(v.len());
            read(&y)
                .iter()
                .zip(&weights)
                .map(|(y, w)| y * y * w)
                .sum::<f32>()
                / 10.0
        };
        let x: Images = from_vec(values.clone(), shape).unwrap();
        let y = pixel_shuffle(x.leaky_trace(), 3);
        let weights: Images = from_vec(wave(values.len()), *y.shape()).unwrap();
        let scale = values.len() as f32 / 10.0;
        let grads = (y.square() * weights * scale).mean::<(), _>().backward();
        let numeric = numeric_gradient(&values, 1e-2, loss);
        assert_close(&read(&grads.get(&x)), &numeric, 2e-3);
    }

    #[test]
    fn gradient_adds_up_when_asked() {
        let s = ShuffleShape {
            batch: 1,
            height: 2,
            width: 2,
            channels: 3,
            factor: 2,
        };
        let dy = buffer(&wave(48));
        let (mut once, mut twice) = (buffer(&[9.0; 48]), buffer(&[0.0; 48]));
        cpu().pixel_shuffle_grad(s, &dy, &mut once, false).unwrap();
        for _ in 0..2 {
            cpu().pixel_shuffle_grad(s, &dy, &mut twice, true).unwrap();
        }
        assert!(once.iter().zip(twice.iter()).all(|(a, b)| 2.0 * a == *b));
    }

    #[test]
    fn channels_that_the_square_does_not_divide_are_refused() {
        let x: Images = from_vec(vec![0.0; 6], (1, 6, 1, 1)).unwrap();
        let error = try_pixel_shuffle(x, 2).unwrap_err().to_string();
        assert!(
            error.contains("divisible by 2 x 2") && error.contains("6 channels"),
            "{error}"
        );
    }
}
