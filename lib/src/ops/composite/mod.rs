//! A person before a background: the person where a mask says so, the background elsewhere.
//!
//! ```text
//! y[n, c, p] = m[n, p] x[n, c, p] + (1 - m[n, p]) b[n, c, p]          dL/dx = m dL/dy
//! ```
//!
//! Where the mask is 0 the result is the background to the bit, where it is 1 the person: what is not shown is not looked
//! at, NaN included. Mask and background get no gradient.
//!
//! Source: Wang et al., "Re-Identification Supervised Texture Generation",
//! [arXiv:1904.03385](https://arxiv.org/abs/1904.03385), the composite of the authors' code, so that a re-ID network sees
//! what it was trained on, a person before something.

use dfdx::prelude::{HasShape, PutTape, Shape, Storage};

use crate::buffer::HostAccess;
use crate::error::{Error, Result};
use crate::ops::or_panic;
use crate::ops::parallel::expect_len;
use crate::ops::tape::{
    BackwardOp, Recorder, Scratch, add_gradient, backward_of, load, scratch, store, zeros,
};
use crate::tensors::{Buffer, Images, dev};

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

/// Kernels on channels-last buffers, with a mask of one number for each pixel.
///
/// Errors are [`Error::Shape`] for a buffer of another length.
pub trait CompositeKernel: Storage<f32> {
    /// `y`, of `channels` numbers for each number of the mask.
    ///
    /// # Errors
    /// See the trait.
    fn composite(
        &self,
        channels: usize,
        mask: &Self::Vec,
        x: &Self::Vec,
        background: &Self::Vec,
        y: &mut Self::Vec,
    ) -> Result<()>;

    /// `dx = m dy` (overwritten).
    ///
    /// # Errors
    /// See the trait.
    fn composite_grad(
        &self,
        channels: usize,
        mask: &Self::Vec,
        dy: &Self::Vec,
        dx: &mut Self::Vec,
    ) -> Result<()>;
}

/// Compares the lengths of buffers with that of the mask.
fn check(
    op: &'static str,
    channels: usize,
    mask: usize,
    others: &[(&'static str, usize)],
) -> Result<()> {
    let expected = mask.saturating_mul(channels);
    others
        .iter()
        .try_for_each(|(name, len)| expect_len(op, name, expected, *len))
}

/// Images `(N, C, H, W)` before `background`, seen where `mask` `(N, 1, H, W)` is 1; see the [module](self).
///
/// ```
/// use rebit::ops::composite::composite;
/// use rebit::prelude::*;
/// let row = |v: [f32; 3]| from_vec(v.to_vec(), (1, 1, 1, 3));
/// let y = composite(row([1.0, 2.0, 3.0])?, &row([1.0, 0.0, 0.5])?, &row([7.0, 8.0, 9.0])?);
/// assert_eq!(read(&y), [1.0, 8.0, 6.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_composite`] fails.
#[track_caller]
pub fn composite<T: Recorder>(x: Images<T>, mask: &Images, background: &Images) -> Images<T> {
    or_panic(try_composite(x, mask, background))
}

/// See [`composite`].
///
/// # Errors
/// [`Error::Shape`] for a background of another shape, and for a mask of other images, of another size, or of more than
/// one channel.
pub fn try_composite<T: Recorder>(
    x: Images<T>,
    mask: &Images,
    background: &Images,
) -> Result<Images<T>> {
    let (x, tape) = T::split_images(x)?;
    let (y, backward) = record(x, mask, background)?;
    Ok(y.put_tape(tape.record(backward)))
}

fn record(x: Images, mask: &Images, background: &Images) -> Result<(Images, BackwardOp)> {
    let shape = *x.shape();
    let (n, channels, h, w) = shape;
    for (what, found, expected) in [
        ("background", *background.shape(), shape),
        ("mask", *mask.shape(), (n, 1, h, w)),
    ] {
        if found != expected {
            let expected = format!("a {what} of {expected:?}");
            return Err(Error::shape("composite", expected, format!("{found:?}")));
        }
    }
    // With a mask for each plane, pixels have one channel, and nothing needs another order.
    let mask = for_planes(&*load(mask)?, channels, h * w)?;
    let mut y = zeros(x.shape().num_elements())?;
    dev().composite(1, &mask, &*load(&x)?, &*load(background)?, &mut y)?;
    let y = store(y, shape)?;
    let backward = backward_of(&y, move |grads, dy| {
        let mut dx = scratch(dy.elements())?;
        dev().composite_grad(1, &mask, dy, &mut dx)?;
        add_gradient(grads, &x, &dx)
    });
    Ok((y, backward))
}

/// Each `plane` of the mask as often as there are channels.
fn for_planes(mask: &Buffer, channels: usize, plane: usize) -> Result<Scratch> {
    let mut out = scratch(mask.elements() * channels)?;
    let mask = mask.view()?;
    out.edit(|out| {
        for (out, mask) in out
            .chunks_exact_mut((channels * plane).max(1))
            .zip(mask.chunks_exact(plane.max(1)))
        {
            out.chunks_exact_mut(plane)
                .for_each(|out| out.copy_from_slice(mask));
        }
    })?;
    Ok(out)
}
