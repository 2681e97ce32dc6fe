//! Pixels as PNG inside an SVG.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::error::{Error, Result};
use crate::show::base64_of;

/// An RGB picture, 8 bit, row by row.
pub(super) struct Pixels {
    pub width: usize,
    pub height: usize,
    pub rgb: Vec<u8>,
}

impl Pixels {
    /// An `<image>` element. A picture that is shown larger is enlarged here, pixel by pixel: not every
    /// viewer obeys `image-rendering`, and smoothing would invent values.
    pub fn element(&self, (x, y): (f64, f64), (width, height): (f64, f64)) -> Result<String> {
        let times = |shown: f64, pixels: usize| {
            let times = (shown / pixels.max(1) as f64).ceil() as usize;
            times.clamp(1, 256)
        };
        let (across, down) = (times(width, self.width), times(height, self.height));
        let mut enlarged = Vec::with_capacity(self.rgb.len() * across * down);
        for line in self.rgb.chunks_exact((self.width * 3).max(1)) {
            let wide = line
                .chunks_exact(3)
                .flat_map(|pixel| std::iter::repeat_n(pixel, across))
                .flatten()
                .copied();
            let wide: Vec<u8> = wide.collect();
            (0..down).for_each(|_| enlarged.extend_from_slice(&wide));
        }
        let mut png = Vec::new();
        PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::Up)
            .write_image(
                &enlarged,
                (self.width * across) as u32,
                (self.height * down) as u32,
                ExtendedColorType::Rgb8,
            )
            .map_err(|e| Error::invalid("picture", e))?;
        Ok(format!(
            "<image x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" \
             preserveAspectRatio=\"none\" style=\"image-rendering:pixelated\" \
             href=\"data:image/png;base64,{}\"/>",
            base64_of(&png)
        ))
    }
}
