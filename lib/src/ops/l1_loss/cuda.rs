//! Mean absolute error on the GPU.

use cudarc::driver::DeviceSlice;
use dfdx::prelude::Cuda;

use super::L1LossKernel;
use crate::error::{Error, Result};
use crate::ops::cuda::{CudaBuffer, Module, add_blocks, room, summing, upload};
use crate::ops::parallel::expect_len;

const MODULE: Module = Module {
    name: "rebit_l1_loss",
    ptx: include_str!("l1_loss.ptx"),
    kernels: &["rebit_l1_loss"],
};

impl L1LossKernel for Cuda {
    fn l1_loss(&self, x: &CudaBuffer, target: &[f32], dx: &mut CudaBuffer) -> Result<f32> {
        let n = x.len();
        expect_len("l1_loss", "target", n, target.len())?;
        expect_len("l1_loss", "dx", n, dx.len())?;
        if n == 0 {
            return Err(Error::invalid("l1_loss", "has no mean over no elements"));
        }
        let (device, grid) = (x.device(), summing(n));
        let target = upload(&device, target)?;
        let mut partial = room::<f64>(&device, grid.grid_dim.0 as usize)?;
        let arguments = (n, x, &target, 1.0 / n as f32, dx, &mut partial);
        // SAFETY: the kernel's arguments; the buffers have `n` elements, `partial` one for each block.
        unsafe { MODULE.launch(&device, "rebit_l1_loss", grid, arguments)? };
        let [sum] = add_blocks(&device, &partial)?;
        Ok((sum / n as f64) as f32)
    }
}
