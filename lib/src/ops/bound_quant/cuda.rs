//! The bounds quantiser on the GPU.

use cudarc::driver::{DeviceRepr, DeviceSlice, LaunchConfig};
use dfdx::prelude::Cuda;

use super::{BoundQuant, BoundQuantKernel};
use crate::error::{Error, Result};
use crate::ops::cuda::{CudaBuffer, Module, Scratch, download, each, room, summing, upload};
use crate::ops::fake_quant::BoundGrad;
use crate::ops::parallel::expect_len;

const MODULE: Module = Module {
    name: "rebit_bound_quant",
    ptx: include_str!("bound_quant.ptx"),
    kernels: &["rebit_bound_quant", "rebit_bound_quant_grad"],
};

/// `BoundQuant` of bound_quant.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Quantiser {
    lower: f32,
    upper: f32,
    steps: f32,
}

// SAFETY: three floats in the order of the struct in bound_quant.cu.
unsafe impl DeviceRepr for Quantiser {}

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
    Ok(elements / q.len())
}

fn quantisers(x: &CudaBuffer, q: &[BoundQuant]) -> Result<Scratch<Quantiser>> {
    let of = |q: &BoundQuant| Quantiser {
        lower: q.lower,
        upper: q.upper,
        steps: q.steps as f32,
    };
    upload(&x.device(), &q.iter().map(of).collect::<Vec<_>>())
}

/// The same blocks for every sample, as far as a grid reaches.
fn for_samples(mut grid: LaunchConfig, samples: usize) -> LaunchConfig {
    grid.grid_dim.1 = samples.min(4096) as u32;
    grid
}

impl BoundQuantKernel for Cuda {
    fn bound_quant_forward(
        &self,
        x: &CudaBuffer,
        q: &[BoundQuant],
        y: &mut CudaBuffer,
    ) -> Result<()> {
        expect_len("bound_quant", "y", x.len(), y.len())?;
        let (len, samples) = (sample_len(x.len(), q)?, q.len());
        let quantisers = quantisers(x, q)?;
        let grid = for_samples(each(len), samples);
        let arguments = (samples, len, x, &quantisers, y);
        // SAFETY: the kernel's arguments; `x` and `y` hold `samples` samples, and there is a quantiser for each.
        unsafe { MODULE.launch(&x.device(), "rebit_bound_quant", grid, arguments) }
    }

    fn bound_quant_grad(
        &self,
        x: &CudaBuffer,
        q: &[BoundQuant],
        dy: &CudaBuffer,
        dx: &mut CudaBuffer,
        accumulate: bool,
    ) -> Result<Vec<BoundGrad>> {
        expect_len("bound_quant_grad", "dy", x.len(), dy.len())?;
        expect_len("bound_quant_grad", "dx", x.len(), dx.len())?;
        let (len, samples) = (sample_len(x.len(), q)?, q.len());
        if len == 0 {
            return Ok(vec![BoundGrad::default(); samples]);
        }
        let device = x.device();
        let quantisers = quantisers(x, q)?;
        let grid = for_samples(summing(len), samples);
        let blocks = grid.grid_dim.0 as usize;
        let mut partial = room::<f64>(&device, 3 * blocks * samples)?;
        let arguments = (
            samples,
            len,
            x,
            &quantisers,
            dy,
            dx,
            accumulate,
            &mut partial,
        );
        // SAFETY: as in the forward; `partial` has three numbers for each block of each sample.
        unsafe { MODULE.launch(&device, "rebit_bound_quant_grad", grid, arguments)? };
        let sums = download(&device, &partial)?;
        let gradient = |(sums, q): (&[f64], &BoundQuant)| {
            let sum = |k: usize| sums.iter().skip(k).step_by(3).sum::<f64>();
            let r = sum(2) / f64::from(q.upper - q.lower);
            BoundGrad {
                lower: (sum(1) - r) as f32,
                upper: (sum(0) + r) as f32,
            }
        };
        Ok(sums.chunks(3 * blocks).zip(q).map(gradient).collect())
    }
}
