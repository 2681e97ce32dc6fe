//! Pixel shuffle on the GPU.

use cudarc::driver::{DeviceRepr, DeviceSlice};
use dfdx::prelude::Cuda;

use super::{PixelShuffleKernel, ShuffleShape};
use crate::error::Result;
use crate::ops::cuda::{CudaBuffer, Module, each};
use crate::ops::parallel::expect_len;

const MODULE: Module = Module {
    name: "rebit_pixel_shuffle",
    ptx: include_str!("pixel_shuffle.ptx"),
    kernels: &["rebit_pixel_shuffle", "rebit_pixel_shuffle_grad"],
};

/// `ShuffleShape` of pixel_shuffle.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Shape {
    height: u32,
    width: u32,
    channels: u32,
    factor: u32,
}

// SAFETY: four numbers in the order of the struct in pixel_shuffle.cu.
unsafe impl DeviceRepr for Shape {}

impl From<ShuffleShape> for Shape {
    fn from(s: ShuffleShape) -> Self {
        Shape {
            height: s.height as u32,
            width: s.width as u32,
            channels: s.channels as u32,
            factor: s.factor as u32,
        }
    }
}

impl PixelShuffleKernel for Cuda {
    fn pixel_shuffle(&self, s: ShuffleShape, x: &CudaBuffer, y: &mut CudaBuffer) -> Result<()> {
        let n = s.elements();
        expect_len("pixel_shuffle", "x", n, x.len())?;
        expect_len("pixel_shuffle", "y", n, y.len())?;
        let arguments = (n, Shape::from(s), x, y);
        // SAFETY: the kernel's arguments; both buffers have the shape's elements.
        unsafe { MODULE.launch(&x.device(), "rebit_pixel_shuffle", each(n), arguments) }
    }

    fn pixel_shuffle_grad(
        &self,
        s: ShuffleShape,
        dy: &CudaBuffer,
        dx: &mut CudaBuffer,
        accumulate: bool,
    ) -> Result<()> {
        let n = s.elements();
        expect_len("pixel_shuffle_grad", "dy", n, dy.len())?;
        expect_len("pixel_shuffle_grad", "dx", n, dx.len())?;
        let arguments = (n, Shape::from(s), dy, dx, accumulate);
        // SAFETY: the kernel's arguments; both buffers have the shape's elements.
        unsafe { MODULE.launch(&dy.device(), "rebit_pixel_shuffle_grad", each(n), arguments) }
    }
}
