//! Channels of a pixel copied from one buffer to a part of another: what joins feature maps, and its gradient.
//!
//! With `c` channels that start at `f` of `from` (of `F` channels a pixel) and at `t` of `to` (of `T`):
//! `to[p, t + i] = from[p, f + i]` for every pixel `p` and `0 <= i < c`. Joining copies each map to its place; the
//! gradient of a map is the same copy the other way.

use dfdx::prelude::Storage;

use crate::error::{Error, Result};

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
}

/// Number of pixels of a copy.
fn check(channels: usize, from: Part, x: usize, to: Part, y: usize) -> Result<usize> {
    let outside = |part: Part| part.of == 0 || part.start + channels > part.of;
    if outside(from) || outside(to) || !x.is_multiple_of(from.of) || x / from.of * to.of != y {
        return Err(Error::shape(
            "copy_channels",
            format!("{channels} channels of as many pixels on both sides"),
            format!("{x} elements {from:?} and {y} elements {to:?}"),
        ));
    }
    Ok(x / from.of)
}
