//! Fake quantisation on the GPU.

use cudarc::driver::{DeviceRepr, DeviceSlice};
use dfdx::prelude::Cuda;

use super::{BoundGrad, FakeQuant, FakeQuantKernel};
use crate::error::Result;
use crate::ops::cuda::{CudaBuffer, Module, add_blocks, each, room, summing};
use crate::ops::parallel::expect_len;

const MODULE: Module = Module {
    name: "rebit_fake_quant",
    ptx: include_str!("fake_quant.ptx"),
    kernels: &["rebit_fake_quant", "rebit_fake_quant_grad"],
};

/// `FakeQuant` of quantiser.cuh.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Quantiser {
    lower: f32,
    upper: f32,
    levels: f32,
    scale: f32,
    offset: f32,
}

// SAFETY: five floats in the order of the struct in quantiser.cuh.
unsafe impl DeviceRepr for Quantiser {}

impl From<FakeQuant> for Quantiser {
    fn from(f: FakeQuant) -> Self {
        Quantiser {
            lower: f.lower,
            upper: f.upper,
            levels: f.levels as f32,
            scale: f.scale,
            offset: f.offset,
        }
    }
}

impl FakeQuantKernel for Cuda {
    fn fake_quant_forward(&self, x: &CudaBuffer, f: FakeQuant, y: &mut CudaBuffer) -> Result<()> {
        f.check()?;
        let n = x.len();
        expect_len("fake_quant", "y", n, y.len())?;
        let arguments = (n, x, Quantiser::from(f), y);
        // SAFETY: the kernel's arguments; both buffers have `n` elements.
        unsafe { MODULE.launch(&x.device(), "rebit_fake_quant", each(n), arguments) }
    }

    fn fake_quant_grad(
        &self,
        x: &CudaBuffer,
        f: FakeQuant,
        dy: &CudaBuffer,
        dx: &mut CudaBuffer,
        accumulate: bool,
    ) -> Result<BoundGrad> {
        f.check()?;
        let n = x.len();
        expect_len("fake_quant_grad", "dy", n, dy.len())?;
        expect_len("fake_quant_grad", "dx", n, dx.len())?;
        if n == 0 {
            return Ok(f.bound_grad([]));
        }
        let (device, grid) = (x.device(), summing(n));
        let mut partial = room::<f64>(&device, 2 * grid.grid_dim.0 as usize)?;
        let arguments = (n, x, Quantiser::from(f), dy, dx, accumulate, &mut partial);
        // SAFETY: the kernel's arguments; the buffers have `n` elements, `partial` two for each block.
        unsafe { MODULE.launch(&device, "rebit_fake_quant_grad", grid, arguments)? };
        let [sum, sum_n] = add_blocks(&device, &partial)?;
        Ok(f.bound_grad([(sum, sum_n)]))
    }
}
