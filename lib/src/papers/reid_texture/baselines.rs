//! Textures that no network has made.

use nalgebra::{DMatrix, DVector};

use super::UNIT;
use crate::data::{Body, Crop, Texture};
use crate::metrics::{Pca, pca};
use crate::ops::texture_render::TexelMap;
use crate::{Error, Matrix, Result, from_vec, read};

/// The mean of textures.
///
/// # Errors
/// [`Error::Invalid`] without a texture, [`Error::Shape`] for textures of different sizes.
pub fn mean_texture(textures: &[Texture]) -> Result<Texture> {
    let batch = read(&Texture::batch(textures, UNIT)?);
    let len = batch.len() / textures.len();
    let sum = |k: usize| {
        batch
            .iter()
            .skip(k)
            .step_by(len)
            .map(|v| f64::from(*v))
            .sum::<f64>()
    };
    let mean = (0..len)
        .map(|k| (sum(k) / textures.len() as f64) as f32)
        .collect();
    let side = textures[0].side;
    let images = from_vec(mean, (1, 3, side, side))?;
    Ok(Texture::from_images(&images, UNIT)?.remove(0))
}

/// A picture laid back on the body: a texel that is seen is the mean of its pixels without the light, one that is not is
/// that of the other side of the body where that is seen, and otherwise of `fill`.
///
/// `map` says which texels the pixels show, as the body stands in its (estimated) pose. What stands in front of somebody is
/// laid on the body too: nobody knows of it.
///
/// # Errors
/// [`Error::Shape`] for a map of another picture or texture.
pub fn back_projection(
    crop: &Crop,
    map: &TexelMap,
    body: &dyn Body,
    fill: &Texture,
) -> Result<Texture> {
    let size = (crop.image.height, crop.image.width);
    if map.image() != size || map.side() != fill.side || body.side() != fill.side {
        let expected = format!(
            "texels of {size:?} pixels and a texture of {0}x{0}",
            fill.side
        );
        return Err(Error::shape(
            "back_projection",
            expected,
            format!("{map:?}"),
        ));
    }
    let texels = map.texels();
    let mut colours: Vec<Option<[f32; 3]>> = vec![None; texels];
    for (texel, colour) in colours.iter_mut().enumerate() {
        let pixels = map.read_by(texel);
        // The least squares estimate of a colour from pixels `w c`.
        let square: f32 = pixels.iter().map(|(_, w)| w * w).sum();
        if square > 0.0 {
            let mean = |c: usize| {
                let of = |p: &(usize, f32)| p.1 * f32::from(crop.image.rgb[3 * p.0 + c]);
                pixels.iter().map(of).sum::<f32>() / square
            };
            *colour = Some([mean(0), mean(1), mean(2)]);
        }
    }
    let mirror = body.mirror();
    let mut rgb = fill.rgb.clone();
    for texel in 0..texels {
        if let Some(colour) = colours[texel].or(colours[mirror[texel] as usize]) {
            let bytes = colour.map(|v| v.round() as u8);
            rgb[3 * texel..][..3].copy_from_slice(&bytes);
        }
    }
    Ok(Texture {
        side: fill.side,
        rgb,
    })
}

/// What true textures have in common: their mean and principal components. An oracle: in the real setting there are no true
/// textures.
#[derive(Clone, Debug)]
pub struct TexturePrior {
    side: usize,
    components: Pca,
}

impl TexturePrior {
    /// The first `count` principal components of textures.
    ///
    /// # Errors
    /// Those of [`pca`], and [`Error::Shape`] for textures of different sizes.
    pub fn of(textures: &[Texture], count: usize) -> Result<TexturePrior> {
        let batch = Texture::batch(textures, UNIT)?;
        let rows = textures.len();
        let values = read(&batch);
        let matrix: Matrix = from_vec(values.clone(), (rows, values.len() / rows))?;
        Ok(TexturePrior {
            side: textures[0].side,
            components: pca(&matrix, count)?,
        })
    }

    /// The texture of this family that explains a picture best: the most probable one where pixels have independent
    /// errors of deviation `noise` (of 2, the distance from dark to bright) and textures are normally distributed.
    ///
    /// # Errors
    /// [`Error::Shape`] for a map of another picture or texture; [`Error::Invalid`] for a noise that is not positive.
    pub fn fit(&self, crop: &Crop, map: &TexelMap, noise: f32) -> Result<Texture> {
        let size = (crop.image.height, crop.image.width);
        if map.image() != size || map.side() != self.side {
            let expected = format!(
                "texels of {size:?} pixels and a texture of {0}x{0}",
                self.side
            );
            return Err(Error::shape("texture prior", expected, format!("{map:?}")));
        }
        if !(noise > 0.0 && noise.is_finite()) {
            return Err(Error::invalid(
                format!("a noise of {noise}"),
                "must be positive",
            ));
        }
        let Pca {
            mean,
            axes,
            variances,
            ..
        } = &self.components;
        let (count, plane) = (axes.len(), self.side * self.side);
        // Normal equations of all pixels that show the body: a pixel is `sum w (t + 1) - 1` in numbers from -1 to 1.
        let mut normal = DMatrix::<f64>::zeros(count, count);
        let mut right = DVector::<f64>::zeros(count);
        let mut row = vec![0.0f64; count];
        for pixel in 0..map.pixels() {
            let reads = map.reads(pixel);
            if reads.is_empty() {
                continue;
            }
            for c in 0..3 {
                let at = |texel: u16| c * plane + texel as usize;
                let along = |values: &[f32]| -> f64 {
                    let each = reads.iter();
                    each.map(|(t, w)| f64::from(*w) * f64::from(values[at(*t)]))
                        .sum()
                };
                let light: f64 = reads.iter().map(|r| f64::from(r.1)).sum();
                let seen = 2.0 * f64::from(crop.image.rgb[3 * pixel + c]) / 255.0;
                let rest = seen - light - along(mean);
                row.iter_mut()
                    .zip(axes)
                    .for_each(|(r, axis)| *r = along(axis));
                for i in 0..count {
                    right[i] += row[i] * rest;
                    for j in 0..=i {
                        normal[(i, j)] += row[i] * row[j];
                    }
                }
            }
        }
        for i in 0..count {
            for j in i + 1..count {
                normal[(i, j)] = normal[(j, i)];
            }
            let variance = f64::from(variances[i]).max(1e-9);
            normal[(i, i)] += f64::from(noise).powi(2) / variance;
        }
        let Some(factors) = normal.cholesky() else {
            return Err(Error::invalid(
                "a picture",
                "determines no texture: NaN in it?",
            ));
        };
        let weights = factors.solve(&right);
        let mut texture = mean.clone();
        for (weight, axis) in weights.iter().zip(axes) {
            let each = texture.iter_mut().zip(axis);
            each.for_each(|(t, a)| *t += *weight as f32 * a);
        }
        let images = from_vec(texture, (1, 3, self.side, self.side))?;
        Ok(Texture::from_images(&images, UNIT)?.remove(0))
    }
}
