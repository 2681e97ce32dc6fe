//! Batch normalisation on the CPU: two passes over memory each way in training, one in inference.

use dfdx::prelude::Cpu;
use rayon::prelude::*;

use super::{BatchNormKernel, NormShape};
use crate::error::{Error, Result};
use crate::ops::columns::{ColumnPass, at, at_mut, for_columns, sum_rows};
use crate::ops::parallel::{CHUNK, expect_len, wide};
use crate::ops::relu::{Activation, clamp, pass};
use crate::tensors::Buffer;

/// Rows of a chunk: fixed by the shape alone, so that sums do not depend on the number of threads.
fn rows_per_chunk(s: NormShape) -> usize {
    (CHUNK / s.channels).max(16)
}

fn inv_std(var: &[f32], eps: f32) -> Vec<f32> {
    var.iter().map(|v| 1.0 / (v + eps).sqrt()).collect()
}

/// Mean and summed squared deviation of one chunk, per channel.
struct Moments<'a> {
    z: &'a [f32],
    channels: usize,
    mean: &'a mut [f32],
    deviation: &'a mut [f32],
}

impl ColumnPass for Moments<'_> {
    #[inline(always)]
    fn block<const W: usize>(&mut self, first: usize) {
        let rows = (self.z.len() / self.channels) as f32;
        let mean: [f32; W] = sum_rows(self.z, self.channels, first, |z, _| z).map(|s| s / rows);
        *at_mut(self.deviation, first) = sum_rows::<W>(self.z, self.channels, first, |z, i| {
            (z - mean[i]) * (z - mean[i])
        });
        *at_mut(self.mean, first) = mean;
    }
}

/// Batch mean and biased variance: exact two-pass moments inside a chunk (which stays in the cache),
/// merged in order in `f64` (Chan, Golub and LeVeque 1983).
fn moments(s: NormShape, z: &[f32], mean: &mut [f32], var: &mut [f32]) {
    let rows = rows_per_chunk(s);
    let mut partial = vec![0.0; 2 * s.channels * s.pixels.div_ceil(rows)];
    partial
        .par_chunks_mut(2 * s.channels)
        .zip(z.par_chunks(rows * s.channels))
        .for_each(|(out, z)| {
            let (mean, deviation) = out.split_at_mut(s.channels);
            wide(move || {
                for_columns(
                    s.channels,
                    &mut Moments {
                        z,
                        channels: s.channels,
                        mean,
                        deviation,
                    },
                )
            });
        });
    for c in 0..s.channels {
        let (mut count, mut middle, mut deviation) = (0.0f64, 0.0f64, 0.0f64);
        for (k, part) in partial.chunks_exact(2 * s.channels).enumerate() {
            let n = rows.min(s.pixels - k * rows) as f64;
            let gap = part[c] as f64 - middle;
            let total = count + n;
            middle += gap * n / total;
            deviation += part[s.channels + c] as f64 + gap * gap * count * n / total;
            count = total;
        }
        mean[c] = middle as f32;
        var[c] = (deviation / count) as f32;
    }
}

/// `y = act((z - mean) * scale + shift + residual)` for one chunk.
struct Normalise<'a> {
    z: &'a [f32],
    residual: Option<&'a [f32]>,
    y: &'a mut [f32],
    mean: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    bounds: (f32, f32),
}

impl ColumnPass for Normalise<'_> {
    #[inline(always)]
    fn block<const W: usize>(&mut self, first: usize) {
        let channels = self.mean.len();
        let bounds = self.bounds;
        let mean: [f32; W] = *at(self.mean, first);
        let scale: [f32; W] = *at(self.scale, first);
        let shift: [f32; W] = *at(self.shift, first);
        let rows = self
            .y
            .chunks_exact_mut(channels)
            .zip(self.z.chunks_exact(channels));
        match self.residual {
            None => {
                for (y, z) in rows {
                    let (y, z): (&mut [f32; W], &[f32; W]) = (at_mut(y, first), at(z, first));
                    for i in 0..W {
                        y[i] = clamp((z[i] - mean[i]) * scale[i] + shift[i], bounds);
                    }
                }
            }
            Some(residual) => {
                for ((y, z), r) in rows.zip(residual.chunks_exact(channels)) {
                    let (y, z): (&mut [f32; W], &[f32; W]) = (at_mut(y, first), at(z, first));
                    let r: &[f32; W] = at(r, first);
                    for i in 0..W {
                        y[i] = clamp((z[i] - mean[i]) * scale[i] + shift[i] + r[i], bounds);
                    }
                }
            }
        }
    }
}

#[allow(clippy::too_many_arguments)]
fn normalise(
    s: NormShape,
    z: &[f32],
    gamma: &[f32],
    beta: &[f32],
    mean: &[f32],
    var: &[f32],
    eps: f32,
    residual: Option<&[f32]>,
    act: Activation,
    y: &mut [f32],
) {
    let mut scale = inv_std(var, eps);
    scale.iter_mut().zip(gamma).for_each(|(s, g)| *s *= g);
    let (scale, bounds) = (&scale[..], act.bounds());
    let chunk = rows_per_chunk(s) * s.channels;
    y.par_chunks_mut(chunk)
        .zip(z.par_chunks(chunk))
        .enumerate()
        .for_each(|(k, (y, z))| {
            let residual = residual.map(|r| &r[k * chunk..k * chunk + y.len()]);
            wide(move || {
                for_columns(
                    s.channels,
                    &mut Normalise {
                        z,
                        residual,
                        y,
                        mean,
                        scale,
                        shift: beta,
                        bounds,
                    },
                )
            });
        });
}

/// Masks `dy` by the activation and sums `g` and `g x^` over one chunk; writes `dz = scale * g` if asked.
struct GradSums<'a> {
    z: &'a [f32],
    y: &'a [f32],
    dy: &'a mut [f32],
    mean: &'a [f32],
    inv_std: &'a [f32],
    /// With given statistics the gradient is ready in the same pass: `(gamma / std, dz)`.
    direct: Option<(&'a [f32], &'a mut [f32])>,
    act: Activation,
    dgamma: &'a mut [f32],
    dbeta: &'a mut [f32],
}

impl ColumnPass for GradSums<'_> {
    #[inline(always)]
    fn block<const W: usize>(&mut self, first: usize) {
        let channels = self.mean.len();
        let bounds = self.act.bounds();
        let mean: [f32; W] = *at(self.mean, first);
        let inv_std: [f32; W] = *at(self.inv_std, first);
        let (mut sum, mut sum_x) = ([0.0; W], [0.0; W]);
        let rows = self.dy.chunks_exact_mut(channels);
        let mut add = |g: &[f32; W], z: &[f32; W]| {
            for i in 0..W {
                sum[i] += g[i];
                sum_x[i] += g[i] * ((z[i] - mean[i]) * inv_std[i]);
            }
        };
        if self.act == Activation::None {
            for (g, z) in rows.zip(self.z.chunks_exact(channels)) {
                add(at(g, first), at(z, first));
            }
        } else {
            let outputs = self.y.chunks_exact(channels);
            for ((g, z), y) in rows.zip(self.z.chunks_exact(channels)).zip(outputs) {
                let (g, y): (&mut [f32; W], &[f32; W]) = (at_mut(g, first), at(y, first));
                for i in 0..W {
                    g[i] = pass(y[i], g[i], bounds);
                }
                add(g, at(z, first));
            }
        }
        *at_mut(self.dbeta, first) = sum;
        *at_mut(self.dgamma, first) = sum_x;
        if let Some((scale, dz)) = &mut self.direct {
            let scale: [f32; W] = *at(scale, first);
            let rows = dz.chunks_exact_mut(channels);
            for (dz, g) in rows.zip(self.dy.chunks_exact(channels)) {
                let (dz, g): (&mut [f32; W], &[f32; W]) = (at_mut(dz, first), at(g, first));
                for i in 0..W {
                    dz[i] = scale[i] * g[i];
                }
            }
        }
    }
}

/// `dz = scale * (g - mean_g - x^ mean_gx)` for one chunk.
struct GradInput<'a> {
    z: &'a [f32],
    g: &'a [f32],
    dz: &'a mut [f32],
    mean: &'a [f32],
    inv_std: &'a [f32],
    scale: &'a [f32],
    mean_g: &'a [f32],
    mean_gx: &'a [f32],
}

impl ColumnPass for GradInput<'_> {
    #[inline(always)]
    fn block<const W: usize>(&mut self, first: usize) {
        let channels = self.mean.len();
        let mean: [f32; W] = *at(self.mean, first);
        let inv_std: [f32; W] = *at(self.inv_std, first);
        let scale: [f32; W] = *at(self.scale, first);
        let mean_g: [f32; W] = *at(self.mean_g, first);
        let mean_gx: [f32; W] = *at(self.mean_gx, first);
        let rows = self.dz.chunks_exact_mut(channels);
        let inputs = self.z.chunks_exact(channels);
        for ((dz, z), g) in rows.zip(inputs).zip(self.g.chunks_exact(channels)) {
            let dz: &mut [f32; W] = at_mut(dz, first);
            let (z, g): (&[f32; W], &[f32; W]) = (at(z, first), at(g, first));
            for i in 0..W {
                let x = (z[i] - mean[i]) * inv_std[i];
                dz[i] = scale[i] * (g[i] - mean_g[i] - x * mean_gx[i]);
            }
        }
    }
}

#[allow(clippy::too_many_arguments)]
fn gradient(
    s: NormShape,
    batch_statistics: bool,
    z: &[f32],
    y: &[f32],
    gamma: &[f32],
    mean: &[f32],
    var: &[f32],
    eps: f32,
    act: Activation,
    dy: &mut [f32],
    dz: &mut [f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    let inv_std = inv_std(var, eps);
    let scale: Vec<f32> = inv_std.iter().zip(gamma).map(|(s, g)| s * g).collect();
    let (inv_std, scale) = (&inv_std[..], &scale[..]);
    let rows = rows_per_chunk(s);
    let chunk = rows * s.channels;
    let mut partial = vec![0.0; 2 * s.channels * s.pixels.div_ceil(rows)];
    partial
        .par_chunks_mut(2 * s.channels)
        .zip(dy.par_chunks_mut(chunk))
        .zip(dz.par_chunks_mut(chunk))
        .zip(z.par_chunks(chunk).zip(y.par_chunks(chunk)))
        .for_each(|(((out, dy), dz), (z, y))| {
            let (dgamma, dbeta) = out.split_at_mut(s.channels);
            wide(move || {
                for_columns(
                    s.channels,
                    &mut GradSums {
                        z,
                        y,
                        dy,
                        mean,
                        inv_std,
                        direct: (!batch_statistics).then_some((scale, dz)),
                        act,
                        dgamma,
                        dbeta,
                    },
                )
            });
        });
    for c in 0..s.channels {
        let column = |offset: usize| -> f64 {
            let parts = partial.chunks_exact(2 * s.channels);
            parts.map(|part| part[offset + c] as f64).sum()
        };
        dgamma[c] = column(0) as f32;
        dbeta[c] = column(s.channels) as f32;
    }
    if !batch_statistics {
        return;
    }
    let count = s.pixels as f32;
    let mean_g: Vec<f32> = dbeta.iter().map(|d| d / count).collect();
    let mean_gx: Vec<f32> = dgamma.iter().map(|d| d / count).collect();
    let (mean_g, mean_gx) = (&mean_g[..], &mean_gx[..]);
    dz.par_chunks_mut(chunk)
        .zip(z.par_chunks(chunk))
        .zip(dy.par_chunks(chunk))
        .for_each(|((dz, z), g)| {
            wide(move || {
                for_columns(
                    s.channels,
                    &mut GradInput {
                        z,
                        g,
                        dz,
                        mean,
                        inv_std,
                        scale,
                        mean_g,
                        mean_gx,
                    },
                )
            });
        });
}

/// Shape errors of all buffers of a call at once: those per pixel, then those per channel.
fn check(s: NormShape, pixels: &[(&str, usize)], channels: &[(&str, usize)]) -> Result<()> {
    if s.pixels == 0 || s.channels == 0 {
        return Err(Error::invalid(
            format!(
                "batch_norm2d of {} pixels x {} channels",
                s.pixels, s.channels
            ),
            "statistics need at least one pixel and one channel",
        ));
    }
    for (name, found) in pixels {
        expect_len("batch_norm2d", name, s.pixels * s.channels, *found)?;
    }
    for (name, found) in channels {
        expect_len("batch_norm2d", name, s.channels, *found)?;
    }
    Ok(())
}

impl BatchNormKernel for Cpu {
    fn batch_norm_train(
        &self,
        s: NormShape,
        z: &Buffer,
        gamma: &Buffer,
        beta: &Buffer,
        eps: f32,
        residual: Option<&Buffer>,
        act: Activation,
        y: &mut Buffer,
        mean: &mut Buffer,
        var: &mut Buffer,
    ) -> Result<()> {
        check(
            s,
            &[("z", z.len())],
            &[("mean", mean.len()), ("var", var.len())],
        )?;
        moments(s, z, mean, var);
        self.batch_norm_infer(s, z, gamma, beta, mean, var, eps, residual, act, y)
    }

    fn batch_norm_infer(
        &self,
        s: NormShape,
        z: &Buffer,
        gamma: &Buffer,
        beta: &Buffer,
        mean: &Buffer,
        var: &Buffer,
        eps: f32,
        residual: Option<&Buffer>,
        act: Activation,
        y: &mut Buffer,
    ) -> Result<()> {
        let residual = residual.map(|r| &r[..]);
        let residual_len = residual.map_or(z.len(), <[f32]>::len);
        check(
            s,
            &[("z", z.len()), ("y", y.len()), ("residual", residual_len)],
            &[
                ("gamma", gamma.len()),
                ("beta", beta.len()),
                ("mean", mean.len()),
                ("var", var.len()),
            ],
        )?;
        normalise(s, z, gamma, beta, mean, var, eps, residual, act, y);
        Ok(())
    }

    fn batch_norm_grad(
        &self,
        s: NormShape,
        z: &Buffer,
        y: &Buffer,
        gamma: &Buffer,
        mean: &Buffer,
        var: &Buffer,
        eps: f32,
        act: Activation,
        dy: &mut Buffer,
        dz: &mut Buffer,
        dgamma: &mut Buffer,
        dbeta: &mut Buffer,
    ) -> Result<()> {
        check_grad(s, z, y, gamma, mean, var, dy, dz, dgamma, dbeta)?;
        gradient(
            s, true, z, y, gamma, mean, var, eps, act, dy, dz, dgamma, dbeta,
        );
        Ok(())
    }

    fn batch_norm_infer_grad(
        &self,
        s: NormShape,
        z: &Buffer,
        y: &Buffer,
        gamma: &Buffer,
        mean: &Buffer,
        var: &Buffer,
        eps: f32,
        act: Activation,
        dy: &mut Buffer,
        dz: &mut Buffer,
        dgamma: &mut Buffer,
        dbeta: &mut Buffer,
    ) -> Result<()> {
        check_grad(s, z, y, gamma, mean, var, dy, dz, dgamma, dbeta)?;
        gradient(
            s, false, z, y, gamma, mean, var, eps, act, dy, dz, dgamma, dbeta,
        );
        Ok(())
    }
}

#[allow(clippy::too_many_arguments)]
fn check_grad(
    s: NormShape,
    z: &[f32],
    y: &[f32],
    gamma: &[f32],
    mean: &[f32],
    var: &[f32],
    dy: &[f32],
    dz: &[f32],
    dgamma: &[f32],
    dbeta: &[f32],
) -> Result<()> {
    check(
        s,
        &[
            ("z", z.len()),
            ("y", y.len()),
            ("dy", dy.len()),
            ("dz", dz.len()),
        ],
        &[
            ("gamma", gamma.len()),
            ("mean", mean.len()),
            ("var", var.len()),
            ("dgamma", dgamma.len()),
            ("dbeta", dbeta.len()),
        ],
    )
}
