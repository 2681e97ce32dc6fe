//! Fake quantisation on the CPU: one pass over memory each way.

use dfdx::prelude::Cpu;
use rayon::prelude::*;

use super::{BoundGrad, FakeQuant, FakeQuantKernel};
use crate::error::Result;
use crate::ops::parallel::{CHUNK, LANES, expect_len, map, wide};
use crate::tensors::CpuBuffer as Buffer;

/// Lane-wise sums of `dy` and `dy n` over entries inside the bounds: all that the bounds' gradient needs.
#[derive(Clone, Copy)]
pub(crate) struct BoundSums {
    dy: [f32; LANES],
    dy_n: [f32; LANES],
}

impl BoundSums {
    pub(crate) const ZERO: Self = BoundSums {
        dy: [0.0; LANES],
        dy_n: [0.0; LANES],
    };

    /// Adds one entry to lane `i`; returns `dy m`.
    #[inline(always)]
    pub(crate) fn add(&mut self, i: usize, n: f32, dy: f32) -> f32 {
        let inside = (0.0..=1.0).contains(&n);
        let g = if inside { dy } else { 0.0 };
        let gn = if inside { dy * n } else { 0.0 };
        self.dy[i] += g;
        self.dy_n[i] += gn;
        g
    }

    /// `(sum dy, sum dy n)` of a chunk.
    pub(crate) fn total(&self) -> (f64, f64) {
        let sum = |lanes: &[f32]| lanes.iter().map(|&v| v as f64).sum();
        (sum(&self.dy), sum(&self.dy_n))
    }
}

impl FakeQuant {
    /// `dL/dl` and `dL/du` from the sums of all chunks, added in order.
    pub(crate) fn bound_grad(self, sums: impl IntoIterator<Item = (f64, f64)>) -> BoundGrad {
        let (dy, dy_n) = sums
            .into_iter()
            .fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
        let slope = self.scale as f64 / (self.upper - self.lower) as f64;
        BoundGrad {
            lower: (slope * (dy_n - dy)) as f32,
            upper: (-slope * dy_n) as f32,
        }
    }
}

/// Gradient of one chunk; `ADD` accumulates into `dx`.
#[inline(always)]
fn grad_chunk<const ADD: bool>(x: &[f32], f: FakeQuant, dy: &[f32], dx: &mut [f32]) -> (f64, f64) {
    let slope = f.scale / (f.upper - f.lower);
    let mut sums = BoundSums::ZERO;
    let mut entry = |i: usize, x: f32, dy: f32, dx: &mut f32| {
        let g = slope * sums.add(i, f.normalise(x), dy);
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
    sums.total()
}

impl FakeQuantKernel for Cpu {
    fn fake_quant_forward(&self, x: &Buffer, f: FakeQuant, y: &mut Buffer) -> Result<()> {
        f.check()?;
        expect_len("fake_quant", "y", x.len(), y.len())?;
        map(x, y, move |x| f.quantise(x));
        Ok(())
    }

    fn fake_quant_grad(
        &self,
        x: &Buffer,
        f: FakeQuant,
        dy: &Buffer,
        dx: &mut Buffer,
        accumulate: bool,
    ) -> Result<BoundGrad> {
        f.check()?;
        expect_len("fake_quant_grad", "dy", x.len(), dy.len())?;
        expect_len("fake_quant_grad", "dx", x.len(), dx.len())?;
        let sums: Vec<(f64, f64)> = x
            .par_chunks(CHUNK)
            .zip(dy.par_chunks(CHUNK))
            .zip(dx.par_chunks_mut(CHUNK))
            .map(|((x, dy), dx)| {
                wide(move || {
                    if accumulate {
                        grad_chunk::<true>(x, f, dy, dx)
                    } else {
                        grad_chunk::<false>(x, f, dy, dx)
                    }
                })
            })
            .collect();
        Ok(f.bound_grad(sums))
    }
}
