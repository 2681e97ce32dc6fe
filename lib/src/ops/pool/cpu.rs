//! Pooling on the CPU: one image at a time, channels in the inner loop.

use dfdx::prelude::Cpu;
use pulp::{Arch, Simd};
use rayon::prelude::*;

use super::{PoolKernel, PoolShape};
use crate::error::{Error, Result};
use crate::ops::columns::blocks;
use crate::ops::parallel::{CHUNK, expect_len, wide};
use crate::tensors::CpuBuffer as Buffer;

/// One window of an image: where its output stands, and the offsets of its pixels in row-major order.
#[derive(Clone, Copy)]
struct Window {
    to: usize,
    rows: (usize, usize),
    columns: (usize, usize),
}

impl Window {
    #[inline(always)]
    fn pixels(self, s: PoolShape) -> impl Iterator<Item = usize> {
        (self.rows.0..self.rows.1).flat_map(move |y| {
            (self.columns.0..self.columns.1).map(move |x| (y * s.in_w + x) * s.channels)
        })
    }
}

/// All windows of an image, without what they cover of the padding.
#[inline(always)]
fn windows(s: PoolShape, (out_h, out_w): (usize, usize)) -> impl Iterator<Item = Window> {
    let range = move |out: usize, len: usize| {
        let start = out * s.stride;
        let end = (start + s.kernel - s.padding).min(len);
        (start.saturating_sub(s.padding), end)
    };
    (0..out_h).flat_map(move |y| {
        (0..out_w).map(move |x| Window {
            to: (y * out_w + x) * s.channels,
            rows: range(y, s.in_h),
            columns: range(x, s.in_w),
        })
    })
}

/// The largest value per channel of a window's pixels; a NaN counts as largest.
#[inline(always)]
fn largest(s: PoolShape, window: Window, x: &[f32], best: &mut [f32]) {
    best.fill(f32::NEG_INFINITY);
    for from in window.pixels(s) {
        for (best, &x) in best.iter_mut().zip(&x[from..from + s.channels]) {
            *best = if x > *best || x.is_nan() { x } else { *best };
        }
    }
}

#[inline(always)]
fn max_image(s: PoolShape, out: (usize, usize), x: &[f32], y: &mut [f32]) {
    for window in windows(s, out) {
        largest(s, window, x, &mut y[window.to..window.to + s.channels]);
    }
}

#[inline(always)]
fn max_image_grad(s: PoolShape, out: (usize, usize), x: &[f32], dy: &[f32], dx: &mut [f32]) {
    let mut best = vec![0.0; s.channels];
    // What the first pixel that holds the largest value takes; nothing is left for those after it.
    let mut left = vec![0.0; s.channels];
    let mut share = vec![0.0; s.channels];
    for window in windows(s, out) {
        largest(s, window, x, &mut best);
        left.copy_from_slice(&dy[window.to..window.to + s.channels]);
        for from in window.pixels(s) {
            let x = &x[from..from + s.channels];
            let dx = &mut dx[from..from + s.channels];
            for (((share, &left), &x), &best) in share.iter_mut().zip(&left).zip(x).zip(&best) {
                let wins = (x == best) | (x.is_nan() & best.is_nan());
                *share = if wins { left } else { 0.0 };
            }
            for ((dx, left), &share) in dx.iter_mut().zip(&mut left).zip(&share) {
                *dx += share;
                *left -= share;
            }
        }
    }
}

/// Mean of every channel of one image, by chunks in `f32` that are added in `f64`.
fn mean_image(x: &[f32], channels: usize, y: &mut [f32]) {
    let rows = (CHUNK / channels).max(16);
    let mut part = vec![0.0; channels];
    let mut total = vec![0.0f64; channels];
    for x in x.chunks(rows * channels) {
        Arch::new().dispatch(Sums {
            x,
            channels,
            out: &mut part,
        });
        for (total, part) in total.iter_mut().zip(&part) {
            *total += *part as f64;
        }
    }
    let pixels = (x.len() / channels) as f64;
    for (y, total) in y.iter_mut().zip(total) {
        *y = (total / pixels) as f32;
    }
}

/// Sum over the rows of a chunk, per channel.
struct Sums<'a> {
    x: &'a [f32],
    channels: usize,
    out: &'a mut [f32],
}

impl pulp::WithSimd for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for block in blocks(simd, self.channels) {
            let [sum, _] = block.sums(self.x, self.channels, block.splat(0.0));
            block.store(self.out, sum);
        }
    }
}

pub(super) fn check_mean(
    batch: usize,
    pixels: usize,
    channels: usize,
    map: usize,
    means: usize,
) -> Result<()> {
    if pixels == 0 || channels == 0 {
        return Err(Error::invalid(
            format!("global_avg_pool of {pixels} pixels x {channels} channels"),
            "a mean needs at least one pixel and one channel",
        ));
    }
    expect_len("global_avg_pool", "x", batch * pixels * channels, map)?;
    expect_len("global_avg_pool", "y", batch * channels, means)
}

impl PoolKernel for Cpu {
    fn max_pool_forward(&self, s: PoolShape, x: &Buffer, y: &mut Buffer) -> Result<()> {
        let out = s.out()?;
        expect_len("max_pool2d", "x", s.in_len(), x.len())?;
        expect_len("max_pool2d", "y", s.out_len()?, y.len())?;
        if x.is_empty() {
            return Ok(());
        }
        y.par_chunks_mut(out.0 * out.1 * s.channels)
            .zip(x.par_chunks(s.in_h * s.in_w * s.channels))
            .for_each(|(y, x)| wide(move || max_image(s, out, x, y)));
        Ok(())
    }

    fn max_pool_grad(
        &self,
        s: PoolShape,
        x: &Buffer,
        dy: &Buffer,
        dx: &mut Buffer,
        accumulate: bool,
    ) -> Result<()> {
        let out = s.out()?;
        expect_len("max_pool2d_grad", "x", s.in_len(), x.len())?;
        expect_len("max_pool2d_grad", "dy", s.out_len()?, dy.len())?;
        expect_len("max_pool2d_grad", "dx", s.in_len(), dx.len())?;
        if x.is_empty() {
            return Ok(());
        }
        let image = s.in_h * s.in_w * s.channels;
        dx.par_chunks_mut(image)
            .zip(x.par_chunks(image))
            .zip(dy.par_chunks(out.0 * out.1 * s.channels))
            .for_each(|((dx, x), dy)| {
                if !accumulate {
                    dx.fill(0.0);
                }
                wide(move || max_image_grad(s, out, x, dy, dx));
            });
        Ok(())
    }

    fn global_avg_pool_forward(
        &self,
        batch: usize,
        pixels_per_image: usize,
        channels: usize,
        x: &Buffer,
        y: &mut Buffer,
    ) -> Result<()> {
        check_mean(batch, pixels_per_image, channels, x.len(), y.len())?;
        y.par_chunks_mut(channels)
            .zip(x.par_chunks(pixels_per_image * channels))
            .for_each(|(y, x)| mean_image(x, channels, y));
        Ok(())
    }

    fn global_avg_pool_grad(
        &self,
        batch: usize,
        pixels_per_image: usize,
        channels: usize,
        dy: &Buffer,
        dx: &mut Buffer,
        accumulate: bool,
    ) -> Result<()> {
        check_mean(batch, pixels_per_image, channels, dx.len(), dy.len())?;
        let share = 1.0 / pixels_per_image as f32;
        dx.par_chunks_mut(pixels_per_image * channels)
            .zip(dy.par_chunks(channels))
            .for_each(|(dx, dy)| {
                wide(move || {
                    for row in dx.chunks_exact_mut(channels) {
                        for (dx, dy) in row.iter_mut().zip(dy) {
                            *dx = if accumulate { *dx } else { 0.0 } + dy * share;
                        }
                    }
                });
            });
        Ok(())
    }
}
