//! The parametric rectifier on the GPU.

use cudarc::driver::DeviceSlice;
use dfdx::prelude::Cuda;

use super::PreluKernel;
use crate::error::Result;
use crate::ops::cuda::{CudaBuffer, Module, add_blocks, each, room, summing};
use crate::ops::parallel::expect_len;

const MODULE: Module = Module {
    name: "rebit_prelu",
    ptx: include_str!("prelu.ptx"),
    kernels: &["rebit_prelu", "rebit_prelu_grad"],
};

impl PreluKernel for Cuda {
    fn prelu_forward(&self, slope: f32, x: &CudaBuffer, y: &mut CudaBuffer) -> Result<()> {
        let n = x.len();
        expect_len("prelu", "y", n, y.len())?;
        // SAFETY: the kernel's arguments; both buffers have `n` elements.
        unsafe { MODULE.launch(&x.device(), "rebit_prelu", each(n), (n, slope, x, y)) }
    }

    fn prelu_grad(
        &self,
        slope: f32,
        x: &CudaBuffer,
        dy: &CudaBuffer,
        dx: &mut CudaBuffer,
        accumulate: bool,
    ) -> Result<f32> {
        let n = x.len();
        expect_len("prelu_grad", "dy", n, dy.len())?;
        expect_len("prelu_grad", "dx", n, dx.len())?;
        if n == 0 {
            return Ok(0.0);
        }
        let (device, grid) = (x.device(), summing(n));
        let mut partial = room::<f64>(&device, grid.grid_dim.0 as usize)?;
        let arguments = (n, slope, x, dy, dx, accumulate, &mut partial);
        // SAFETY: the kernel's arguments; the buffers have `n` elements, `partial` one for each block.
        unsafe { MODULE.launch(&device, "rebit_prelu_grad", grid, arguments)? };
        let [sum] = add_blocks(&device, &partial)?;
        Ok(sum as f32)
    }
}
