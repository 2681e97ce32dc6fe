//! Affine quantisation on the CPU: one pass over memory.

use dfdx::prelude::Cpu;

use super::{AffineGrid, AffineQuantKernel, part_len};
use crate::error::Result;
use crate::ops::parallel::map;
use crate::tensors::CpuBuffer as Buffer;

impl AffineQuantKernel for Cpu {
    fn affine_quant(&self, x: &Buffer, grids: &[AffineGrid], y: &mut Buffer) -> Result<()> {
        let len = part_len(x.len(), grids, y.len())?;
        if len == 0 {
            return Ok(());
        }
        let parts = y.chunks_exact_mut(len).zip(x.chunks_exact(len));
        for ((y, x), &grid) in parts.zip(grids) {
            map(x, y, move |x| grid.quantise(x));
        }
        Ok(())
    }
}
