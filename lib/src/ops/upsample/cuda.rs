//! Enlarging on the GPU.

use cudarc::driver::{DeviceRepr, DeviceSlice};
use dfdx::prelude::Cuda;

use super::{Upsample, UpsampleKernel, UpsampleShape};
use crate::error::Result;
use crate::ops::cuda::{CudaBuffer, Module, counts, each};

const MODULE: Module = Module {
    name: "rebit_upsample",
    ptx: include_str!("upsample.ptx"),
    kernels: &["rebit_upsample", "rebit_upsample_grad"],
};

/// `UpsampleShape` of upsample.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Shape {
    height: u32,
    width: u32,
    channels: u32,
    factor: u32,
    how: u32,
}

// SAFETY: five numbers in the order of the struct in upsample.cu.
unsafe impl DeviceRepr for Shape {}

impl Shape {
    fn new(s: UpsampleShape) -> Result<Self> {
        let how = match s.how {
            Upsample::Nearest(_) => 0,
            Upsample::Bilinear => 1,
            Upsample::BilinearAligned => 2,
        };
        let (h, w) = s.map;
        let factor = s.how.factor();
        // The sides of the large map are counted in as many bits.
        counts("upsample", [h * factor, w * factor])?;
        let [height, width, channels, factor] = counts("upsample", [h, w, s.channels, factor])?;
        Ok(Shape {
            height,
            width,
            channels,
            factor,
            how,
        })
    }
}

impl UpsampleKernel for Cuda {
    fn upsample(&self, s: UpsampleShape, x: &CudaBuffer, y: &mut CudaBuffer) -> Result<()> {
        s.check("upsample", x.len(), y.len())?;
        let n = y.len();
        // SAFETY: the kernel's arguments; `check` compared the lengths.
        unsafe {
            MODULE.launch(
                &x.device(),
                "rebit_upsample",
                each(n),
                (n, Shape::new(s)?, x, y),
            )
        }
    }

    fn upsample_grad(
        &self,
        s: UpsampleShape,
        dy: &CudaBuffer,
        dx: &mut CudaBuffer,
        accumulate: bool,
    ) -> Result<()> {
        s.check("upsample_grad", dx.len(), dy.len())?;
        let n = dx.len();
        let arguments = (n, Shape::new(s)?, dy, dx, accumulate);
        // SAFETY: the kernel's arguments; `check` compared the lengths.
        unsafe { MODULE.launch(&dy.device(), "rebit_upsample_grad", each(n), arguments) }
    }
}
