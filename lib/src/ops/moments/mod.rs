//! Mean and biased variance of each channel: what a batch norm reads of its input, as an op with a gradient.
//!
//! Per channel `c`, over the `M = samples * height * width` pixels:
//!
//! ```text
//! mean = 1/M sum x        var = 1/M sum (x - mean)^2
//! dL/dx = 1/M (dL/dmean + 2 (x - mean) dL/dvar)
//! ```
//!
//! The gradient of the variance by the mean is 0, since the deviations sum to 0. A loss that compares these with the
//! running statistics of a trained network pulls its input towards the images the network was trained on.
//!
//! Source: Zhong et al., "IntraQ", arXiv:2111.09136, the loss L_BNS (after Cai et al., "ZeroQ", arXiv:2001.00281,
//! equation 3).

use dfdx::prelude::{HasShape, PutTape, Storage};

use crate::buffer::HostAccess;
use crate::error::Result;
use crate::ops::batch_norm2d::NormShape;
use crate::ops::or_panic;
use crate::ops::tape::{
    BackwardOp, Recorder, add_images_gradient, backward_of, load_images, scratch, store, zeros,
};
use crate::tensors::{Images, Matrix, dev};

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

/// Kernels on channels-last buffers.
pub trait MomentsKernel: Storage<f32> {
    /// Mean and biased variance of each channel of `x`. NaN makes its whole channel NaN.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for a buffer of another length, [`crate::Error::Invalid`] without a pixel or channel.
    fn moments(
        &self,
        s: NormShape,
        x: &Self::Vec,
        mean: &mut Self::Vec,
        var: &mut Self::Vec,
    ) -> Result<()>;

    /// `dx = dL/dx` from the gradients of both; with `accumulate` it is added to `dx`.
    ///
    /// # Errors
    /// As [`moments`](Self::moments).
    fn moments_grad(
        &self,
        s: NormShape,
        x: &Self::Vec,
        mean: &Self::Vec,
        gradient: MomentGrads<Self::Vec>,
        dx: &mut Self::Vec,
        accumulate: bool,
    ) -> Result<()>;
}

/// The gradients of a loss by the moments, one number a channel each.
#[derive(Debug)]
pub struct MomentGrads<'a, V> {
    /// `dL/dmean`.
    pub mean: &'a V,
    /// `dL/dvar`.
    pub var: &'a V,
}

/// `(2, C)` of `(N, C, H, W)` images: the means, then the biased variances; see the [module](self).
///
/// ```
/// use rebit::ops::moments::moments;
/// use rebit::prelude::*;
/// let x: Images = from_vec(vec![1.0, 3.0, 10.0, 10.0], (1, 2, 1, 2))?;
/// assert_eq!(read(&moments(x)), [2.0, 10.0, 1.0, 0.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_moments`] fails.
#[track_caller]
pub fn moments<T: Recorder>(x: Images<T>) -> Matrix<T> {
    or_panic(try_moments(x))
}

/// See [`moments`].
///
/// # Errors
/// [`crate::Error::Invalid`] for images without a pixel or channel.
pub fn try_moments<T: Recorder>(x: Images<T>) -> Result<Matrix<T>> {
    let (x, tape) = T::split_images(x)?;
    let (y, backward) = record(x)?;
    Ok(y.put_tape(tape.record(backward)))
}

fn record(x: Images) -> Result<(Matrix, BackwardOp)> {
    let shape = *x.shape();
    let (n, channels, h, w) = shape;
    let s = NormShape {
        pixels: n * h * w,
        channels,
    };
    let values = load_images(&x)?;
    let (mut mean, mut var) = (zeros(channels)?, zeros(channels)?);
    dev().moments(s, &values, &mut mean, &mut var)?;
    let mut both = zeros(2 * channels)?;
    both.write(&[mean.view()?, var.view()?].concat())?;
    let y = store(both, (2, channels))?;
    let backward = backward_of(&y, move |grads, dy| {
        let (mut dmean, mut dvar) = (zeros(channels)?, zeros(channels)?);
        {
            let dy = dy.view()?;
            dmean.write(&dy[..channels])?;
            dvar.write(&dy[channels..])?;
        }
        let gradient = MomentGrads {
            mean: &dmean,
            var: &dvar,
        };
        let mut dx = scratch(values.elements())?;
        dev().moments_grad(s, &values, &mean, gradient, &mut dx, false)?;
        add_images_gradient(grads, &x, &dx)
    });
    Ok((y, backward))
}
