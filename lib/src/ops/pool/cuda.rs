//! Pooling on the GPU.

use cudarc::driver::{DeviceRepr, DeviceSlice};
use dfdx::prelude::Cuda;

use super::cpu::check_mean;
use super::{PoolKernel, PoolShape};
use crate::error::Result;
use crate::ops::cuda::{CudaBuffer, Module, each, pieces};
use crate::ops::parallel::expect_len;

const MODULE: Module = Module {
    name: "rebit_pool",
    ptx: include_str!("pool.ptx"),
    kernels: &[
        "rebit_max_pool",
        "rebit_max_pool_grad",
        "rebit_mean_pool",
        "rebit_mean_pool_grad",
    ],
};

/// `PoolShape` of pool.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Shape {
    in_h: u32,
    in_w: u32,
    channels: u32,
    kernel: u32,
    stride: u32,
    padding: u32,
    out_h: u32,
    out_w: u32,
}

// SAFETY: eight numbers in the order of the struct in pool.cu.
unsafe impl DeviceRepr for Shape {}

impl Shape {
    fn new(s: PoolShape) -> Result<Self> {
        let (out_h, out_w) = s.out()?;
        Ok(Shape {
            in_h: s.in_h as u32,
            in_w: s.in_w as u32,
            channels: s.channels as u32,
            kernel: s.kernel as u32,
            stride: s.stride as u32,
            padding: s.padding as u32,
            out_h: out_h as u32,
            out_w: out_w as u32,
        })
    }
}

impl PoolKernel for Cuda {
    fn max_pool_forward(&self, s: PoolShape, x: &CudaBuffer, y: &mut CudaBuffer) -> Result<()> {
        let shape = Shape::new(s)?;
        let n = s.out_len()?;
        expect_len("max_pool2d", "x", s.in_len(), x.len())?;
        expect_len("max_pool2d", "y", n, y.len())?;
        // SAFETY: the kernel's arguments; the buffers have the shape's elements.
        unsafe { MODULE.launch(&x.device(), "rebit_max_pool", each(n), (n, shape, x, y)) }
    }

    fn max_pool_grad(
        &self,
        s: PoolShape,
        x: &CudaBuffer,
        dy: &CudaBuffer,
        dx: &mut CudaBuffer,
        accumulate: bool,
    ) -> Result<()> {
        let shape = Shape::new(s)?;
        let n = s.in_len();
        expect_len("max_pool2d_grad", "x", n, x.len())?;
        expect_len("max_pool2d_grad", "dy", s.out_len()?, dy.len())?;
        expect_len("max_pool2d_grad", "dx", n, dx.len())?;
        let arguments = (n, shape, x, dy, dx, accumulate);
        // SAFETY: the kernel's arguments; the buffers have the shape's elements.
        unsafe { MODULE.launch(&x.device(), "rebit_max_pool_grad", each(n), arguments) }
    }

    fn global_avg_pool_forward(
        &self,
        batch: usize,
        pixels_per_image: usize,
        channels: usize,
        x: &CudaBuffer,
        y: &mut CudaBuffer,
    ) -> Result<()> {
        check_mean(batch, pixels_per_image, channels, x.len(), y.len())?;
        let means = batch * channels.div_ceil(32);
        let arguments = (means, pixels_per_image as u32, channels as u32, x, y);
        let grid = pieces(means, (32, 8));
        // SAFETY: the kernel's arguments; `check_mean` compared the lengths.
        unsafe { MODULE.launch(&x.device(), "rebit_mean_pool", grid, arguments) }
    }

    fn global_avg_pool_grad(
        &self,
        batch: usize,
        pixels_per_image: usize,
        channels: usize,
        dy: &CudaBuffer,
        dx: &mut CudaBuffer,
        accumulate: bool,
    ) -> Result<()> {
        check_mean(batch, pixels_per_image, channels, dx.len(), dy.len())?;
        let (n, share) = (dx.len(), 1.0 / pixels_per_image as f32);
        let (pixels, channels) = (pixels_per_image as u32, channels as u32);
        let arguments = (n, pixels, channels, dy, share, dx, accumulate);
        // SAFETY: the kernel's arguments; `check_mean` compared the lengths.
        unsafe { MODULE.launch(&dy.device(), "rebit_mean_pool_grad", each(n), arguments) }
    }
}
