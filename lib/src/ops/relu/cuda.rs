//! Rectifiers on the GPU.

use cudarc::driver::DeviceSlice;
use dfdx::prelude::Cuda;

use super::{Activation, ActivationKernel};
use crate::error::Result;
use crate::ops::cuda::{CudaBuffer, Module, each};
use crate::ops::parallel::expect_len;

const MODULE: Module = Module {
    name: "rebit_relu",
    ptx: include_str!("relu.ptx"),
    kernels: &["rebit_activate", "rebit_activate_grad", "rebit_add"],
};

impl ActivationKernel for Cuda {
    fn activate(&self, act: Activation, x: &CudaBuffer, y: &mut CudaBuffer) -> Result<()> {
        let n = x.len();
        expect_len("activate", "y", n, y.len())?;
        let (low, high) = act.bounds();
        // SAFETY: the kernel's arguments; both buffers have `n` elements.
        unsafe { MODULE.launch(&x.device(), "rebit_activate", each(n), (n, x, low, high, y)) }
    }

    fn activate_grad(
        &self,
        act: Activation,
        y: &CudaBuffer,
        dy: &CudaBuffer,
        dx: &mut CudaBuffer,
        accumulate: bool,
    ) -> Result<()> {
        let n = y.len();
        expect_len("activate_grad", "dy", n, dy.len())?;
        expect_len("activate_grad", "dx", n, dx.len())?;
        let (low, high) = act.corners();
        let arguments = (n, y, dy, low, high, dx, accumulate);
        // SAFETY: the kernel's arguments; all buffers have `n` elements.
        unsafe { MODULE.launch(&y.device(), "rebit_activate_grad", each(n), arguments) }
    }

    fn add(&self, a: &CudaBuffer, b: &CudaBuffer, y: &mut CudaBuffer) -> Result<()> {
        let n = a.len();
        expect_len("add", "b", n, b.len())?;
        expect_len("add", "y", n, y.len())?;
        // SAFETY: the kernel's arguments; all buffers have `n` elements.
        unsafe { MODULE.launch(&a.device(), "rebit_add", each(n), (n, a, b, y)) }
    }

    fn accumulate(&self, from: &CudaBuffer, into: &mut CudaBuffer) -> Result<()> {
        let n = from.len();
        expect_len("accumulate", "into", n, into.len())?;
        let arguments = (n, &*into, from, &*into);
        // SAFETY: the kernel's arguments; each thread reads its element of `into` before it writes it.
        unsafe { MODULE.launch(&from.device(), "rebit_add", each(n), arguments) }
    }
}
