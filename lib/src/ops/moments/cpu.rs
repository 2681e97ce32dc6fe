//! Moments on the CPU: those of batch norm, and one pass for the gradient.

use dfdx::prelude::Cpu;
use rayon::prelude::*;

use super::{MomentGrads, MomentsKernel};
use crate::error::{Error, Result};
use crate::ops::batch_norm2d::{NormShape, cpu};
use crate::ops::parallel::{CHUNK, expect_len, wide};
use crate::tensors::CpuBuffer as Buffer;

/// Refuses a shape without a pixel and buffers of another length: `(name, found)` per pixel, then per channel.
pub(super) fn check(
    op: &'static str,
    s: NormShape,
    pixels: &[(&str, usize)],
    channels: &[(&str, usize)],
) -> Result<()> {
    if s.pixels == 0 || s.channels == 0 {
        return Err(Error::invalid(
            format!("{op} of {} pixels x {} channels", s.pixels, s.channels),
            "a mean needs at least one pixel and one channel",
        ));
    }
    for (name, found) in pixels {
        expect_len(op, name, s.pixels * s.channels, *found)?;
    }
    for (name, found) in channels {
        expect_len(op, name, s.channels, *found)?;
    }
    Ok(())
}

impl MomentsKernel for Cpu {
    fn moments(&self, s: NormShape, x: &Buffer, mean: &mut Buffer, var: &mut Buffer) -> Result<()> {
        let channels = [("mean", mean.len()), ("var", var.len())];
        check("moments", s, &[("x", x.len())], &channels)?;
        cpu::moments(s, x, mean, var);
        Ok(())
    }

    fn moments_grad(
        &self,
        s: NormShape,
        x: &Buffer,
        mean: &Buffer,
        gradient: MomentGrads<Buffer>,
        dx: &mut Buffer,
        accumulate: bool,
    ) -> Result<()> {
        let (dmean, dvar) = (gradient.mean, gradient.var);
        check(
            "moments_grad",
            s,
            &[("x", x.len()), ("dx", dx.len())],
            &[
                ("mean", mean.len()),
                ("dmean", dmean.len()),
                ("dvar", dvar.len()),
            ],
        )?;
        let (c, share) = (s.channels, 1.0 / s.pixels as f32);
        let rows = (CHUNK / c).max(16) * c;
        dx.par_chunks_mut(rows)
            .zip(x.par_chunks(rows))
            .for_each(|(dx, x)| {
                wide(|| {
                    for (dx, x) in dx.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                        for k in 0..c {
                            let g = share * (dmean[k] + 2.0 * (x[k] - mean[k]) * dvar[k]);
                            dx[k] = if accumulate { dx[k] + g } else { g };
                        }
                    }
                });
            });
        Ok(())
    }
}
