//! What is measured of images and of features.
//!
//! How features lie: [`cosine_distance`] and [`within_class_distance`], [`silhouette`], and maps of them on a plane,
//! [`pca`] and [`tsne`].
//!
//! How well an image was restored: PSNR and SSIM on the luminance, as super-resolution papers measure them; how much a
//! generated one resembles another: [`ssim_rgb`], of colours.
//!
//! The luminance of ITU-R BT.601 in 8 bits, not rounded, with `r`, `g`, `b` from 0 to 255:
//!
//! ```text
//! Y = 16 + (65.481 r + 128.553 g + 24.966 b) / 255
//! ```
//!
//! A border is cut off on each side before measuring, `scale` pixels by custom.

mod distance;
mod pca;
mod psnr;
pub mod search;
mod silhouette;
mod ssim;
mod ssim_rgb;
mod tsne;

pub use distance::{cosine_distance, within_class_distance};
pub use pca::{Pca, pca};
pub use psnr::{psnr, psnr_y};
pub use search::{
    BoxCut, Detection, DetectionConfig, DetectionReport, Galleries, GalleryScene, Person,
    QueryReport, SearchConfig, SearchQuery, SearchReport, detection, gallery_lists, search,
};
pub use silhouette::silhouette;
pub use ssim::{ssim, ssim_y};
pub use ssim_rgb::{Picture, ssim_rgb};
pub use tsne::{TsneConfig, tsne};

use dfdx::prelude::HasShape;

use crate::data::Photo;
use crate::error::{Error, Result};
use crate::tensors::{Matrix, read};

/// A plane of numbers, from 0 to 255.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height * width` numbers, row by row.
    pub values: Vec<f32>,
}

/// Rows of features, read and checked: at least one column, and finite.
fn rows(op: &'static str, features: &Matrix) -> Result<(Vec<f32>, usize, usize)> {
    let (n, d) = *features.shape();
    if n == 0 || d == 0 {
        return Err(Error::invalid(
            format!("{op} of {n} x {d} features"),
            "needs at least one row and one column",
        ));
    }
    let values = read(features);
    if let Some(at) = values.iter().position(|v| !v.is_finite()) {
        return Err(Error::invalid(
            format!("{op}: feature {} of row {}", at % d, at / d),
            format!("is {}; distances need finite numbers", values[at]),
        ));
    }
    Ok((values, n, d))
}

impl Plane {
    /// The luminance of a photograph, without `border` pixels on each side.
    ///
    /// # Errors
    /// [`Error::Invalid`] when nothing is left.
    pub fn luma(photo: &Photo, border: usize) -> Result<Plane> {
        let (h, w) = (photo.height, photo.width);
        if border >= h.min(w).div_ceil(2) {
            return Err(Error::invalid(
                format!("a border of {border} pixels"),
                format!("leaves nothing of {h}x{w}"),
            ));
        }
        let inner = photo.crop(border, border, h - 2 * border, w - 2 * border)?;
        let luma = |p: &[u8]| {
            let [r, g, b] = [0, 1, 2].map(|i| f32::from(p[i]));
            16.0 + (65.481 * r + 128.553 * g + 24.966 * b) / 255.0
        };
        Ok(Plane {
            height: inner.height,
            width: inner.width,
            values: inner.rgb.chunks_exact(3).map(luma).collect(),
        })
    }

    fn check_same(&self, op: &'static str, other: &Plane) -> Result<()> {
        let size = |p: &Plane| format!("{}x{} pixels", p.height, p.width);
        if (self.height, self.width) != (other.height, other.width) {
            return Err(Error::shape(op, size(self), size(other)));
        }
        for plane in [self, other] {
            let pixels = plane.height.checked_mul(plane.width);
            if pixels != Some(plane.values.len()) || plane.values.is_empty() {
                let expected = format!("a number for each of {}, at least one", size(plane));
                let found = format!("{} numbers", plane.values.len());
                return Err(Error::shape(op, expected, found));
            }
        }
        Ok(())
    }
}
