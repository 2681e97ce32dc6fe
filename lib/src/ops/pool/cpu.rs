//! Pooling on the CPU: one image at a time, channels in the inner loop.

use dfdx::prelude::Cpu;
use pulp::{Arch, Simd};
use rayon::prelude::*;

use super::{PoolKernel, PoolShape};
use crate::error::{Error, Result};
use crate::ops::columns::blocks;
use crate::ops::parallel::{CHUNK, expect_len, wide};
use crate::tensors::Buffer;

/// Calls `visit(y offset, x offset, first of its window)` for every input pixel of every window of an image.
#[inline(always)]
fn windows(
    s: PoolShape,
    (out_h, out_w): (usize, usize),
    mut visit: impl FnMut(usize, usize, bool),
) {
    // Range of input coordinates that a window covers, without the padding.
    let range = |out: usize, len: usize| {
        let start = out * s.stride;
        start.saturating_sub(s.padding)..(start + s.kernel - s.padding).min(len)
    };
    for out_y in 0..out_h {
        for out_x in 0..out_w {
            let to = (out_y * out_w + out_x) * s.channels;
            let mut first = true;
            for in_y in range(out_y, s.in_h) {
                for in_x in range(out_x, s.in_w) {
                    visit(to, (in_y * s.in_w + in_x) * s.channels, first);
                    first = false;
                }
            }
        }
    }
}

/// Does `x` take over from the best value so far? Only a larger one does, or a NaN.
#[inline(always)]
fn beats(x: f32, best: f32) -> bool {
    x > best || x.is_nan()
}

fn max_image(s: PoolShape, out: (usize, usize), x: &[f32], y: &mut [f32]) {
    windows(s, out, |to, from, first| {
        let (y, x) = (&mut y[to..to + s.channels], &x[from..from + s.channels]);
        if first {
            y.copy_from_slice(x);
        } else {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = if beats(x, *y) { x } else { *y };
            }
        }
    });
}

fn max_image_grad(s: PoolShape, out: (usize, usize), x: &[f32], dy: &[f32], dx: &mut [f32]) {
    // Winner of every channel of the window under way: its value and where it stands.
    let mut best = vec![0.0; s.channels];
    let mut place = vec![0usize; s.channels];
    let mut window = None;
    let mut scatter = |to: usize, place: &[usize]| {
        for (c, &from) in place.iter().enumerate() {
            dx[from + c] += dy[to + c];
        }
    };
    windows(s, out, |to, from, first| {
        if first {
            if let Some(done) = window.replace(to) {
                scatter(done, &place);
            }
            best.copy_from_slice(&x[from..from + s.channels]);
            place.fill(from);
            return;
        }
        for (c, &x) in x[from..from + s.channels].iter().enumerate() {
            if beats(x, best[c]) {
                (best[c], place[c]) = (x, from);
            }
        }
    });
    if let Some(done) = window {
        scatter(done, &place);
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

fn check_mean(
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
                max_image_grad(s, out, x, dy, dx);
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
