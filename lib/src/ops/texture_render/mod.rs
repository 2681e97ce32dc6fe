//! Images of textured surfaces: each pixel is a weighted sum of a few texels.
//!
//! Which texels a pixel shows follows from body, pose and camera and is known beforehand, a [`TexelMap`]: one texel a
//! pixel, or four with bilinear weights; light may be part of the weights. With its matrix `R`, for each channel `c`,
//!
//! ```text
//! y[p, c] = sum_k R[p, k] T[k, c]              y = R T
//! dL/dT[k, c] = sum_p R[p, k] dL/dy[p, c]      dL/dT = R^T dL/dy
//! ```
//!
//! so rendering is linear in the texture, and the geometry gets no gradient. A pixel that shows nothing is 0, a texel that
//! no pixel reads has a gradient of exactly 0. Sums are made in the order of the map, the same for any number of threads.
//!
//! Source: Wang et al., "Re-Identification Supervised Texture Generation",
//! [arXiv:1904.03385](https://arxiv.org/abs/1904.03385), the rendering tensor of the authors' code, a sparse matrix with a
//! single 1 in each row of a covered pixel.

use dfdx::prelude::{HasShape, PutTape, Storage};

use crate::error::{Error, Result};
use crate::ops::or_panic;
use crate::ops::parallel::{checked_product, expect_len};
use crate::ops::tape::{BackwardOp, Recorder, backward_of, load, store, zeros};
use crate::tensors::{Images, Shape4, dev};

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod file;
mod map;
mod planes;
#[cfg(test)]
mod tests;

pub(crate) use map::Lists;
pub use map::TexelMap;

/// Kernels on channels-last buffers: textures `(maps, side, side, channels)`, images `(maps, height, width, channels)`.
///
/// Errors are [`Error::Shape`] for maps of different sizes and for a buffer of another length.
pub trait TextureRenderKernel: Storage<f32> {
    /// Image `i` is `maps[i]` times texture `i`.
    ///
    /// # Errors
    /// See the trait.
    fn texture_render(
        &self,
        maps: &[TexelMap],
        channels: usize,
        textures: &Self::Vec,
        images: &mut Self::Vec,
    ) -> Result<()>;

    /// Gradient of the textures; with `accumulate` it is added to `dtextures`.
    ///
    /// # Errors
    /// See the trait.
    fn texture_render_grad(
        &self,
        maps: &[TexelMap],
        channels: usize,
        dimages: &Self::Vec,
        dtextures: &mut Self::Vec,
        accumulate: bool,
    ) -> Result<()>;

    /// [`texture_render`](Self::texture_render) of buffers in the order of tensors, `(maps, channels, height, width)`, to
    /// the same bits.
    ///
    /// # Errors
    /// See the trait.
    fn texture_render_planes(
        &self,
        maps: &[TexelMap],
        channels: usize,
        textures: &Self::Vec,
        images: &mut Self::Vec,
    ) -> Result<()>;

    /// [`texture_render_grad`](Self::texture_render_grad) in the order of tensors, added to `dtextures`, to the same bits.
    ///
    /// # Errors
    /// See the trait.
    fn texture_render_planes_grad(
        &self,
        maps: &[TexelMap],
        channels: usize,
        dimages: &Self::Vec,
        dtextures: &mut Self::Vec,
    ) -> Result<()>;
}

/// A map for each plane, which are then images of one channel: in either order these are the same.
#[cfg(feature = "cuda")]
fn for_planes(maps: &[TexelMap], channels: usize) -> Vec<TexelMap> {
    let each = maps.iter().flat_map(|m| std::iter::repeat_n(m, channels));
    each.cloned().collect()
}

/// Pixels and texels of the maps, all of which must have as many.
fn sizes(maps: &[TexelMap]) -> Result<(usize, usize)> {
    let Some(first) = maps.first() else {
        return Ok((0, 0));
    };
    for (i, map) in maps.iter().enumerate() {
        if map.image() != first.image() || map.side() != first.side() {
            return Err(Error::shape(
                "texture_render",
                format!("texel maps like the first one, {first:?}"),
                format!("map {i}, {map:?}"),
            ));
        }
    }
    Ok((first.pixels(), first.texels()))
}

/// Compares the lengths of both buffers with the maps; pixels and texels of a map.
fn check(
    op: &'static str,
    (maps, channels): (&[TexelMap], usize),
    (textures, images): (usize, usize),
) -> Result<(usize, usize)> {
    let (pixels, texels) = sizes(maps)?;
    let of = |n| checked_product(op, &[maps.len(), n, channels]);
    expect_len(op, "textures", of(texels)?, textures)?;
    expect_len(op, "images", of(pixels)?, images)?;
    Ok((pixels, texels))
}

/// Textures `(N, C, S, S)` seen through a map each: images `(N, C, H, W)`; see the [module](self).
///
/// ```
/// use rebit::ops::texture_render::{TexelMap, texture_render};
/// use rebit::prelude::*;
/// // A texture of one row of grey levels would not be square: 2x2, of which the first pixel shows the mean of the upper row.
/// let texture: Images = from_vec(vec![1.0, 3.0, 5.0, 7.0], (1, 1, 2, 2))?;
/// let map = TexelMap::new((1, 3), 2, &[vec![(0, 0.5), (1, 0.5)], vec![(3, 1.0)], vec![]])?;
/// let image = texture_render(texture.leaky_trace(), &[map]);
/// assert_eq!(read(&image), [2.0, 7.0, 0.0]);
/// let gradient = image.sum::<(), _>().backward().get(&texture);
/// assert_eq!(read(&gradient), [0.5, 0.5, 0.0, 1.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_texture_render`] fails.
#[track_caller]
pub fn texture_render<T: Recorder>(textures: Images<T>, maps: &[TexelMap]) -> Images<T> {
    or_panic(try_texture_render(textures, maps))
}

/// See [`texture_render`].
///
/// # Errors
/// [`Error::Shape`] unless there is a square texture of the maps' size for each map, and for maps of different sizes.
pub fn try_texture_render<T: Recorder>(
    textures: Images<T>,
    maps: &[TexelMap],
) -> Result<Images<T>> {
    let (textures, tape) = T::split_images(textures)?;
    let (images, backward) = record(textures, maps)?;
    Ok(images.put_tape(tape.record(backward)))
}

fn record(textures: Images, maps: &[TexelMap]) -> Result<(Images, BackwardOp)> {
    let (n, channels, height, width) = *textures.shape();
    let (_, _) = sizes(maps)?;
    let side = maps.first().map_or(height, TexelMap::side);
    if n != maps.len() || (height, width) != (side, side) {
        return Err(Error::shape(
            "texture_render",
            format!("{} textures of {side}x{side}, one for each map", maps.len()),
            format!("{n} of {height}x{width}"),
        ));
    }
    let (rows, columns) = maps.first().map_or((0, 0), TexelMap::image);
    let shape: Shape4 = (n, channels, rows, columns);
    let mut y = zeros(checked_product(
        "texture_render",
        &[n, channels, rows, columns],
    )?)?;
    dev().texture_render_planes(maps, channels, &*load(&textures)?, &mut y)?;
    let y = store(y, shape)?;
    let maps = maps.to_vec();
    let backward = backward_of(&y, move |grads, dy| {
        let dx = grads.get_or_alloc_mut(&textures)?;
        dev().texture_render_planes_grad(&maps, channels, dy, dx)
    });
    Ok((y, backward))
}
