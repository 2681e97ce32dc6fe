//! Rendering on the GPU.

use cudarc::driver::DeviceSlice;
use dfdx::prelude::Cuda;

use super::{Lists, TexelMap, TextureRenderKernel, check, for_planes};
use crate::error::Result;
use crate::ops::cuda::{CudaBuffer, Module, counts, each, upload};

const MODULE: Module = Module {
    name: "rebit_texture_render",
    ptx: include_str!("texture_render.ptx"),
    kernels: &["rebit_texture_render"],
};

/// The matrices of several maps under each other.
fn joined<'a>(lists: impl Iterator<Item = &'a Lists>) -> Result<Lists> {
    let mut all = Lists {
        start: vec![0],
        index: Vec::new(),
        weight: Vec::new(),
    };
    for one in lists {
        let before = all.index.len();
        counts("texture_render", [before + one.index.len()])?;
        all.start
            .extend(one.start[1..].iter().map(|s| s + before as u32));
        all.index.extend_from_slice(&one.index);
        all.weight.extend_from_slice(&one.weight);
    }
    Ok(all)
}

fn product(
    lists: &Lists,
    (rows, columns, channels): (usize, usize, usize),
    x: &CudaBuffer,
    y: &mut CudaBuffer,
    accumulate: bool,
) -> Result<()> {
    let n = y.len();
    if n == 0 {
        return Ok(());
    }
    let device = x.device();
    let (start, index) = (
        upload(&device, &lists.start)?,
        upload(&device, &lists.index)?,
    );
    let weight = upload(&device, &lists.weight)?;
    let [rows, columns, channels] = counts("texture_render", [rows, columns, channels])?;
    let arguments = (
        n, rows, columns, channels, &start, &index, &weight, x, y, accumulate,
    );
    // SAFETY: the kernel's arguments; a map's indices lie below its columns, and `check` compared the lengths.
    unsafe { MODULE.launch(&device, "rebit_texture_render", each(n), arguments) }
}

impl TextureRenderKernel for Cuda {
    fn texture_render(
        &self,
        maps: &[TexelMap],
        channels: usize,
        textures: &CudaBuffer,
        images: &mut CudaBuffer,
    ) -> Result<()> {
        let lengths = (textures.len(), images.len());
        let (pixels, texels) = check("texture_render", (maps, channels), lengths)?;
        let lists = joined(maps.iter().map(TexelMap::by_pixel))?;
        product(&lists, (pixels, texels, channels), textures, images, false)
    }

    fn texture_render_grad(
        &self,
        maps: &[TexelMap],
        channels: usize,
        dimages: &CudaBuffer,
        dtextures: &mut CudaBuffer,
        accumulate: bool,
    ) -> Result<()> {
        let lengths = (dtextures.len(), dimages.len());
        let (pixels, texels) = check("texture_render_grad", (maps, channels), lengths)?;
        let lists = joined(maps.iter().map(TexelMap::by_texel))?;
        product(
            &lists,
            (texels, pixels, channels),
            dimages,
            dtextures,
            accumulate,
        )
    }

    fn texture_render_planes(
        &self,
        maps: &[TexelMap],
        channels: usize,
        textures: &CudaBuffer,
        images: &mut CudaBuffer,
    ) -> Result<()> {
        self.texture_render(&for_planes(maps, channels), 1, textures, images)
    }

    fn texture_render_planes_grad(
        &self,
        maps: &[TexelMap],
        channels: usize,
        dimages: &CudaBuffer,
        dtextures: &mut CudaBuffer,
    ) -> Result<()> {
        self.texture_render_grad(&for_planes(maps, channels), 1, dimages, dtextures, true)
    }
}
