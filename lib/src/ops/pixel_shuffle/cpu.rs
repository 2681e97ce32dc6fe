//! Pixel shuffle on the CPU: one image row of the small map at a time.

use dfdx::prelude::Cpu;
use rayon::prelude::*;

use super::{PixelShuffleKernel, ShuffleShape};
use crate::error::Result;
use crate::ops::parallel::expect_len;
use crate::tensors::CpuBuffer as Buffer;

/// Calls `f(small, large)` with the indices, within a row of the small map and the `r` rows that it becomes,
/// of everything that belongs together.
#[inline(always)]
fn each(s: ShuffleShape, mut f: impl FnMut(usize, usize)) {
    let r = s.factor;
    for w in 0..s.width {
        for i in 0..r {
            for j in 0..r {
                for c in 0..s.channels {
                    let small = (w * s.channels + c) * r * r + i * r + j;
                    let large = (i * s.width * r + w * r + j) * s.channels + c;
                    f(small, large);
                }
            }
        }
    }
}

impl PixelShuffleKernel for Cpu {
    fn pixel_shuffle(&self, s: ShuffleShape, x: &Buffer, y: &mut Buffer) -> Result<()> {
        expect_len("pixel_shuffle", "x", s.elements(), x.len())?;
        expect_len("pixel_shuffle", "y", s.elements(), y.len())?;
        let row = (s.width * s.channels * s.factor * s.factor).max(1);
        y.par_chunks_mut(row)
            .zip(x.par_chunks(row))
            .for_each(|(y, x)| each(s, |small, large| y[large] = x[small]));
        Ok(())
    }

    fn pixel_shuffle_grad(
        &self,
        s: ShuffleShape,
        dy: &Buffer,
        dx: &mut Buffer,
        accumulate: bool,
    ) -> Result<()> {
        expect_len("pixel_shuffle_grad", "dy", s.elements(), dy.len())?;
        expect_len("pixel_shuffle_grad", "dx", s.elements(), dx.len())?;
        let row = (s.width * s.channels * s.factor * s.factor).max(1);
        dx.par_chunks_mut(row)
            .zip(dy.par_chunks(row))
            .for_each(|(dx, dy)| {
                if accumulate {
                    each(s, |small, large| dx[small] += dy[large]);
                } else {
                    each(s, |small, large| dx[small] = dy[large]);
                }
            });
        Ok(())
    }
}
