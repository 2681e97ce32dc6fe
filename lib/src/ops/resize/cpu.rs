//! Resizing on the CPU: a pass over rows, then one over columns.

use dfdx::prelude::Cpu;
use rayon::prelude::*;

use super::{ResizeKernel, ResizeShape, Taps};
use crate::error::Result;
use crate::ops::parallel::expect_len;
use crate::tensors::CpuBuffer as Buffer;

/// Enlarges or shrinks `x` along its rows: `y[r] = sum of weight x[row]`.
fn rows(taps: &Taps, row: usize, x: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(row).enumerate().for_each(|(r, y)| {
        y.fill(0.0);
        for (i, w) in taps.of(r) {
            let x = &x[i * row..][..row];
            y.iter_mut().zip(x).for_each(|(y, x)| *y += w * x);
        }
    });
}

/// The same along the columns of every row.
fn columns(taps: &Taps, (from, to): (usize, usize), channels: usize, x: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(to * channels)
        .zip(x.par_chunks(from * channels))
        .for_each(|(y, x)| {
            for (column, y) in y.chunks_exact_mut(channels).enumerate() {
                y.fill(0.0);
                for (i, w) in taps.of(column) {
                    let x = &x[i * channels..][..channels];
                    y.iter_mut().zip(x).for_each(|(y, x)| *y += w * x);
                }
            }
        });
}

/// [`rows`] the other way round.
fn rows_back(taps: &Taps, row: usize, outputs: usize, dy: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    for r in 0..outputs {
        for (i, w) in taps.of(r) {
            let into = dx[i * row..][..row].iter_mut();
            into.zip(&dy[r * row..][..row])
                .for_each(|(x, y)| *x += w * y);
        }
    }
}

/// [`columns`] the other way round.
fn columns_back(taps: &Taps, (from, to): (usize, usize), c: usize, dy: &[f32], dx: &mut [f32]) {
    dx.par_chunks_mut(from * c)
        .zip(dy.par_chunks(to * c))
        .for_each(|(dx, dy)| {
            dx.fill(0.0);
            for (column, dy) in dy.chunks_exact(c).enumerate() {
                for (i, w) in taps.of(column) {
                    let into = dx[i * c..][..c].iter_mut();
                    into.zip(dy).for_each(|(x, y)| *x += w * y);
                }
            }
        });
}

impl ResizeKernel for Cpu {
    fn resize_forward(&self, s: ResizeShape, x: &Buffer, y: &mut Buffer) -> Result<()> {
        s.check()?;
        expect_len("resize", "x", s.in_len(), x.len())?;
        expect_len("resize", "y", s.out_len(), y.len())?;
        if s.batch * s.channels == 0 {
            return Ok(());
        }
        let (by_row, by_column) = s.taps();
        let row = s.from.1 * s.channels;
        let mut middle = vec![0.0; s.to.0 * row];
        for n in 0..s.batch {
            let x = &x[n * s.from.0 * row..][..s.from.0 * row];
            let len = s.out_len() / s.batch;
            rows(&by_row, row, x, &mut middle);
            let widths = (s.from.1, s.to.1);
            columns(
                &by_column,
                widths,
                s.channels,
                &middle,
                &mut y[n * len..][..len],
            );
        }
        Ok(())
    }

    fn resize_grad(&self, s: ResizeShape, dy: &Buffer, dx: &mut Buffer) -> Result<()> {
        s.check()?;
        expect_len("resize_grad", "dy", s.out_len(), dy.len())?;
        expect_len("resize_grad", "dx", s.in_len(), dx.len())?;
        if s.batch * s.channels == 0 {
            return Ok(());
        }
        let (by_row, by_column) = s.taps();
        let row = s.from.1 * s.channels;
        let mut middle = vec![0.0; s.to.0 * row];
        for n in 0..s.batch {
            let (len, whole) = (s.out_len() / s.batch, s.from.0 * row);
            let widths = (s.from.1, s.to.1);
            columns_back(
                &by_column,
                widths,
                s.channels,
                &dy[n * len..][..len],
                &mut middle,
            );
            rows_back(&by_row, row, s.to.0, &middle, &mut dx[n * whole..][..whole]);
        }
        Ok(())
    }
}
