//! Average pooling on the GPU.

use cudarc::driver::{DeviceRepr, DeviceSlice};
use dfdx::prelude::Cuda;

use super::{AvgPoolKernel, AvgPoolShape};
use crate::error::Result;
use crate::ops::cuda::{CudaBuffer, Module, counts, each};

const MODULE: Module = Module {
    name: "rebit_avg_pool",
    ptx: include_str!("avg_pool.ptx"),
    kernels: &["rebit_avg_pool", "rebit_avg_pool_grad"],
};

/// `AvgPoolShape` of avg_pool.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Shape {
    in_h: u32,
    in_w: u32,
    channels: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride_h: u32,
    stride_w: u32,
    out_h: u32,
    out_w: u32,
}

// SAFETY: nine numbers in the order of the struct in avg_pool.cu.
unsafe impl DeviceRepr for Shape {}

impl Shape {
    fn new(s: AvgPoolShape, (out_h, out_w): (usize, usize)) -> Result<Self> {
        // A step beyond the map is one that just leaves it.
        let stride = (s.stride.0.min(s.map.0), s.stride.1.min(s.map.1));
        let sides = [s.map.0, s.map.1, s.channels, s.kernel.0, s.kernel.1];
        let [in_h, in_w, channels, kernel_h, kernel_w] = counts("avg_pool2d", sides)?;
        let sides = [stride.0, stride.1, out_h, out_w];
        let [stride_h, stride_w, out_h, out_w] = counts("avg_pool2d", sides)?;
        Ok(Shape {
            in_h,
            in_w,
            channels,
            kernel_h,
            kernel_w,
            stride_h,
            stride_w,
            out_h,
            out_w,
        })
    }
}

impl AvgPoolKernel for Cuda {
    fn avg_pool_forward(&self, s: AvgPoolShape, x: &CudaBuffer, y: &mut CudaBuffer) -> Result<()> {
        let out = s.check("avg_pool2d", x.len(), y.len())?;
        let arguments = (y.len(), Shape::new(s, out)?, s.share(), x, &*y);
        // SAFETY: the kernel's arguments; `check` compared the lengths.
        unsafe { MODULE.launch(&x.device(), "rebit_avg_pool", each(y.len()), arguments) }
    }

    fn avg_pool_grad(
        &self,
        s: AvgPoolShape,
        dy: &CudaBuffer,
        dx: &mut CudaBuffer,
        accumulate: bool,
    ) -> Result<()> {
        let out = s.check("avg_pool2d_grad", dx.len(), dy.len())?;
        let n = dx.len();
        let arguments = (n, Shape::new(s, out)?, s.share(), dy, dx, accumulate);
        // SAFETY: the kernel's arguments; `check` compared the lengths.
        unsafe { MODULE.launch(&dy.device(), "rebit_avg_pool_grad", each(n), arguments) }
    }
}
