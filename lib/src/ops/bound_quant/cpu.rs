//! The bounds quantiser on the CPU: one pass over memory each way.

use dfdx::prelude::Cpu;
use rayon::prelude::*;

use super::{BoundQuant, BoundQuantKernel, clamp};
use crate::error::{Error, Result};
use crate::ops::fake_quant::BoundGrad;
use crate::ops::parallel::{CHUNK, LANES, expect_len, wide};
use crate::tensors::CpuBuffer as Buffer;

/// Elements of a sample.
fn sample_len(elements: usize, q: &[BoundQuant]) -> Result<usize> {
    q.iter().try_for_each(|q| q.check())?;
    if q.is_empty() || !elements.is_multiple_of(q.len()) {
        return Err(Error::shape(
            "bound_quant",
            format!("a multiple of {} samples, one quantiser each", q.len()),
            format!("{elements} elements"),
        ));
    }
    Ok((elements / q.len()).max(1))
}

#[inline(always)]
fn forward_chunk(x: &[f32], q: BoundQuant, y: &mut [f32]) {
    let scale = q.steps as f32 / (q.upper - q.lower);
    for (y, &x) in y.iter_mut().zip(x) {
        *y = (scale * clamp(x, q.lower, q.upper)).round_ties_even() / scale;
    }
}

/// `(sum dy 1{x > u}, sum dy 1{x < l}, sum dy R)` of a chunk; `ADD` accumulates into `dx`.
#[inline(always)]
fn grad_chunk<const ADD: bool>(x: &[f32], q: BoundQuant, dy: &[f32], dx: &mut [f32]) -> [f64; 3] {
    let scale = q.steps as f32 / (q.upper - q.lower);
    let mut sums = [[0.0f32; LANES]; 3];
    let mut entry = |i: usize, x: f32, dy: f32, dx: &mut f32| {
        let half = |tie: bool| if tie { 0.5 } else { 0.0 };
        let above = if x > q.upper { 1.0 } else { half(x == q.upper) };
        let below = if x < q.lower { 1.0 } else { half(x == q.lower) };
        let dy = if x.is_nan() { 0.0 } else { dy };
        let c = clamp(x, q.lower, q.upper);
        let r = (scale * c).round_ties_even() / scale - c;
        let r = if x.is_nan() { 0.0 } else { r };
        sums[0][i] += dy * above;
        sums[1][i] += dy * below;
        sums[2][i] += dy * r;
        let g = dy * (1.0 - above - below);
        *dx = if ADD { *dx + g } else { g };
    };
    let (xs, x_rest) = x.as_chunks::<LANES>();
    let (dys, dy_rest) = dy.as_chunks::<LANES>();
    let (dxs, dx_rest) = dx.as_chunks_mut::<LANES>();
    for ((x, dy), dx) in xs.iter().zip(dys).zip(dxs) {
        for i in 0..LANES {
            entry(i, x[i], dy[i], &mut dx[i]);
        }
    }
    for (i, ((x, dy), dx)) in x_rest.iter().zip(dy_rest).zip(dx_rest).enumerate() {
        entry(i, *x, *dy, dx);
    }
    sums.map(|lanes| lanes.iter().map(|&v| f64::from(v)).sum())
}

impl BoundQuantKernel for Cpu {
    fn bound_quant_forward(&self, x: &Buffer, q: &[BoundQuant], y: &mut Buffer) -> Result<()> {
        expect_len("bound_quant", "y", x.len(), y.len())?;
        let len = sample_len(x.len(), q)?;
        y.par_chunks_mut(len)
            .zip(x.par_chunks(len))
            .zip(q)
            .for_each(|((y, x), &q)| {
                y.par_chunks_mut(CHUNK)
                    .zip(x.par_chunks(CHUNK))
                    .for_each(|(y, x)| wide(move || forward_chunk(x, q, y)));
            });
        Ok(())
    }

    fn bound_quant_grad(
        &self,
        x: &Buffer,
        q: &[BoundQuant],
        dy: &Buffer,
        dx: &mut Buffer,
        accumulate: bool,
    ) -> Result<Vec<BoundGrad>> {
        expect_len("bound_quant_grad", "dy", x.len(), dy.len())?;
        expect_len("bound_quant_grad", "dx", x.len(), dx.len())?;
        let len = sample_len(x.len(), q)?;
        let sample = |x: &[f32], dy: &[f32], dx: &mut [f32], q: BoundQuant| {
            let sums: Vec<[f64; 3]> = x
                .par_chunks(CHUNK)
                .zip(dy.par_chunks(CHUNK))
                .zip(dx.par_chunks_mut(CHUNK))
                .map(|((x, dy), dx)| {
                    wide(move || {
                        if accumulate {
                            grad_chunk::<true>(x, q, dy, dx)
                        } else {
                            grad_chunk::<false>(x, q, dy, dx)
                        }
                    })
                })
                .collect();
            let [above, below, r] = [0, 1, 2].map(|i| sums.iter().map(|s| s[i]).sum::<f64>());
            let r = r / f64::from(q.upper - q.lower);
            BoundGrad {
                lower: (below - r) as f32,
                upper: (above + r) as f32,
            }
        };
        Ok(x.par_chunks(len)
            .zip(dy.par_chunks(len))
            .zip(dx.par_chunks_mut(len))
            .zip(q)
            .map(|(((x, dy), dx), &q)| sample(x, dy, dx, q))
            .collect())
    }
}
