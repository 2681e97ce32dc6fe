//! Peak signal-to-noise ratio.

use super::Plane;
use crate::data::Photo;
use crate::error::Result;

/// `10 log10(255^2 / mean (a - b)^2)` in dB; infinite for equal planes.
///
/// ```
/// use rebit::metrics::{Plane, psnr};
/// let plane = |v: f32| Plane { height: 1, width: 2, values: vec![v, v] };
/// assert!((psnr(&plane(10.0), &plane(35.5))? - 20.0).abs() < 1e-4);
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// [`crate::Error::Shape`] for planes of different sizes.
pub fn psnr(a: &Plane, b: &Plane) -> Result<f32> {
    a.check_same("psnr", b)?;
    let square = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
    let sum: f64 = a.values.iter().zip(&b.values).map(square).sum();
    let mse = sum / a.values.len() as f64;
    Ok((10.0 * (255.0 * 255.0 / mse).log10()) as f32)
}

/// [`psnr`] of the luminance of two photographs, without `border` pixels on each side.
///
/// # Errors
/// [`crate::Error::Shape`] for different sizes, [`crate::Error::Invalid`] for a border that leaves nothing.
pub fn psnr_y(a: &Photo, b: &Photo, border: usize) -> Result<f32> {
    psnr(&Plane::luma(a, border)?, &Plane::luma(b, border)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photo(height: usize, value: u8) -> Photo {
        Photo {
            name: "grey".into(),
            height,
            width: 8,
            rgb: vec![value; height * 24],
        }
    }

    #[test]
    fn a_plane_with_another_number_of_numbers_is_refused() {
        let plane = |height, width, len| Plane {
            height,
            width,
            values: vec![0.5; len],
        };
        for (h, w, len) in [
            (2, 2, 3),
            (20, 20, 4),
            (usize::MAX, usize::MAX, 1),
            (0, 0, 0),
        ] {
            assert!(psnr(&plane(h, w, len), &plane(h, w, len)).is_err());
            assert!(crate::metrics::ssim(&plane(h, w, len), &plane(h, w, len)).is_err());
        }
        assert!(psnr(&plane(2, 2, 4), &plane(2, 2, 4)).is_ok());
    }

    #[test]
    fn grey_levels_span_219_levels_of_luminance() {
        // A step of one grey level is 219/255 of a level of Y.
        let db = psnr_y(&photo(8, 100), &photo(8, 101), 0).unwrap();
        assert!((db - 20.0 * (255.0f32 * 255.0 / 219.0).log10()).abs() < 1e-3);
        assert_eq!(
            psnr_y(&photo(8, 7), &photo(8, 7), 1).unwrap(),
            f32::INFINITY
        );
    }

    #[test]
    fn the_border_does_not_count() {
        let mut other = photo(8, 9);
        other.rgb[..24].fill(200);
        assert_eq!(psnr_y(&photo(8, 9), &other, 1).unwrap(), f32::INFINITY);
        assert!(psnr_y(&photo(8, 9), &other, 0).unwrap() < 20.0);
    }

    #[test]
    fn sizes_are_compared_and_borders_checked() {
        let error = psnr_y(&photo(8, 1), &photo(9, 1), 0)
            .unwrap_err()
            .to_string();
        assert!(error.contains("8x8") && error.contains("9x8"), "{error}");
        let error = psnr_y(&photo(8, 1), &photo(8, 1), 4)
            .unwrap_err()
            .to_string();
        assert!(error.contains("a border of 4"), "{error}");
        assert!(psnr_y(&photo(8, 1), &photo(8, 1), 1 << 63).is_err());
    }
}
