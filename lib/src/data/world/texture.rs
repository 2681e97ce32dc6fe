//! Textures, and which texel is seen in which pixel.

use super::raster::Raster;
use crate::data::Photo;

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
