//! Functions of each element on the GPU.

use cudarc::driver::DeviceSlice;
use dfdx::prelude::Cuda;

use super::{ElementwiseKernel, Function};
use crate::error::Result;
use crate::ops::cuda::{CudaBuffer, Module, each};
use crate::ops::parallel::expect_len;

const MODULE: Module = Module {
    name: "rebit_elementwise",
    ptx: include_str!("elementwise.ptx"),
    kernels: &["rebit_function", "rebit_function_grad", "rebit_product"],
};

/// The function's number in elementwise.cu, and its slope.
fn code(f: Function) -> (u32, f32) {
    match f {
        Function::LeakyRelu(slope) => (0, slope),
        Function::Tanh => (1, 0.0),
        Function::Sigmoid => (2, 0.0),
    }
}

impl ElementwiseKernel for Cuda {
    fn function(&self, f: Function, x: &CudaBuffer, y: &mut CudaBuffer) -> Result<()> {
        f.check()?;
        let n = x.len();
        expect_len("function", "y", n, y.len())?;
        let (code, slope) = code(f);
        let arguments = (n, code, slope, x, y);
        // SAFETY: the kernel's arguments; both buffers have `n` elements.
        unsafe { MODULE.launch(&x.device(), "rebit_function", each(n), arguments) }
    }

    fn function_grad(
        &self,
        f: Function,
        y: &CudaBuffer,
        dy: &CudaBuffer,
        dx: &mut CudaBuffer,
        accumulate: bool,
    ) -> Result<()> {
        f.check()?;
        let n = y.len();
        expect_len("function_grad", "dy", n, dy.len())?;
        expect_len("function_grad", "dx", n, dx.len())?;
        let (code, slope) = code(f);
        let arguments = (n, code, slope, y, dy, dx, accumulate);
        // SAFETY: the kernel's arguments; all buffers have `n` elements.
        unsafe { MODULE.launch(&y.device(), "rebit_function_grad", each(n), arguments) }
    }

    fn product(
        &self,
        a: &CudaBuffer,
        b: &CudaBuffer,
        y: &mut CudaBuffer,
        accumulate: bool,
    ) -> Result<()> {
        let n = a.len();
        expect_len("product", "b", n, b.len())?;
        expect_len("product", "y", n, y.len())?;
        // SAFETY: the kernel's arguments; all buffers have `n` elements.
        unsafe {
            MODULE.launch(
                &a.device(),
                "rebit_product",
                each(n),
                (n, a, b, y, accumulate),
            )
        }
    }
}
