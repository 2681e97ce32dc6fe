//! Composites on the CPU.

use dfdx::prelude::Cpu;
use rayon::prelude::*;

use super::{CompositeKernel, check};
use crate::error::Result;
use crate::ops::parallel::{CHUNK, wide};
use crate::tensors::CpuBuffer as Buffer;

/// Pixels that a thread takes at once.
const PIXELS: usize = CHUNK / 4;

impl CompositeKernel for Cpu {
    fn composite(
        &self,
        channels: usize,
        mask: &Buffer,
        x: &Buffer,
        background: &Buffer,
        y: &mut Buffer,
    ) -> Result<()> {
        let others = [
            ("x", x.len()),
            ("background", background.len()),
            ("y", y.len()),
        ];
        check("composite", channels, mask.len(), &others)?;
        if y.is_empty() {
            return Ok(());
        }
        y.par_chunks_mut(PIXELS * channels)
            .zip(x.par_chunks(PIXELS * channels))
            .zip(background.par_chunks(PIXELS * channels))
            .zip(mask.par_chunks(PIXELS))
            .for_each(|(((y, x), background), mask)| {
                if channels == 1 {
                    return wide(|| {
                        let both = x.iter().zip(background);
                        for ((y, (x, b)), &m) in y.iter_mut().zip(both).zip(mask) {
                            let mixed = m * x + (1.0 - m) * b;
                            let shown = if m == 0.0 { *b } else { mixed };
                            *y = if m == 1.0 { *x } else { shown };
                        }
                    });
                }
                let pixels = y
                    .chunks_exact_mut(channels)
                    .zip(x.chunks_exact(channels))
                    .zip(background.chunks_exact(channels));
                for (((y, x), b), &m) in pixels.zip(mask) {
                    // What is not shown may be NaN.
                    if m == 1.0 {
                        y.copy_from_slice(x);
                    } else if m == 0.0 {
                        y.copy_from_slice(b);
                    } else {
                        for ((y, x), b) in y.iter_mut().zip(x).zip(b) {
                            *y = m * x + (1.0 - m) * b;
                        }
                    }
                }
            });
        Ok(())
    }

    fn composite_grad(
        &self,
        channels: usize,
        mask: &Buffer,
        dy: &Buffer,
        dx: &mut Buffer,
    ) -> Result<()> {
        let others = [("dy", dy.len()), ("dx", dx.len())];
        check("composite_grad", channels, mask.len(), &others)?;
        if dx.is_empty() {
            return Ok(());
        }
        dx.par_chunks_mut(PIXELS * channels)
            .zip(dy.par_chunks(PIXELS * channels))
            .zip(mask.par_chunks(PIXELS))
            .for_each(|((dx, dy), mask)| {
                if channels == 1 {
                    return wide(|| {
                        for ((dx, dy), &m) in dx.iter_mut().zip(dy).zip(mask) {
                            *dx = if m == 0.0 { 0.0 } else { m * dy };
                        }
                    });
                }
                let pixels = dx.chunks_exact_mut(channels).zip(dy.chunks_exact(channels));
                for ((dx, dy), &m) in pixels.zip(mask) {
                    for (dx, dy) in dx.iter_mut().zip(dy) {
                        *dx = if m == 0.0 { 0.0 } else { m * dy };
                    }
                }
            });
        Ok(())
    }
}
