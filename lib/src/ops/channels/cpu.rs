//! Copies of channels on the CPU.

use dfdx::prelude::Cpu;

use super::{ChannelsKernel, Part, check};
use crate::error::Result;
use crate::tensors::CpuBuffer;

impl ChannelsKernel for Cpu {
    fn copy_channels(
        &self,
        channels: usize,
        from: Part,
        x: &CpuBuffer,
        to: Part,
        y: &mut CpuBuffer,
    ) -> Result<()> {
        check(channels, from, x.len(), to, y.len())?;
        for (y, x) in y.chunks_exact_mut(to.of).zip(x.chunks_exact(from.of)) {
            y[to.start..to.start + channels].copy_from_slice(&x[from.start..from.start + channels]);
        }
        Ok(())
    }

    fn add_channels(
        &self,
        channels: usize,
        from: Part,
        x: &CpuBuffer,
        to: Part,
        y: &mut CpuBuffer,
    ) -> Result<()> {
        check(channels, from, x.len(), to, y.len())?;
        for (y, x) in y.chunks_exact_mut(to.of).zip(x.chunks_exact(from.of)) {
            let y = y[to.start..to.start + channels].iter_mut();
            y.zip(&x[from.start..]).for_each(|(y, x)| *y += x);
        }
        Ok(())
    }
}
