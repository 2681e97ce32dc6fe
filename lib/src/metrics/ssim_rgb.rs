//! Structural similarity of colour images as generative networks are measured with it.

use super::ssim::{SIDE, window};
use crate::error::{Error, Result};

/// A colour image of numbers from 0 to 1, pixel by pixel.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height * width` colours.
    pub rgb: Vec<[f32; 3]>,
}

impl Picture {
    /// With pixels that a mask leaves out in black.
    ///
    /// # Errors
    /// [`Error::Shape`] for a mask of another number of pixels.
    pub fn masked(&self, mask: &[bool]) -> Result<Picture> {
        if mask.len() != self.rgb.len() {
            let expected = format!("a mask of {}x{} pixels", self.height, self.width);
            return Err(Error::shape("masked picture", expected, mask.len()));
        }
        let pixels = self.rgb.iter().zip(mask);
        Ok(Picture {
            rgb: pixels
                .map(|(p, m)| if *m { *p } else { [0.0; 3] })
                .collect(),
            ..*self
        })
    }
}

impl From<&crate::data::Photo> for Picture {
    fn from(photo: &crate::data::Photo) -> Self {
        let bytes = photo.rgb.chunks_exact(3);
        Picture {
            height: photo.height,
            width: photo.width,
            rgb: bytes
                .map(|p| [0, 1, 2].map(|c| f32::from(p[c]) / 255.0))
                .collect(),
        }
    }
}

/// Mean structural similarity of two colour images, at most 1.
///
/// As [`ssim`](super::ssim()) with an 11x11 Gaussian window of deviation 1.5, but of red, green and blue from 0 to 1
/// (`C1 = 0.01^2`, `C2 = 0.03^2`), at every pixel: zeros lie around the image, five deep, and count. The mean is over all
/// pixels and channels, so dark ground around a person lifts it.
///
/// Source: the code of Wang et al., [arXiv:1904.03385](https://arxiv.org/abs/1904.03385), whose formula is that of Wang et
/// al., "Image Quality Assessment", 2004, equation 13.
///
/// ```
/// use rebit::metrics::{Picture, ssim_rgb};
/// let flat = |v: f32| Picture { height: 16, width: 12, rgb: vec![[v; 3]; 192] };
/// assert_eq!(ssim_rgb(&flat(0.4), &flat(0.4))?, 1.0);
/// assert!(ssim_rgb(&flat(0.4), &flat(0.6))? < 1.0);
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for images of different sizes or without pixels.
pub fn ssim_rgb(a: &Picture, b: &Picture) -> Result<f32> {
    let size = |p: &Picture| format!("{}x{}, {} pixels", p.height, p.width, p.rgb.len());
    let pixels = a.height * a.width;
    let same = (a.height, a.width, a.rgb.len()) == (b.height, b.width, b.rgb.len());
    if !same || a.rgb.len() != pixels || pixels == 0 {
        return Err(Error::shape(
            "ssim_rgb",
            format!("an image like {}", size(a)),
            size(b),
        ));
    }
    let window = window();
    let (c1, c2) = (0.01f64.powi(2), 0.03f64.powi(2));
    let mut sum = 0.0;
    for c in 0..3 {
        let plane = |p: &Picture| -> Vec<f64> { p.rgb.iter().map(|p| f64::from(p[c])).collect() };
        let (x, y) = (plane(a), plane(b));
        let blur = |f: &dyn Fn(usize) -> f64| {
            let plane: Vec<f64> = (0..pixels).map(f).collect();
            padded_blur(&plane, (a.height, a.width), &window)
        };
        let (mx, my) = (blur(&|i| x[i]), blur(&|i| y[i]));
        let (xx, yy) = (blur(&|i| x[i] * x[i]), blur(&|i| y[i] * y[i]));
        let xy = blur(&|i| x[i] * y[i]);
        for i in 0..pixels {
            let (mx, my) = (mx[i], my[i]);
            let (vx, vy, cov) = (xx[i] - mx * mx, yy[i] - my * my, xy[i] - mx * my);
            sum += (2.0 * mx * my + c1) * (2.0 * cov + c2)
                / ((mx * mx + my * my + c1) * (vx + vy + c2));
        }
    }
    Ok((sum / (3 * pixels) as f64) as f32)
}

/// The window's sum at every pixel, with zeros beyond the edges.
fn padded_blur(plane: &[f64], (height, width): (usize, usize), window: &[f64; SIDE]) -> Vec<f64> {
    let half = SIDE / 2;
    let along = |at: usize, end: usize| {
        let taps = window.iter().enumerate();
        taps.filter_map(move |(k, w)| {
            let at = (at + k).checked_sub(half)?;
            (at < end).then_some((at, *w))
        })
    };
    let mut rows = vec![0.0; plane.len()];
    for (row, line) in plane.chunks_exact(width).enumerate() {
        for column in 0..width {
            let taps = along(column, width);
            rows[row * width + column] = taps.map(|(k, w)| w * line[k]).sum();
        }
    }
    let mut both = vec![0.0; plane.len()];
    for row in 0..height {
        for (from, w) in along(row, height) {
            let line = &rows[from * width..][..width];
            let into = both[row * width..][..width].iter_mut();
            into.zip(line).for_each(|(b, r)| *b += w * r);
        }
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::wave;

    fn picture(height: usize, width: usize, shift: usize) -> Picture {
        let values = wave(3 * height * width + shift);
        let rgb = values[shift..].chunks_exact(3);
        Picture {
            height,
            width,
            rgb: rgb
                .map(|p| [0, 1, 2].map(|c| 0.5 + 0.45 * p[c].sin()))
                .collect(),
        }
    }

    /// The definition, pixel by pixel with all 121 weights.
    fn direct(a: &Picture, b: &Picture) -> f64 {
        let w = window();
        let mut sum = 0.0;
        for c in 0..3 {
            for row in 0..a.height as i64 {
                for column in 0..a.width as i64 {
                    let mut s = [0.0f64; 5];
                    for i in 0..11i64 {
                        for j in 0..11i64 {
                            let (r, q) = (row + i - 5, column + j - 5);
                            let inside = (0..a.height as i64).contains(&r)
                                && (0..a.width as i64).contains(&q);
                            let at = |p: &Picture| match inside {
                                true => f64::from(p.rgb[r as usize * a.width + q as usize][c]),
                                false => 0.0,
                            };
                            let (x, y) = (at(a), at(b));
                            let weight = w[i as usize] * w[j as usize];
                            for (s, v) in s.iter_mut().zip([x, y, x * x, y * y, x * y]) {
                                *s += weight * v;
                            }
                        }
                    }
                    let [mx, my, xx, yy, xy] = s;
                    let (c1, c2) = (1e-4, 9e-4);
                    sum += (2.0 * mx * my + c1) * (2.0 * (xy - mx * my) + c2)
                        / ((mx * mx + my * my + c1) * (xx - mx * mx + yy - my * my + c2));
                }
            }
        }
        sum / (3 * a.height * a.width) as f64
    }

    #[test]
    fn it_is_the_definition_and_symmetric() {
        // One smaller than the window.
        for (height, width) in [(16, 12), (7, 9)] {
            let (a, b) = (picture(height, width, 0), picture(height, width, 40));
            let found = ssim_rgb(&a, &b).unwrap();
            assert!((f64::from(found) - direct(&a, &b)).abs() < 1e-6);
            assert_eq!(found, ssim_rgb(&b, &a).unwrap());
            assert!((ssim_rgb(&a, &a).unwrap() - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn flat_images_have_the_closed_form_inside_and_the_edge_lifts_it() {
        let flat = |v: f32| Picture {
            height: 31,
            width: 31,
            rgb: vec![[v; 3]; 961],
        };
        let (a, b) = (0.3f64, 0.5f64);
        let expected = (2.0 * a * b + 1e-4) / (a * a + b * b + 1e-4);
        // Inside there is no variance, at the edge black ground that both share.
        let whole = ssim_rgb(&flat(0.3), &flat(0.5)).unwrap();
        let inner = |v: f32| {
            let mut p = flat(v);
            p.rgb = (0..961)
                .map(|i| match (i / 31, i % 31) {
                    (10..21, 10..21) => [v; 3],
                    _ => [0.0; 3],
                })
                .collect();
            p
        };
        assert!((f64::from(whole) - expected).abs() < 0.1);
        assert!(ssim_rgb(&inner(0.3), &inner(0.5)).unwrap() > whole);
        let mean = direct(&flat(0.3), &flat(0.5));
        assert!((mean - f64::from(whole)).abs() < 1e-6);
    }

    #[test]
    fn other_sizes_and_masks_are_refused_and_nan_stays() {
        let (a, b) = (picture(8, 8, 0), picture(8, 9, 0));
        let error = ssim_rgb(&a, &b).unwrap_err().to_string();
        assert!(error.contains("8x8") && error.contains("8x9"), "{error}");
        assert!(a.masked(&[true; 3]).is_err());
        let black = a.masked(&[false; 64]).unwrap();
        assert_eq!(ssim_rgb(&black, &black).unwrap(), 1.0);
        let mut nan = a.clone();
        nan.rgb[9][1] = f32::NAN;
        assert!(ssim_rgb(&a, &nan).unwrap().is_nan());
    }
}
