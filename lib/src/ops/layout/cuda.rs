//! The two orders on the GPU.

use cudarc::driver::DeviceSlice;
use dfdx::prelude::{Cuda, Storage};

use crate::error::{Error, Result};
use crate::ops::cuda::{CudaBuffer, Module, blocks};
use crate::ops::parallel::expect_len;

const MODULE: Module = Module {
    name: "rebit_layout",
    ptx: include_str!("layout.ptx"),
    kernels: &["rebit_turn"],
};

/// Changes of order on a device's own buffers.
pub trait LayoutKernel: Storage<f32> {
    /// `dst[n, p, c] = src[n, c, p]` for `channels` channels and `pixels` = height * width.
    ///
    /// # Errors
    /// [`Error::Shape`] when the lengths differ or are not a whole number of images.
    fn to_channels_last(
        &self,
        src: &Self::Vec,
        channels: usize,
        pixels: usize,
        dst: &mut Self::Vec,
    ) -> Result<()>;

    /// `dst[n, c, p] = src[n, p, c]`, or `+=` with `add`.
    ///
    /// # Errors
    /// As [`Self::to_channels_last`].
    fn to_channels_first(
        &self,
        src: &Self::Vec,
        channels: usize,
        pixels: usize,
        dst: &mut Self::Vec,
        add: bool,
    ) -> Result<()>;
}

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
    expect_len("layout", "dst", src.len(), dst.len())?;
    if src.len() == 0 {
        return Ok(());
    }
    let len = rows * columns;
    if len == 0 || !src.len().is_multiple_of(len) {
        return Err(Error::shape(
            "layout",
            format!("a whole number of {rows}x{columns} images"),
            format!("{} elements", src.len()),
        ));
    }
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
