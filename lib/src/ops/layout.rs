//! From one order of a batch of images to the other: (N, C, H, W) of the tape's tensors, (N, H, W, C) of the kernels.

use dfdx::prelude::{Cpu, Storage};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::ops::parallel::{CHUNK, expect_len};
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
/// Channels of a picture, for which there are loops without an inner one.
const COLOURS: usize = 3;

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
    // Output rows of one piece of parallel work, whole squares of about as many numbers as a chunk has.
    let piece = (CHUNK / rows / SIDE).max(1) * SIDE;
    let mut pieces = Vec::new();
    for (src, dst) in src.chunks_exact(len).zip(dst.chunks_exact_mut(len)) {
        for (k, dst) in dst.chunks_mut(piece * rows).enumerate() {
            pieces.push((src, k * piece, dst));
        }
    }
    pieces.into_par_iter().for_each(|(src, first, dst)| {
        let at = Piece {
            src,
            rows,
            columns,
            first,
        };
        match add {
            true => at.turn(dst, |d, value| *d += value),
            false => at.turn(dst, |d, value| *d = value),
        }
    });
}

/// Output rows from `first` on, out of a matrix `rows x columns`.
struct Piece<'a> {
    src: &'a [f32],
    rows: usize,
    columns: usize,
    first: usize,
}

impl Piece<'_> {
    #[inline(always)]
    fn turn(&self, dst: &mut [f32], put: impl Fn(&mut f32, f32) + Copy) {
        if self.rows == COLOURS {
            self.interleave(dst, put);
        } else if self.columns == COLOURS {
            self.part(dst, put);
        } else {
            self.squares(dst, put);
        }
    }

    /// From three planes.
    #[inline(always)]
    fn interleave(&self, dst: &mut [f32], put: impl Fn(&mut f32, f32)) {
        let (dst, _) = dst.as_chunks_mut::<COLOURS>();
        let plane = |c: usize| &self.src[c * self.columns + self.first..][..dst.len()];
        let (red, green, blue) = (plane(0), plane(1), plane(2));
        for (((d, r), g), b) in dst.iter_mut().zip(red).zip(green).zip(blue) {
            put(&mut d[0], *r);
            put(&mut d[1], *g);
            put(&mut d[2], *b);
        }
    }

    /// To three planes, of which a piece holds some.
    #[inline(always)]
    fn part(&self, dst: &mut [f32], put: impl Fn(&mut f32, f32)) {
        let (src, _) = self.src.as_chunks::<COLOURS>();
        for (c, plane) in dst.chunks_exact_mut(self.rows).enumerate() {
            let c = self.first + c;
            for (d, pixel) in plane.iter_mut().zip(src) {
                put(d, pixel[c]);
            }
        }
    }

    #[inline(always)]
    fn squares(&self, dst: &mut [f32], put: impl Fn(&mut f32, f32)) {
        let (rows, columns) = (self.rows, self.columns);
        for (k, dst) in dst.chunks_mut(SIDE * rows).enumerate() {
            let first = self.first + k * SIDE;
            for row in (0..rows).step_by(SIDE) {
                let side = SIDE.min(rows - row);
                for (c, line) in dst.chunks_exact_mut(rows).enumerate() {
                    let values = self.src[row * columns + first + c..].iter();
                    let values = values.step_by(columns);
                    for (d, value) in line[row..row + side].iter_mut().zip(values) {
                        put(d, *value);
                    }
                }
            }
        }
    }
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
        // The last ones have several pieces.
        let sizes = [
            (1, 1, 1),
            (3, 17, 70),
            (2, 64, 129),
            (1, 3, 300),
            (2, 3, 6000),
            (1, 40, 900),
        ];
        for (n, c, p) in sizes {
            let data: Vec<f32> = (0..n * c * p).map(|v| v as f32).collect();
            let (mut there, mut back) = (vec![0.0; data.len()], vec![0.0; data.len()]);
            nchw_to_nhwc(&data, c, p, &mut there);
            for (k, &v) in there.iter().enumerate() {
                let (image, pixel, channel) = (k / (c * p), k / c % p, k % c);
                assert_eq!(v, ((image * c + channel) * p + pixel) as f32);
            }
            nhwc_to_nchw(&there, c, p, &mut back);
            assert_eq!(back, data);
            add_nhwc_to_nchw(&there, c, p, &mut back);
            assert!(back.iter().zip(&data).all(|(b, d)| *b == 2.0 * d));
        }
    }
}
