//! Copies of channels on the CPU.

use dfdx::prelude::Cpu;
use rayon::prelude::*;

use super::{ChannelsKernel, Part, check};
use crate::error::Result;
use crate::ops::parallel::CHUNK;
use crate::tensors::CpuBuffer;

/// Calls `put(to, from)` with the parts of each pixel.
fn each(
    channels: usize,
    (from, x): (Part, &[f32]),
    (to, y): (Part, &mut [f32]),
    put: impl Fn(&mut [f32], &[f32]) + Sync,
) {
    // Pixels that a thread takes at once.
    let pixels = (CHUNK / from.of.max(to.of)).max(1);
    y.par_chunks_mut(pixels * to.of)
        .zip(x.par_chunks(pixels * from.of))
        .for_each(|(y, x)| {
            let pixels = y.chunks_exact_mut(to.of).zip(x.chunks_exact(from.of));
            for (y, x) in pixels {
                put(&mut y[to.start..][..channels], &x[from.start..][..channels]);
            }
        });
}

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
        each(channels, (from, x), (to, y), |y, x| y.copy_from_slice(x));
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
        each(channels, (from, x), (to, y), |y, x| {
            y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
        });
        Ok(())
    }
}
