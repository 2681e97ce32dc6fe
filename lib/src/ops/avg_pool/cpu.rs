//! Average pooling on the CPU: one image at a time, channels in the inner loop.

use dfdx::prelude::Cpu;
use rayon::prelude::*;

use super::{AvgPoolKernel, AvgPoolShape};
use crate::error::Result;
use crate::ops::parallel::wide;
use crate::tensors::CpuBuffer as Buffer;

/// Calls `f(output, input)` with the places of the first channel of everything that belongs together, windows and
/// their pixels in row-major order.
#[inline(always)]
fn each(s: AvgPoolShape, (out_h, out_w): (usize, usize), mut f: impl FnMut(usize, usize)) {
    for oy in 0..out_h {
        for ox in 0..out_w {
            let to = (oy * out_w + ox) * s.channels;
            for ky in 0..s.kernel.0 {
                let row = (oy * s.stride.0 + ky) * s.map.1 + ox * s.stride.1;
                for kx in 0..s.kernel.1 {
                    f(to, (row + kx) * s.channels);
                }
            }
        }
    }
}

impl AvgPoolKernel for Cpu {
    fn avg_pool_forward(&self, s: AvgPoolShape, x: &Buffer, y: &mut Buffer) -> Result<()> {
        let out = s.check("avg_pool2d", x.len(), y.len())?;
        if x.is_empty() {
            return Ok(());
        }
        let (c, share) = (s.channels, s.share());
        y.par_chunks_mut(out.0 * out.1 * c)
            .zip(x.par_chunks(s.map.0 * s.map.1 * c))
            .for_each(|(y, x)| {
                wide(|| {
                    y.fill(0.0);
                    each(s, out, |to, from| {
                        let pairs = y[to..to + c].iter_mut().zip(&x[from..from + c]);
                        pairs.for_each(|(y, x)| *y += x);
                    });
                    y.iter_mut().for_each(|y| *y *= share);
                });
            });
        Ok(())
    }

    fn avg_pool_grad(
        &self,
        s: AvgPoolShape,
        dy: &Buffer,
        dx: &mut Buffer,
        accumulate: bool,
    ) -> Result<()> {
        let out = s.check("avg_pool2d_grad", dx.len(), dy.len())?;
        if dx.is_empty() {
            return Ok(());
        }
        let (c, share) = (s.channels, s.share());
        dx.par_chunks_mut(s.map.0 * s.map.1 * c)
            .zip(dy.par_chunks(out.0 * out.1 * c))
            .for_each(|(dx, dy)| {
                if !accumulate {
                    dx.fill(0.0);
                }
                wide(|| {
                    each(s, out, |to, from| {
                        let pairs = dx[from..from + c].iter_mut().zip(&dy[to..to + c]);
                        pairs.for_each(|(dx, dy)| *dx += share * dy);
                    });
                });
            });
        Ok(())
    }
}
