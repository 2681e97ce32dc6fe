//! Composites on the GPU.

use cudarc::driver::DeviceSlice;
use dfdx::prelude::Cuda;

use super::{CompositeKernel, check};
use crate::error::Result;
use crate::ops::cuda::{CudaBuffer, Module, counts, each};

const MODULE: Module = Module {
    name: "rebit_composite",
    ptx: include_str!("composite.ptx"),
    kernels: &["rebit_composite", "rebit_composite_grad"],
};

impl CompositeKernel for Cuda {
    fn composite(
        &self,
        channels: usize,
        mask: &CudaBuffer,
        x: &CudaBuffer,
        background: &CudaBuffer,
        y: &mut CudaBuffer,
    ) -> Result<()> {
        let n = y.len();
        let others = [("x", x.len()), ("background", background.len()), ("y", n)];
        check("composite", channels, mask.len(), &others)?;
        let [channels] = counts("composite", [channels])?;
        let arguments = (n, channels, mask, x, background, y);
        // SAFETY: the kernel's arguments; `check` compared the lengths.
        unsafe { MODULE.launch(&x.device(), "rebit_composite", each(n), arguments) }
    }

    fn composite_grad(
        &self,
        channels: usize,
        mask: &CudaBuffer,
        dy: &CudaBuffer,
        dx: &mut CudaBuffer,
    ) -> Result<()> {
        let n = dx.len();
        check(
            "composite_grad",
            channels,
            mask.len(),
            &[("dy", dy.len()), ("dx", n)],
        )?;
        let [channels] = counts("composite", [channels])?;
        let arguments = (n, channels, mask, dy, dx);
        // SAFETY: as in the forward.
        unsafe { MODULE.launch(&dy.device(), "rebit_composite_grad", each(n), arguments) }
    }
}
