//! The parametric rectifier on the CPU.

use dfdx::prelude::Cpu;
use rayon::prelude::*;

use super::PreluKernel;
use crate::error::Result;
use crate::ops::parallel::{CHUNK, expect_len, map, map2, update2};
use crate::tensors::CpuBuffer as Buffer;

/// `min(x, 0)`; NaN stays NaN (`f32::min` would hide it).
#[inline(always)]
fn below(x: f32) -> f32 {
    if x > 0.0 { 0.0 } else { x }
}

impl PreluKernel for Cpu {
    fn prelu_forward(&self, slope: f32, x: &Buffer, y: &mut Buffer) -> Result<()> {
        expect_len("prelu", "y", x.len(), y.len())?;
        map(x, y, move |x| if x > 0.0 { x } else { slope * x });
        Ok(())
    }

    fn prelu_grad(
        &self,
        slope: f32,
        x: &Buffer,
        dy: &Buffer,
        dx: &mut Buffer,
        accumulate: bool,
    ) -> Result<f32> {
        expect_len("prelu_grad", "dy", x.len(), dy.len())?;
        expect_len("prelu_grad", "dx", x.len(), dx.len())?;
        let pass = move |x: f32, dy: f32| if x > 0.0 { dy } else { slope * dy };
        if accumulate {
            update2(x, dy, dx, move |dx, x, dy| dx + pass(x, dy));
        } else {
            map2(x, dy, dx, pass);
        }
        let sum = |(x, dy): (&[f32], &[f32])| -> f64 {
            let terms = x.iter().zip(dy).map(|(x, dy)| (below(*x) * dy) as f64);
            terms.sum()
        };
        let sums: Vec<f64> = x
            .par_chunks(CHUNK)
            .zip(dy.par_chunks(CHUNK))
            .map(sum)
            .collect();
        Ok(sums.iter().sum::<f64>() as f32)
    }
}
