//! The two orders on the GPU.

use cudarc::driver::DeviceSlice;
use dfdx::prelude::Cuda;

use super::{LayoutKernel, check};
use crate::error::Result;
use crate::ops::cuda::{CudaBuffer, Module, pieces};

const MODULE: Module = Module {
    name: "rebit_layout",
    ptx: include_str!("layout.ptx"),
    kernels: &["rebit_turn"],
};

impl LayoutKernel for Cuda {
    fn to_channels_last(
        &self,
        src: &CudaBuffer,
        channels: usize,
        pixels: usize,
        dst: &mut CudaBuffer,
    ) -> Result<()> {
        turn(src, channels, pixels, dst, false)
    }

    fn to_channels_first(
        &self,
        src: &CudaBuffer,
        channels: usize,
        pixels: usize,
        dst: &mut CudaBuffer,
        add: bool,
    ) -> Result<()> {
        turn(src, pixels, channels, dst, add)
    }
}

/// Side of the tiles of layout.cu.
const SIDE: usize = 32;

fn turn(
    src: &CudaBuffer,
    rows: usize,
    columns: usize,
    dst: &mut CudaBuffer,
    add: bool,
) -> Result<()> {
    check(src.len(), rows, columns, dst.len())?;
    if src.len() == 0 {
        return Ok(());
    }
    let images = src.len() / (rows * columns);
    let tiles = images * rows.div_ceil(SIDE) * columns.div_ceil(SIDE);
    let arguments = (tiles, rows as u32, columns as u32, src, dst, add);
    let grid = pieces(tiles, (SIDE, 8));
    // SAFETY: the kernel's arguments; `check` found whole images of the same number in both buffers.
    unsafe { MODULE.launch(&src.device(), "rebit_turn", grid, arguments) }
}
