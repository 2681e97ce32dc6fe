//! Scaled sums: `y = scale x + offset` with an offset for each channel, and the mixture `into = a into + b from`.
//!
//! The first is what takes an image's mean off and puts it back on; its gradient `dx = scale dy` is the second. The
//! mixture is also a running average (`a = 0.9`, `b = 0.1`) and the sum of a weighted gradient (`a = 1`).

use dfdx::prelude::Storage;

use crate::error::Result;

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

/// Kernels on buffers; for [`affine`](Self::affine) a pixel's channels are neighbours.
pub trait AffineKernel: Storage<f32> {
    /// `y[p, c] = scale x[p, c] + offset[c]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the lengths differ or are not a whole number of pixels.
    fn affine(&self, scale: f32, offset: &[f32], x: &Self::Vec, y: &mut Self::Vec) -> Result<()>;

    /// `into = a into + b from`; with `a = 0` what was in `into` does not matter, NaN included.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the lengths differ.
    fn mix(&self, a: f32, into: &mut Self::Vec, b: f32, from: &Self::Vec) -> Result<()>;
}

/// Shape error unless `x` and `y` are one number of pixels of `channels` channels.
fn check(channels: usize, x: usize, y: usize) -> Result<()> {
    crate::ops::parallel::expect_len("affine", "y", x, y)?;
    if channels == 0 || !x.is_multiple_of(channels) {
        return Err(crate::Error::shape(
            "affine",
            format!("whole pixels of {channels} channels"),
            format!("{x} elements"),
        ));
    }
    Ok(())
}
