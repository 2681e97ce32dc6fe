//! Batch normalisation on the CPU: two passes over memory each way in training, one in inference.

use dfdx::prelude::Cpu;
use pulp::{Arch, Simd};
use rayon::prelude::*;

use super::{BatchNormKernel, NormGrads, NormInput, NormSaved, NormShape};
use crate::error::{Error, Result};
use crate::ops::columns::blocks;
use crate::ops::parallel::{CHUNK, expect_len};
use crate::ops::relu::Activation;
use crate::tensors::CpuBuffer as Buffer;

/// Rows of a chunk: fixed by the shape alone, so that sums do not depend on the number of threads.
fn rows_per_chunk(s: NormShape) -> usize {
    (CHUNK / s.channels).max(16)
}

fn inv_std(var: &[f32], eps: f32) -> Vec<f32> {
    var.iter().map(|v| 1.0 / (v + eps).sqrt()).collect()
}

/// Per channel of one chunk: a mean rounded to `f32`, and the sums of the deviations from it and of their
/// squares, which tell the exact mean and variance.
struct Moments<'a> {
    z: &'a [f32],
    channels: usize,
    out: &'a mut [f32],
}

impl pulp::WithSimd for Moments<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let channels = self.channels;
        let (middle, rest) = self.out.split_at_mut(channels);
        let (sum, square) = rest.split_at_mut(channels);
        let share = 1.0 / (self.z.len() / channels) as f32;
        for block in blocks(simd, channels) {
            let [total, _] = block.sums(self.z, channels, block.splat(0.0));
            let mean = block.mul(total, block.splat(share));
            let [d, dd] = block.sums(self.z, channels, mean);
            block.store(middle, mean);
            block.store(sum, d);
            block.store(square, dd);
        }
    }
}

/// Batch mean and biased variance: two passes over a chunk (which stays in the cache), merged in order in
/// `f64` (Chan, Golub and LeVeque 1983).
pub(crate) fn moments(s: NormShape, z: &[f32], mean: &mut [f32], var: &mut [f32]) {
    let (rows, channels) = (rows_per_chunk(s), s.channels);
    let mut partial = vec![0.0; 3 * channels * s.pixels.div_ceil(rows)];
    partial
        .par_chunks_mut(3 * channels)
        .zip(z.par_chunks(rows * channels))
        .for_each(|(out, z)| Arch::new().dispatch(Moments { z, channels, out }));
    for c in 0..channels {
        let (mut count, mut middle, mut deviation) = (0.0f64, 0.0f64, 0.0f64);
        for (k, part) in partial.chunks_exact(3 * channels).enumerate() {
            let n = rows.min(s.pixels - k * rows) as f64;
            let [rounded, d, dd] = [0, 1, 2].map(|i| part[i * channels + c] as f64);
            let gap = rounded + d / n - middle;
            let total = count + n;
            middle += gap * n / total;
            deviation += dd - d * d / n + gap * gap * count * n / total;
            count = total;
        }
        mean[c] = middle as f32;
        // Rounding may leave a constant channel a hair below 0; `max` would turn NaN into 0.
        var[c] = if deviation < 0.0 {
            0.0
        } else {
            (deviation / count) as f32
        };
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

impl pulp::WithSimd for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let channels = self.mean.len();
        for block in blocks(simd, channels) {
            let (lowest, highest) = (block.splat(self.bounds.0), block.splat(self.bounds.1));
            let mean = block.load(self.mean);
            let (scale, shift) = (block.load(self.scale), block.load(self.shift));
            let rows = self.y.chunks_exact_mut(channels);
            let rows = rows.zip(self.z.chunks_exact(channels));
            if let Some(residual) = self.residual {
                for ((y, z), r) in rows.zip(residual.chunks_exact(channels)) {
                    let x = block.mul(block.sub(block.load(z), mean), scale);
                    let sum = block.add(block.add(x, shift), block.load(r));
                    block.store(y, block.clamp(sum, lowest, highest));
                }
            } else {
                for (y, z) in rows {
                    let x = block.mul(block.sub(block.load(z), mean), scale);
                    block.store(y, block.clamp(block.add(x, shift), lowest, highest));
                }
            }
        }
    }
}

fn normalise(s: NormShape, input: NormInput<Buffer>, mean: &[f32], var: &[f32], y: &mut [f32]) {
    let mut scale = inv_std(var, input.eps);
    scale
        .iter_mut()
        .zip(input.gamma.iter())
        .for_each(|(s, g)| *s *= g);
    let (scale, bounds) = (&scale[..], input.act.bounds());
    let chunk = rows_per_chunk(s) * s.channels;
    y.par_chunks_mut(chunk)
        .zip(input.z.par_chunks(chunk))
        .enumerate()
        .for_each(|(k, (y, z))| {
            let residual = input.residual.map(|r| &r[k * chunk..k * chunk + y.len()]);
            Arch::new().dispatch(Normalise {
                z,
                residual,
                y,
                mean,
                scale,
                shift: input.beta,
                bounds,
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

impl pulp::WithSimd for GradSums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let channels = self.mean.len();
        let bounds = self.act.corners();
        for block in blocks(simd, channels) {
            let (lowest, highest) = (block.splat(bounds.0), block.splat(bounds.1));
            let (mean, inv_std) = (block.load(self.mean), block.load(self.inv_std));
            let (mut sum, mut sum_x) = (block.splat(0.0), block.splat(0.0));
            let rows = self.dy.chunks_exact_mut(channels);
            let rows = rows.zip(self.z.chunks_exact(channels));
            if self.act == Activation::None {
                for (g, z) in rows {
                    let g = block.load(g);
                    let x = block.mul(block.sub(block.load(z), mean), inv_std);
                    sum = block.add(sum, g);
                    sum_x = block.add(sum_x, block.mul(g, x));
                }
            } else {
                for ((dy, z), y) in rows.zip(self.y.chunks_exact(channels)) {
                    let g = block.pass(block.load(y), block.load(dy), lowest, highest);
                    let x = block.mul(block.sub(block.load(z), mean), inv_std);
                    sum = block.add(sum, g);
                    sum_x = block.add(sum_x, block.mul(g, x));
                    block.store(dy, g);
                }
            }
            block.store(self.dbeta, sum);
            block.store(self.dgamma, sum_x);
            if let Some((scale, dz)) = &mut self.direct {
                let scale = block.load(scale);
                let rows = dz.chunks_exact_mut(channels);
                for (dz, g) in rows.zip(self.dy.chunks_exact(channels)) {
                    block.store(dz, block.mul(scale, block.load(g)));
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

impl pulp::WithSimd for GradInput<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let channels = self.mean.len();
        for block in blocks(simd, channels) {
            let (mean, inv_std) = (block.load(self.mean), block.load(self.inv_std));
            let scale = block.load(self.scale);
            let (mean_g, mean_gx) = (block.load(self.mean_g), block.load(self.mean_gx));
            let rows = self.dz.chunks_exact_mut(channels);
            let inputs = self.z.chunks_exact(channels);
            for ((dz, z), g) in rows.zip(inputs).zip(self.g.chunks_exact(channels)) {
                let x = block.mul(block.sub(block.load(z), mean), inv_std);
                let through = block.mul(x, mean_gx);
                let rest = block.sub(block.sub(block.load(g), mean_g), through);
                block.store(dz, block.mul(scale, rest));
            }
        }
    }
}

fn gradient(
    s: NormShape,
    batch_statistics: bool,
    saved: NormSaved<Buffer>,
    grads: NormGrads<Buffer>,
) -> Result<()> {
    check_grad(s, &saved, &grads, |b| b.len())?;
    let NormSaved {
        z,
        y,
        gamma,
        mean,
        var,
        eps,
        act,
    } = saved;
    let NormGrads {
        dy,
        dz,
        dgamma,
        dbeta,
    } = grads;
    let inv_std = inv_std(var, eps);
    let scale: Vec<f32> = inv_std
        .iter()
        .zip(gamma.iter())
        .map(|(s, g)| s * g)
        .collect();
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
            Arch::new().dispatch(GradSums {
                z,
                y,
                dy,
                mean,
                inv_std,
                direct: (!batch_statistics).then_some((scale, dz)),
                act,
                dgamma,
                dbeta,
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
        return Ok(());
    }
    let count = s.pixels as f32;
    let mean_g: Vec<f32> = dbeta.iter().map(|d| d / count).collect();
    let mean_gx: Vec<f32> = dgamma.iter().map(|d| d / count).collect();
    let (mean_g, mean_gx) = (&mean_g[..], &mean_gx[..]);
    dz.par_chunks_mut(chunk)
        .zip(z.par_chunks(chunk))
        .zip(dy.par_chunks(chunk))
        .for_each(|((dz, z), g)| {
            Arch::new().dispatch(GradInput {
                z,
                g,
                dz,
                mean,
                inv_std,
                scale,
                mean_g,
                mean_gx,
            });
        });
    Ok(())
}

/// Refuses a shape without a pixel, an `eps` that gives no root, and buffers of another length: those per pixel, then
/// those per channel.
pub(super) fn check(
    s: NormShape,
    eps: f32,
    pixels: &[(&str, usize)],
    channels: &[(&str, usize)],
) -> Result<()> {
    if s.pixels == 0 || s.channels == 0 {
        return Err(Error::invalid(
            format!(
                "batch_norm2d of {} pixels x {} channels",
                s.pixels, s.channels
            ),
            "statistics need at least one pixel and one channel",
        ));
    }
    if !(0.0..f32::INFINITY).contains(&eps) {
        return Err(Error::invalid(
            format!("batch_norm2d eps {eps}"),
            "it is added to a variance under a root: 0 or a little more, as 1e-5",
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

/// [`check`] of a forward; `len` tells the length of a device's buffer.
pub(super) fn check_forward<V>(
    s: NormShape,
    input: NormInput<V>,
    (mean, var): (&V, &V),
    y: &V,
    len: impl Fn(&V) -> usize,
) -> Result<()> {
    let pixels = [
        ("z", len(input.z)),
        ("y", len(y)),
        ("residual", len(input.residual.unwrap_or(input.z))),
    ];
    let channels = [
        ("gamma", len(input.gamma)),
        ("beta", len(input.beta)),
        ("mean", len(mean)),
        ("var", len(var)),
    ];
    check(s, input.eps, &pixels, &channels)
}

/// [`check`] of a gradient.
pub(super) fn check_grad<V>(
    s: NormShape,
    saved: &NormSaved<V>,
    grads: &NormGrads<V>,
    len: impl Fn(&V) -> usize,
) -> Result<()> {
    let pixels = [
        ("z", len(saved.z)),
        ("y", len(saved.y)),
        ("dy", len(grads.dy)),
        ("dz", len(grads.dz)),
    ];
    let channels = [
        ("gamma", len(saved.gamma)),
        ("mean", len(saved.mean)),
        ("var", len(saved.var)),
        ("dgamma", len(grads.dgamma)),
        ("dbeta", len(grads.dbeta)),
    ];
    check(s, saved.eps, &pixels, &channels)
}

impl BatchNormKernel for Cpu {
    fn batch_norm_train(
        &self,
        s: NormShape,
        input: NormInput<Buffer>,
        y: &mut Buffer,
        mean: &mut Buffer,
        var: &mut Buffer,
    ) -> Result<()> {
        check_forward(s, input, (mean, var), y, |b| b.len())?;
        moments(s, input.z, mean, var);
        normalise(s, input, mean, var, y);
        Ok(())
    }

    fn batch_norm_infer(
        &self,
        s: NormShape,
        input: NormInput<Buffer>,
        mean: &Buffer,
        var: &Buffer,
        y: &mut Buffer,
    ) -> Result<()> {
        check_forward(s, input, (mean, var), y, |b| b.len())?;
        normalise(s, input, mean, var, y);
        Ok(())
    }

    fn batch_norm_grad(
        &self,
        s: NormShape,
        saved: NormSaved<Buffer>,
        grads: NormGrads<Buffer>,
    ) -> Result<()> {
        gradient(s, true, saved, grads)
    }

    fn batch_norm_infer_grad(
        &self,
        s: NormShape,
        saved: NormSaved<Buffer>,
        grads: NormGrads<Buffer>,
    ) -> Result<()> {
        gradient(s, false, saved, grads)
    }
}
