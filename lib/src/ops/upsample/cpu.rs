//! Enlarging on the CPU: a row of the result at a time, channels in the inner loop.

use dfdx::prelude::Cpu;
use rayon::prelude::*;

use super::{UpsampleKernel, UpsampleShape};
use crate::error::Result;
use crate::ops::parallel::wide;
use crate::tensors::CpuBuffer as Buffer;

/// Adds `weight` times the numbers of `x` to those of `y`.
#[inline(always)]
fn add(y: &mut [f32], weight: f32, x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += weight * x);
}

impl UpsampleKernel for Cpu {
    fn upsample(&self, s: UpsampleShape, x: &Buffer, y: &mut Buffer) -> Result<()> {
        let (out_h, out_w) = s.check("upsample", x.len(), y.len())?;
        if x.is_empty() {
            return Ok(());
        }
        let ((h, w), c) = (s.map, s.channels);
        y.par_chunks_mut(out_w * c)
            .enumerate()
            .for_each(|(row, y)| {
                let image = &x[row / out_h * h * w * c..][..h * w * c];
                let (top, below) = s.how.tap(h, row % out_h);
                let rows = [(top, 1.0 - below), (top + 1, below)];
                wide(|| {
                    for (ox, y) in y.chunks_exact_mut(c).enumerate() {
                        let (left, right) = s.how.tap(w, ox);
                        y.fill(0.0);
                        for (iy, down) in rows {
                            for (ix, across) in [(left, 1.0 - right), (left + 1, right)] {
                                // What is not read may lie outside, or be NaN.
                                if down != 0.0 && across != 0.0 {
                                    add(y, down * across, &image[(iy * w + ix) * c..][..c]);
                                }
                            }
                        }
                    }
                });
            });
        Ok(())
    }

    fn upsample_grad(
        &self,
        s: UpsampleShape,
        dy: &Buffer,
        dx: &mut Buffer,
        accumulate: bool,
    ) -> Result<()> {
        let (out_h, out_w) = s.check("upsample_grad", dx.len(), dy.len())?;
        if dx.is_empty() {
            return Ok(());
        }
        let ((h, w), c) = (s.map, s.channels);
        dx.par_chunks_mut(w * c).enumerate().for_each(|(row, dx)| {
            let (image, iy) = (&dy[row / h * out_h * out_w * c..], row % h);
            wide(|| {
                for (ix, dx) in dx.chunks_exact_mut(c).enumerate() {
                    if !accumulate {
                        dx.fill(0.0);
                    }
                    for oy in s.how.reach(h, iy) {
                        let down = s.how.weight(h, oy, iy);
                        for ox in s.how.reach(w, ix) {
                            let weight = down * s.how.weight(w, ox, ix);
                            if weight != 0.0 {
                                add(dx, weight, &image[(oy * out_w + ox) * c..][..c]);
                            }
                        }
                    }
                }
            });
        });
        Ok(())
    }
}
