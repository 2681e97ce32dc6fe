//! SGD and Adam on the GPU.

use cudarc::driver::DeviceSlice;
use dfdx::prelude::{AdamConfig, Cuda, SgdConfig};

use super::{Adam, Sgd, UpdateKernel, check_len};
use crate::error::Result;
use crate::ops::cuda::{CudaBuffer, Module, each};

const MODULE: Module = Module {
    name: "rebit_update",
    ptx: include_str!("update.ptx"),
    kernels: &["rebit_sgd", "rebit_adam"],
};

impl UpdateKernel for Cuda {
    fn sgd(
        &self,
        rule: &SgdConfig,
        w: &mut CudaBuffer,
        velocity: &mut CudaBuffer,
        grad: &CudaBuffer,
    ) -> Result<()> {
        let r = Sgd::new(rule)?;
        let n = w.len();
        check_len(n, &[("grad", grad.len())])?;
        if r.kind != 0 {
            check_len(n, &[("velocity", velocity.len())])?;
        }
        let arguments = (n, r.lr, r.decay, r.momentum, r.kind, w, velocity, grad);
        // SAFETY: the kernel's arguments; the buffers have `n` elements, or `velocity` is not touched.
        unsafe { MODULE.launch(&grad.device(), "rebit_sgd", each(n), arguments) }
    }

    fn adam(
        &self,
        rule: &AdamConfig,
        t: i32,
        w: &mut CudaBuffer,
        first: &mut CudaBuffer,
        second: &mut CudaBuffer,
        grad: &CudaBuffer,
    ) -> Result<()> {
        let r = Adam::new(rule, t)?;
        let n = w.len();
        let lengths = [
            ("first", first.len()),
            ("second", second.len()),
            ("grad", grad.len()),
        ];
        check_len(n, &lengths)?;
        let (betas, unbias) = ((r.beta1, r.beta2), (r.unbias1, r.unbias2));
        let arguments = (
            n, r.lr, betas.0, betas.1, r.eps, unbias.0, unbias.1, w, first, second, grad,
        );
        // SAFETY: the kernel's arguments; the buffers have `n` elements.
        unsafe { MODULE.launch(&grad.device(), "rebit_adam", each(n), arguments) }
    }
}
