//! Rendering on the CPU: a sparse product row by row, three channels in registers.

use dfdx::prelude::Cpu;
use rayon::prelude::*;

use super::{Lists, TexelMap, TextureRenderKernel, check, planes};
use crate::error::Result;
use crate::tensors::CpuBuffer as Buffer;

/// Rows of a matrix that a thread takes at once.
const ROWS: usize = 512;

/// `y = lists x`, or added to it, for `C` channels.
fn product<const C: usize>(lists: &Lists, first: usize, x: &[f32], y: &mut [f32], add: bool) {
    let (x, _) = x.as_chunks::<C>();
    let (y, _) = y.as_chunks_mut::<C>();
    for (k, y) in y.iter_mut().enumerate() {
        let mut sum = if add { *y } else { [0.0; C] };
        for (index, weight) in lists.row(first + k) {
            let x = &x[index];
            (0..C).for_each(|c| sum[c] += weight * x[c]);
        }
        *y = sum;
    }
}

/// The same for any number of channels.
fn product_of(
    (lists, first, channels): (&Lists, usize, usize),
    x: &[f32],
    y: &mut [f32],
    add: bool,
) {
    for (k, y) in y.chunks_exact_mut(channels).enumerate() {
        if !add {
            y.fill(0.0);
        }
        for (index, weight) in lists.row(first + k) {
            let x = &x[index * channels..][..channels];
            y.iter_mut().zip(x).for_each(|(y, x)| *y += weight * x);
        }
    }
}

/// `y[i] = lists(i) x[i]` for matrices of `rows` x `columns`.
fn products<'a>(
    lists: impl Fn(usize) -> &'a Lists + Sync,
    (rows, columns, channels): (usize, usize, usize),
    x: &[f32],
    y: &mut [f32],
    add: bool,
) {
    if y.is_empty() {
        return;
    }
    y.par_chunks_mut(rows * channels)
        .enumerate()
        .for_each(|(i, y)| {
            let (lists, x) = (lists(i), &x[i * columns * channels..][..columns * channels]);
            y.par_chunks_mut(ROWS * channels)
                .enumerate()
                .for_each(|(part, y)| match channels {
                    1 => product::<1>(lists, part * ROWS, x, y, add),
                    3 => product::<3>(lists, part * ROWS, x, y, add),
                    _ => product_of((lists, part * ROWS, channels), x, y, add),
                });
        });
}

impl TextureRenderKernel for Cpu {
    fn texture_render(
        &self,
        maps: &[TexelMap],
        channels: usize,
        textures: &Buffer,
        images: &mut Buffer,
    ) -> Result<()> {
        let lengths = (textures.len(), images.len());
        let (pixels, texels) = check("texture_render", (maps, channels), lengths)?;
        let sizes = (pixels, texels, channels);
        products(|i| maps[i].by_pixel(), sizes, textures, images, false);
        Ok(())
    }

    fn texture_render_grad(
        &self,
        maps: &[TexelMap],
        channels: usize,
        dimages: &Buffer,
        dtextures: &mut Buffer,
        accumulate: bool,
    ) -> Result<()> {
        let lengths = (dtextures.len(), dimages.len());
        let (pixels, texels) = check("texture_render_grad", (maps, channels), lengths)?;
        let sizes = (texels, pixels, channels);
        products(
            |i| maps[i].by_texel(),
            sizes,
            dimages,
            dtextures,
            accumulate,
        );
        Ok(())
    }

    fn texture_render_planes(
        &self,
        maps: &[TexelMap],
        channels: usize,
        textures: &Buffer,
        images: &mut Buffer,
    ) -> Result<()> {
        let lengths = (textures.len(), images.len());
        let (pixels, texels) = check("texture_render_planes", (maps, channels), lengths)?;
        let sizes = (pixels, texels, channels);
        planes::products(|i| maps[i].by_pixel(), sizes, textures, images, false);
        Ok(())
    }

    fn texture_render_planes_grad(
        &self,
        maps: &[TexelMap],
        channels: usize,
        dimages: &Buffer,
        dtextures: &mut Buffer,
    ) -> Result<()> {
        let lengths = (dtextures.len(), dimages.len());
        let (pixels, texels) = check("texture_render_planes_grad", (maps, channels), lengths)?;
        let sizes = (texels, pixels, channels);
        planes::products(|i| maps[i].by_texel(), sizes, dimages, dtextures, true);
        Ok(())
    }
}
