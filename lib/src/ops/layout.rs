//! From one order of a batch of images to the other: (N, C, H, W) of the tape's tensors, (N, H, W, C) of the kernels.

use dfdx::prelude::{Cpu, Storage};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::ops::parallel::expect_len;
use crate::tensors::CpuBuffer;

#[cfg(feature = "cuda")]
mod cuda;

/// Changes of order on a device's own buffers.
pub trait LayoutKernel: Storage<f32> {
    /// `dst[n, p, c] = src[n, c, p]` for `channels` channels and `pixels` = height * width.
    ///
    /// # Errors
    /// [`Error::Shape`] when the lengths differ or are not a whole number of images.
    fn to_channels_last(
        &self,
        src: &Self::Vec,
        channels: usize,
        pixels: usize,
        dst: &mut Self::Vec,
    ) -> Result<()>;

    /// `dst[n, c, p] = src[n, p, c]`, or `+=` with `add`.
    ///
    /// # Errors
    /// As [`Self::to_channels_last`].
    fn to_channels_first(
        &self,
        src: &Self::Vec,
        channels: usize,
        pixels: usize,
        dst: &mut Self::Vec,
        add: bool,
    ) -> Result<()>;
}

/// Shape error unless both buffers are one whole number of `rows x columns` images.
fn check(src: usize, rows: usize, columns: usize, dst: usize) -> Result<()> {
    expect_len("layout", "dst", src, dst)?;
    let len = rows * columns;
    if src > 0 && (len == 0 || !src.is_multiple_of(len)) {
        return Err(Error::shape(
            "layout",
            format!("a whole number of {rows}x{columns} images"),
            format!("{src} elements"),
        ));
    }
    Ok(())
}

impl LayoutKernel for Cpu {
    fn to_channels_last(
        &self,
        src: &CpuBuffer,
        channels: usize,
        pixels: usize,
        dst: &mut CpuBuffer,
    ) -> Result<()> {
        check(src.len(), channels, pixels, dst.len())?;
        transpose(src, channels, pixels, dst, false);
        Ok(())
    }

    fn to_channels_first(
        &self,
        src: &CpuBuffer,
        channels: usize,
        pixels: usize,
        dst: &mut CpuBuffer,
        add: bool,
    ) -> Result<()> {
        check(src.len(), pixels, channels, dst.len())?;
        transpose(src, pixels, channels, dst, add);
        Ok(())
    }
}

/// Side of the square that is turned at once: two of them fit the first-level cache.
const SIDE: usize = 16;
/// Output rows of one piece of parallel work.
const PIECE: usize = 64;

/// `dst[n, p, c] = src[n, c, p]` for `channels` channels and `pixels` = height * width.
///
/// # Panics
/// When a slice is not a whole number of images or the lengths differ.
pub fn nchw_to_nhwc(src: &[f32], channels: usize, pixels: usize, dst: &mut [f32]) {
    transpose(src, channels, pixels, dst, false);
}

/// `dst[n, c, p] = src[n, p, c]`.
///
/// # Panics
/// As [`nchw_to_nhwc`].
pub fn nhwc_to_nchw(src: &[f32], channels: usize, pixels: usize, dst: &mut [f32]) {
    transpose(src, pixels, channels, dst, false);
}

/// `dst[n, c, p] += src[n, p, c]`.
///
/// # Panics
/// As [`nchw_to_nhwc`].
pub fn add_nhwc_to_nchw(src: &[f32], channels: usize, pixels: usize, dst: &mut [f32]) {
    transpose(src, pixels, channels, dst, true);
}

/// Turns each `rows x columns` matrix of `src` into a `columns x rows` one in `dst`.
fn transpose(src: &[f32], rows: usize, columns: usize, dst: &mut [f32], add: bool) {
    let len = rows * columns;
    assert_eq!(
        src.len(),
        dst.len(),
        "layout: the two orders differ in length"
    );
    if src.is_empty() {
        return;
    }
    assert!(
        src.len().is_multiple_of(len),
        "layout: {} elements are not a whole number of {rows}x{columns} images",
        src.len()
    );
    let mut pieces = Vec::new();
    for (src, dst) in src.chunks_exact(len).zip(dst.chunks_exact_mut(len)) {
        for (k, dst) in dst.chunks_mut(PIECE * rows).enumerate() {
            pieces.push((src, k * PIECE, dst));
        }
    }
    pieces.into_par_iter().for_each(|(src, first, dst)| {
        for (k, dst) in dst.chunks_mut(SIDE * rows).enumerate() {
            let first = first + k * SIDE;
            for row in (0..rows).step_by(SIDE) {
                let side = SIDE.min(rows - row);
                for (c, line) in dst.chunks_exact_mut(rows).enumerate() {
                    for (r, d) in line[row..row + side].iter_mut().enumerate() {
                        let value = src[(row + r) * columns + first + c];
                        *d = if add { *d + value } else { value };
                    }
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values() {
        // Two images of two channels and three pixels.
        let nchw = [1., 2., 3., 10., 20., 30., 4., 5., 6., 40., 50., 60.];
        let nhwc = [1., 10., 2., 20., 3., 30., 4., 40., 5., 50., 6., 60.];
        let mut out = [0.0; 12];
        nchw_to_nhwc(&nchw, 2, 3, &mut out);
        assert_eq!(out, nhwc);
        nhwc_to_nchw(&nhwc, 2, 3, &mut out);
        assert_eq!(out, nchw);
        add_nhwc_to_nchw(&nhwc, 2, 3, &mut out);
        assert_eq!(out, nchw.map(|v| 2.0 * v));
    }

    #[test]
    fn every_size_comes_back() {
        for (n, c, p) in [(1, 1, 1), (3, 17, 70), (2, 64, 129), (1, 3, 300)] {
            let data: Vec<f32> = (0..n * c * p).map(|v| v as f32).collect();
            let (mut there, mut back) = (vec![0.0; data.len()], vec![0.0; data.len()]);
            nchw_to_nhwc(&data, c, p, &mut there);
            for (k, &v) in there.iter().enumerate() {
                let (image, pixel, channel) = (k / (c * p), k / c % p, k % c);
                assert_eq!(v, ((image * c + channel) * p + pixel) as f32);
            }
            nhwc_to_nchw(&there, c, p, &mut back);
            assert_eq!(back, data);
        }
    }
}
