//! Channels of a pixel copied from one buffer to a part of another: what joins feature maps, cuts them apart, and both
//! gradients.
//!
//! With `c` channels that start at `f` of `from` (of `F` channels a pixel) and at `t` of `to` (of `T`):
//! `to[p, t + i] = from[p, f + i]` for every pixel `p` and `0 <= i < c`. Joining copies each map to its place; the
//! gradient of a map is the same copy the other way. A [`slice()`] copies some channels out; its gradient adds them where
//! they came from.

use std::ops::Range;

use dfdx::prelude::{HasShape, Storage};

use crate::buffer::HostAccess;
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

/// Some neighbouring channels of every pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Channels of a pixel of the whole buffer.
    pub of: usize,
    /// The first channel of the part.
    pub start: usize,
}

/// Copies on buffers in which a pixel's channels are neighbours.
pub trait ChannelsKernel: Storage<f32> {
    /// Copies `channels` channels of every pixel from their place in `x` to that in `y`; the rest of `y` stays.
    ///
    /// # Errors
    /// [`Error::Shape`] when a part lies outside its pixels or the numbers of pixels differ.
    fn copy_channels(
        &self,
        channels: usize,
        from: Part,
        x: &Self::Vec,
        to: Part,
        y: &mut Self::Vec,
    ) -> Result<()>;

    /// [`copy_channels`](Self::copy_channels) that adds to what `y` holds.
    ///
    /// # Errors
    /// As it.
    fn add_channels(
        &self,
        channels: usize,
        from: Part,
        x: &Self::Vec,
        to: Part,
        y: &mut Self::Vec,
    ) -> Result<()>;
}

/// The channels `range` of `(N, C, H, W)` images; the others get no gradient.
///
/// ```
/// use rebit::ops::channels::slice;
/// use rebit::prelude::*;
/// let x: Images = from_vec(vec![1.0, 2.0, 3.0, 4.0], (1, 4, 1, 1))?;
/// assert_eq!(read(&slice(x, 1..3)), [2.0, 3.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_slice`] fails.
#[track_caller]
pub fn slice<T: Recorder>(x: Images<T>, range: Range<usize>) -> Images<T> {
    or_panic(try_slice(x, range))
}

/// See [`slice()`].
///
/// # Errors
/// [`Error::Shape`] for a range that is empty or reaches beyond the channels.
pub fn try_slice<T: Recorder>(x: Images<T>, range: Range<usize>) -> Result<Images<T>> {
    op(*x.shape(), range)?.record(x)
}

fn op((n, channels, h, w): Shape4, range: Range<usize>) -> Result<ImageOp> {
    if range.is_empty() || range.end > channels {
        return Err(Error::shape(
            "slice",
            format!("a range of channels in 0..{channels}, not empty"),
            format!("{range:?}"),
        ));
    }
    let count = range.len();
    // Plane after plane, an image is one pixel of many channels, and the range is some of them.
    let plane = checked_product("slice", &[h, w])?;
    let of = |channels: usize, start: usize| -> Result<Part> {
        Ok(Part {
            of: checked_product("slice", &[channels, plane])?,
            start: start * plane,
        })
    };
    let (some, all) = (of(count, 0)?, of(channels, range.start)?);
    Ok(ImageOp::of_planes(
        (n, count, h, w),
        move |x, y| match y.elements() {
            0 => Ok(()),
            _ => dev().copy_channels(some.of, all, x, some, y),
        },
        move |_, dy, dx| match dy.elements() {
            0 => Ok(()),
            _ => dev().add_channels(some.of, some, dy, all, dx),
        },
    ))
}

/// Number of pixels of a copy.
fn check(channels: usize, from: Part, x: usize, to: Part, y: usize) -> Result<usize> {
    let outside = |part: Part| part.of == 0 || part.start.saturating_add(channels) > part.of;
    if outside(from) || outside(to) || !x.is_multiple_of(from.of) || x / from.of * to.of != y {
        return Err(Error::shape(
            "copy_channels",
            format!("{channels} channels of as many pixels on both sides"),
            format!("{x} elements {from:?} and {y} elements {to:?}"),
        ));
    }
    Ok(x / from.of)
}
