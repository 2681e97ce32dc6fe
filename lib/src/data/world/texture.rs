//! Textures, and which texel is seen in which pixel.

use std::path::Path;

use dfdx::prelude::HasShape;

use super::raster::Raster;
use crate::data::Photo;
use crate::error::{Error, Result};
use crate::ops::texture_render::TexelMap;
use crate::tensors::{Images, from_vec, read};

/// What covers a body: a square of colours.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Texture {
    /// Texels along a side.
    pub side: usize,
    /// `side * side * 3` bytes, texel by texel, rows from the top.
    pub rgb: Vec<u8>,
}

impl Texture {
    /// The colour of a texel, red, green and blue from 0 to 1.
    pub fn colour(&self, texel: usize) -> [f32; 3] {
        [0, 1, 2].map(|c| f32::from(self.rgb[3 * texel + c]) / 255.0)
    }

    /// That of a picture, which must be square.
    ///
    /// # Errors
    /// [`Error::Shape`] for a picture that is not, or has no pixels or more than 255 along a side.
    pub fn from_photo(photo: &Photo) -> Result<Texture> {
        let (height, width) = (photo.height, photo.width);
        if height != width || !(1..=255).contains(&width) || photo.rgb.len() != 3 * height * width {
            let expected = "a square picture of at most 255x255 pixels";
            let found = format!("{:?} of {height}x{width}", photo.name);
            return Err(Error::shape("texture", expected, found));
        }
        Ok(Texture {
            side: width,
            rgb: photo.rgb.clone(),
        })
    }

    /// Those of images `(N, 3, S, S)`, dark at `low` and bright at `high`; rounded and clamped to bytes, NaN to dark.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are square images of three channels, of at most 255 pixels along a side.
    pub fn from_images(images: &Images, (low, high): (f32, f32)) -> Result<Vec<Texture>> {
        let (n, c, side, width) = *images.shape();
        if c != 3 || side != width || !(1..=255).contains(&side) {
            let found = format!("({n}, {c}, {side}, {width})");
            return Err(Error::shape(
                "textures",
                "square images (N, 3, S, S)",
                found,
            ));
        }
        let (values, plane) = (read(images), side * side);
        let byte = |v: f32| ((v - low) / (high - low) * 255.0).round() as u8;
        let of = |planes: &[f32]| Texture {
            side,
            rgb: (0..3 * plane)
                .map(|k| byte(planes[k % 3 * plane + k / 3]))
                .collect(),
        };
        Ok(values.chunks_exact(3 * plane).map(of).collect())
    }

    /// Textures of one size as a batch `(N, 3, S, S)`, dark at `low` and bright at `high`.
    ///
    /// ```
    /// use rebit::data::Texture;
    /// let red = Texture { side: 1, rgb: vec![255, 0, 0] };
    /// let batch = Texture::batch([&red], (-1.0, 1.0))?;
    /// assert_eq!(rebit::read(&batch), [1.0, -1.0, -1.0]);
    /// assert_eq!(Texture::from_images(&batch, (-1.0, 1.0))?, [red]);
    /// # Ok::<(), rebit::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] without a texture, [`Error::Shape`] for textures of different sizes.
    pub fn batch<'a>(
        textures: impl IntoIterator<Item = &'a Texture>,
        (low, high): (f32, f32),
    ) -> Result<Images> {
        let textures: Vec<&Texture> = textures.into_iter().collect();
        let Some(side) = textures.first().map(|t| t.side) else {
            return Err(Error::invalid("a batch of textures", "holds none"));
        };
        let plane = side * side;
        let mut values = vec![0.0; textures.len() * 3 * plane];
        for (k, (texture, out)) in textures
            .iter()
            .zip(values.chunks_exact_mut(3 * plane))
            .enumerate()
        {
            if texture.side != side || texture.rgb.len() != 3 * plane {
                let expected = format!("textures of {side}x{side}, as the first is");
                let found = format!("texture {k} of {0}x{0}", texture.side);
                return Err(Error::shape("textures", expected, found));
            }
            for (i, byte) in texture.rgb.iter().enumerate() {
                out[i % 3 * plane + i / 3] = low + (high - low) * f32::from(*byte) / 255.0;
            }
        }
        from_vec(values, (textures.len(), 3, side, side))
    }

    /// Writes a PNG file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.photo().save(path)
    }

    /// As a picture.
    pub fn photo(&self) -> Photo {
        Photo {
            name: "texture".to_string(),
            height: self.side,
            width: self.side,
            rgb: self.rgb.clone(),
        }
    }
}

/// Which texels a pixel shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Lookup {
    /// The one nearest to what is seen: as pictures of the world are made.
    #[default]
    Nearest,
    /// The four around it, by their distances.
    Bilinear,
}

/// For each pixel the texel that is seen in it, and how bright the light is there.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Texels {
    /// Rows of the image.
    pub height: usize,
    /// Columns of the image.
    pub width: usize,
    /// Texels along a side of the texture.
    pub side: usize,
    /// The texel nearest to what is seen in each pixel, [`Texels::NONE`] where the body is not seen.
    pub nearest: Vec<u16>,
    /// The place in the texture, in texels: the first texel's centre is (0.5, 0.5) (column, row). 0 where the body is not
    /// seen.
    pub place: Vec<[f32; 2]>,
    /// The factor of the light, from 0 to 1: `0.62 + 0.38 n`, with the cosine `n` between the normal and the direction
    /// towards the camera.
    pub shade: Vec<f32>,
}

impl Texels {
    /// No texel.
    pub const NONE: u16 = u16::MAX;

    /// Those of a rasterised surface, for a texture of `side` x `side` texels.
    ///
    /// # Panics
    /// For a side of 0 or of more than 255.
    pub fn of(raster: &Raster, side: usize) -> Texels {
        assert!(
            (1..=255).contains(&side),
            "a texture of {side} texels a side"
        );
        let n = raster.hits.len();
        let mut out = Texels {
            height: raster.height,
            width: raster.width,
            side,
            nearest: vec![Self::NONE; n],
            place: vec![[0.0; 2]; n],
            shade: vec![0.0; n],
        };
        let hits = raster.hits.iter().enumerate();
        for (pixel, hit) in hits.filter(|(_, hit)| hit.is_hit()) {
            let place = hit.uv.map(|v| v * side as f32);
            let [column, row] = place.map(|v| (v.max(0.0) as usize).min(side - 1));
            out.nearest[pixel] = (row * side + column) as u16;
            out.place[pixel] = place;
            out.shade[pixel] = 0.62 + 0.38 * hit.towards.clamp(0.0, 1.0);
        }
        out
    }

    /// Where the body is seen.
    pub fn mask(&self) -> Vec<bool> {
        self.nearest.iter().map(|&t| t != Self::NONE).collect()
    }

    /// The four texels around the place of each pixel and their weights, which add up to 1; `None` where the body is not
    /// seen. Beyond the outermost centres the outermost texels go on.
    pub fn bilinear(&self) -> Vec<Option<[(u16, f32); 4]>> {
        let last = self.side as f32 - 1.0;
        let around = |pixel: usize| {
            let [x, y] = self.place[pixel].map(|v| (v - 0.5).clamp(0.0, last));
            let (left, top) = (x.floor(), y.floor());
            let (fx, fy) = (x - left, y - top);
            let texel = |dx: f32, dy: f32| {
                let (column, row) = ((left + dx).min(last), (top + dy).min(last));
                (row as usize * self.side + column as usize) as u16
            };
            [
                (texel(0.0, 0.0), (1.0 - fx) * (1.0 - fy)),
                (texel(1.0, 0.0), fx * (1.0 - fy)),
                (texel(0.0, 1.0), (1.0 - fx) * fy),
                (texel(1.0, 1.0), fx * fy),
            ]
        };
        let seen = self.nearest.iter().enumerate();
        seen.map(|(p, &t)| (t != Self::NONE).then(|| around(p)))
            .collect()
    }

    /// The matrix from a texture to the picture of it under the light, for
    /// [`texture_render`](crate::ops::texture_render::texture_render).
    ///
    /// ```
    /// use rebit::data::{Lookup, Texture};
    /// use rebit::prelude::*;
    /// let crop = World::new(WorldConfig::default())?.crop(3, 0);
    /// let texture = Texture::batch([&crop.texture], (0.0, 1.0))?;
    /// let picture = texture_render(texture, &[crop.texels.map(Lookup::Nearest)]);
    /// assert_eq!(picture.shape(), &(1, 3, 64, 32));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn map(&self, lookup: Lookup) -> TexelMap {
        let lit = |pixel: usize, weight: f32| weight * self.shade[pixel];
        let reads: Vec<Vec<(u16, f32)>> = match lookup {
            Lookup::Nearest => {
                let pixels = self.nearest.iter().enumerate();
                let read = |(pixel, &texel): (usize, &u16)| {
                    let seen = (texel != Self::NONE).then(|| (texel, lit(pixel, 1.0)));
                    seen.into_iter().collect()
                };
                pixels.map(read).collect()
            }
            Lookup::Bilinear => {
                let pixels = self.bilinear().into_iter().enumerate();
                let read = |(pixel, four): (usize, Option<[(u16, f32); 4]>)| {
                    let four = four.into_iter().flatten();
                    four.map(|(texel, weight)| (texel, lit(pixel, weight)))
                        .collect()
                };
                pixels.map(read).collect()
            }
        };
        let map = TexelMap::new((self.height, self.width), self.side, &reads);
        map.unwrap_or_else(|e| panic!("texels of a body: {e}"))
    }

    /// The body under this texture as it would be photographed without noise: `texture[nearest] * shade` for each pixel,
    /// red, green and blue from 0 to 1, pixel by pixel; `None` where the body is not seen.
    ///
    /// # Panics
    /// When the texture has another size.
    pub fn render(&self, texture: &Texture) -> Vec<Option<[f32; 3]>> {
        assert_eq!(texture.side, self.side, "texels along a side");
        let pixels = self.nearest.iter().zip(&self.shade);
        pixels
            .map(|(&texel, &shade)| {
                let colour = || texture.colour(texel.into()).map(|c| c * shade);
                (texel != Self::NONE).then(colour)
            })
            .collect()
    }

    /// The texels that are seen in some pixel that `mask` lets through, as `side * side` truths.
    pub fn seen(&self, mask: &[bool]) -> Vec<bool> {
        let mut out = vec![false; self.side * self.side];
        for (&texel, _) in self.nearest.iter().zip(mask).filter(|(_, kept)| **kept) {
            if let Some(seen) = out.get_mut(texel as usize) {
                *seen = true;
            }
        }
        out
    }
}
