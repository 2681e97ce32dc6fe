//! Scaled sums on the CPU.

use dfdx::prelude::Cpu;
use rayon::prelude::*;

use super::{AffineKernel, check};
use crate::error::Result;
use crate::ops::parallel::{CHUNK, expect_len, map, update};
use crate::tensors::CpuBuffer;

impl AffineKernel for Cpu {
    fn affine(&self, scale: f32, offset: &[f32], x: &CpuBuffer, y: &mut CpuBuffer) -> Result<()> {
        check(offset.len(), x.len(), y.len())?;
        let c = offset.len();
        let piece = (CHUNK / c).max(1) * c;
        y.par_chunks_mut(piece)
            .zip(x.par_chunks(piece))
            .for_each(|(y, x)| {
                for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                    for ((y, x), o) in y.iter_mut().zip(x).zip(offset) {
                        *y = scale * x + o;
                    }
                }
            });
        Ok(())
    }

    fn mix(&self, a: f32, into: &mut CpuBuffer, b: f32, from: &CpuBuffer) -> Result<()> {
        expect_len("mix", "from", into.len(), from.len())?;
        if a == 0.0 {
            map(from, into, move |from| b * from);
        } else {
            update(from, into, move |into, from| a * into + b * from);
        }
        Ok(())
    }
}
