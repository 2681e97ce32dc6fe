//! Pixels as PNG inside an SVG.

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
    /// An `<image>` element; enlarged pixels keep their edges.
    pub fn element(&self, (x, y): (f64, f64), (width, height): (f64, f64)) -> Result<String> {
        let mut png = Vec::new();
        image::codecs::png::PngEncoder::new(&mut png)
            .write_image(
                &self.rgb,
                self.width as u32,
                self.height as u32,
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
