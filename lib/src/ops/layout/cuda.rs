//! The two orders on the GPU.

use cudarc::driver::DeviceSlice;
use dfdx::prelude::Cuda;

use super::{LayoutKernel, check};
use crate::error::Result;
use crate::ops::cuda::{CudaBuffer, Module, blocks};

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

/// Images of a launch: the third extent of a grid.
const IMAGES: usize = 65_535;

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
    let len = rows * columns;
    let images = src.len() / len;
    for first in (0..images).step_by(IMAGES) {
        let part = first * len..(first + IMAGES).min(images) * len;
        let count = part.len() / len;
        let grid = (columns.div_ceil(32), rows.div_ceil(32), count);
        let (from, mut to) = (src.slice(part.clone()), dst.slice_mut(part));
        let arguments = (rows as u32, columns as u32, &from, &mut to, add);
        // SAFETY: the kernel's arguments; both parts hold `count` images.
        unsafe {
            MODULE.launch(
                &src.device(),
                "rebit_turn",
                blocks(grid, (32, 8)),
                arguments,
            )?
        };
    }
    Ok(())
}
