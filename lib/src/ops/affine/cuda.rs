//! Scaled sums on the GPU.

use cudarc::driver::DeviceSlice;
use dfdx::prelude::Cuda;

use super::{AffineKernel, check};
use crate::error::Result;
use crate::ops::cuda::{CudaBuffer, Module, each, upload};
use crate::ops::parallel::expect_len;

const MODULE: Module = Module {
    name: "rebit_affine",
    ptx: include_str!("affine.ptx"),
    kernels: &["rebit_affine", "rebit_mix"],
};

impl AffineKernel for Cuda {
    fn affine(&self, scale: f32, offset: &[f32], x: &CudaBuffer, y: &mut CudaBuffer) -> Result<()> {
        check(offset.len(), x.len(), y.len())?;
        let (n, device) = (x.len(), x.device());
        let (channels, offset) = (offset.len() as u32, upload(&device, offset)?);
        let arguments = (n, channels, scale, &offset, x, y);
        // SAFETY: the kernel's arguments; `x` and `y` have `n` elements, `offset` one for each channel.
        unsafe { MODULE.launch(&device, "rebit_affine", each(n), arguments) }
    }

    fn mix(&self, a: f32, into: &mut CudaBuffer, b: f32, from: &CudaBuffer) -> Result<()> {
        let n = from.len();
        expect_len("mix", "from", into.len(), n)?;
        // SAFETY: the kernel's arguments; both buffers have `n` elements.
        unsafe { MODULE.launch(&from.device(), "rebit_mix", each(n), (n, a, into, b, from)) }
    }
}
