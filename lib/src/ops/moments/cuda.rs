//! Moments on the GPU: those of batch norm, and one pass for the gradient.

use cudarc::driver::DeviceSlice;
use dfdx::prelude::Cuda;

use super::cpu::check;
use super::{MomentGrads, MomentsKernel};
use crate::error::Result;
use crate::ops::batch_norm2d::{NormShape, cuda};
use crate::ops::cuda::{CudaBuffer, Module, each};

const MODULE: Module = Module {
    name: "rebit_channel_moments",
    ptx: include_str!("moments.ptx"),
    kernels: &["rebit_channel_moments_grad"],
};

impl MomentsKernel for Cuda {
    fn moments(
        &self,
        s: NormShape,
        x: &CudaBuffer,
        mean: &mut CudaBuffer,
        var: &mut CudaBuffer,
    ) -> Result<()> {
        let channels = [("mean", mean.len()), ("var", var.len())];
        check("moments", s, &[("x", x.len())], &channels)?;
        cuda::moments(s, x, mean, var)
    }

    fn moments_grad(
        &self,
        s: NormShape,
        x: &CudaBuffer,
        mean: &CudaBuffer,
        gradient: MomentGrads<CudaBuffer>,
        dx: &mut CudaBuffer,
        accumulate: bool,
    ) -> Result<()> {
        let (dmean, dvar) = (gradient.mean, gradient.var);
        check(
            "moments_grad",
            s,
            &[("x", x.len()), ("dx", dx.len())],
            &[
                ("mean", mean.len()),
                ("dmean", dmean.len()),
                ("dvar", dvar.len()),
            ],
        )?;
        let (n, share) = (s.pixels * s.channels, 1.0 / s.pixels as f32);
        let channels = s.channels as u32;
        let arguments = (n, channels, share, x, mean, dmean, dvar, dx, accumulate);
        // SAFETY: the kernel's arguments; `check` compared the lengths.
        unsafe {
            MODULE.launch(
                &x.device(),
                "rebit_channel_moments_grad",
                each(n),
                arguments,
            )
        }
    }
}
