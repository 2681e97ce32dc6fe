//! Affine quantisation on the GPU.

use cudarc::driver::{DeviceRepr, DeviceSlice};
use dfdx::prelude::Cuda;

use super::{AffineGrid, AffineQuantKernel, part_len};
use crate::error::Result;
use crate::ops::cuda::{CudaBuffer, Module, each, upload};

const MODULE: Module = Module {
    name: "rebit_affine_quant",
    ptx: include_str!("affine_quant.ptx"),
    kernels: &["rebit_affine_quant"],
};

/// `AffineGrid` of affine_quant.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Grid {
    scale: f32,
    zero: f32,
    lowest: f32,
    highest: f32,
}

// SAFETY: four floats in the order of the struct in affine_quant.cu.
unsafe impl DeviceRepr for Grid {}

impl AffineQuantKernel for Cuda {
    fn affine_quant(&self, x: &CudaBuffer, grids: &[AffineGrid], y: &mut CudaBuffer) -> Result<()> {
        let (n, len) = (x.len(), part_len(x.len(), grids, y.len())?);
        if n == 0 {
            return Ok(());
        }
        let grid = |g: &AffineGrid| Grid {
            scale: g.scale,
            zero: g.zero,
            lowest: g.lowest,
            highest: g.highest,
        };
        let device = x.device();
        let grids = upload(&device, &grids.iter().map(grid).collect::<Vec<_>>())?;
        // SAFETY: the kernel's arguments; `x` and `y` have `n` elements, a grid for each `len` of them.
        unsafe {
            MODULE.launch(
                &device,
                "rebit_affine_quant",
                each(n),
                (n, len, x, &grids, y),
            )
        }
    }
}
