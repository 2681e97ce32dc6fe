//! Pooling on dfdx's tape.

use dfdx::prelude::{HasShape, PutTape};

use super::{PoolKernel, PoolShape};
use crate::error::Result;
use crate::ops::or_panic;
use crate::ops::tape::{
    BackwardOp, ImageOp, Recorder, add_images_gradient, backward_of, load_images, scratch, store,
    zeros,
};
use crate::tensors::{Images, Matrix, dev};

/// Mean over the pixels of each channel: `(N, C, H, W)` to `(N, C)`; `dx = dy / (H W)`.
///
/// ```
/// use rebit::ops::pool::global_avg_pool;
/// use rebit::prelude::*;
/// let x: Images = from_vec(vec![1.0, 2.0, 3.0, 6.0], (1, 1, 2, 2))?;
/// assert_eq!(read(&global_avg_pool(x)), [3.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_global_avg_pool`] fails.
#[track_caller]
pub fn global_avg_pool<T: Recorder>(x: Images<T>) -> Matrix<T> {
    or_panic(try_global_avg_pool(x))
}

/// See [`global_avg_pool`].
///
/// # Errors
/// [`crate::Error::Invalid`] for images without pixels or channels.
pub fn try_global_avg_pool<T: Recorder>(x: Images<T>) -> Result<Matrix<T>> {
    let (x, tape) = T::split_images(x)?;
    let (y, backward) = record_mean(x)?;
    Ok(y.put_tape(tape.record(backward)))
}

fn record_mean(x: Images) -> Result<(Matrix, BackwardOp)> {
    let (n, c, h, w) = *x.shape();
    let mut y = zeros(n * c)?;
    dev().global_avg_pool_forward(n, h * w, c, &*load_images(&x)?, &mut y)?;
    let y = store(y, (n, c))?;
    let backward = backward_of(&y, move |grads, dy| {
        let mut dx = scratch(n * c * h * w)?;
        dev().global_avg_pool_grad(n, h * w, c, dy, &mut dx, false)?;
        add_images_gradient(grads, &x, &dx)
    });
    Ok((y, backward))
}

/// The largest value of each `kernel x kernel` window; see the [module](super) for sizes and gradient.
///
/// ```
/// use rebit::ops::pool::max_pool2d;
/// use rebit::prelude::*;
/// let x: Images = from_vec((0..16).map(|i| i as f32).collect(), (1, 1, 4, 4))?;
/// assert_eq!(read(&max_pool2d(x, 2, 2, 0)), [5.0, 7.0, 13.0, 15.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_max_pool2d`] fails.
#[track_caller]
pub fn max_pool2d<T: Recorder>(
    x: Images<T>,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Images<T> {
    or_panic(try_max_pool2d(x, kernel, stride, padding))
}

/// See [`max_pool2d`].
///
/// # Errors
/// As [`PoolShape::out`].
pub fn try_max_pool2d<T: Recorder>(
    x: Images<T>,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Result<Images<T>> {
    let (batch, channels, in_h, in_w) = *x.shape();
    let s = PoolShape {
        batch,
        in_h,
        in_w,
        channels,
        kernel,
        stride,
        padding,
    };
    max(s)?.record(x)
}

fn max(s: PoolShape) -> Result<ImageOp> {
    let (out_h, out_w) = s.out()?;
    Ok(ImageOp::new(
        (s.batch, s.channels, out_h, out_w),
        move |x, y| dev().max_pool_forward(s, x, y),
        move |x, dy, dx| dev().max_pool_grad(s, &*load_images(x)?, dy, dx, false),
    ))
}
