//! Structural similarity.
//!
//! With means, variances and covariance under an 11x11 Gaussian window of deviation 1.5, at every place where
//! the window lies wholly inside,
//!
//! ```text
//! SSIM = (2 ma mb + C1)(2 cab + C2) / ((ma^2 + mb^2 + C1)(va + vb + C2)),   C1 = (0.01 * 255)^2, C2 = (0.03 * 255)^2
//! ```
//!
//! and the mean over all places. Source: Wang et al., "Image Quality Assessment: From Error Visibility to Structural
//! Similarity", 2004, equation 13 and §III-C.

use rayon::prelude::*;

use super::Plane;
use crate::data::Photo;
use crate::error::{Error, Result};
use crate::ops::parallel::start_threads;

pub(super) const SIDE: usize = 11;
const SIGMA: f64 = 1.5;

/// Mean structural similarity of two planes, at most 1.
///
/// ```
/// use rebit::metrics::{Plane, ssim};
/// let plane = Plane { height: 12, width: 12, values: (0..144).map(|i| i as f32).collect() };
/// assert_eq!(ssim(&plane, &plane)?, 1.0);
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for planes of different sizes or below 11x11.
pub fn ssim(a: &Plane, b: &Plane) -> Result<f32> {
    start_threads();
    a.check_same("ssim", b)?;
    if a.height.min(a.width) < SIDE {
        let found = format!("{}x{}", a.height, a.width);
        return Err(Error::shape("ssim", "at least 11x11 pixels", found));
    }
    let window = window();
    let double = |p: &Plane| -> Vec<f64> { p.values.iter().map(|&v| f64::from(v)).collect() };
    let (x, y) = (double(a), double(b));
    let product =
        |p: &[f64], q: &[f64]| -> Vec<f64> { p.iter().zip(q).map(|(p, q)| p * q).collect() };
    let planes = [product(&x, &x), product(&y, &y), product(&x, &y), x, y];
    let blurred: Vec<Vec<f64>> = planes
        .par_iter()
        .map(|p| blur(p, a.height, a.width, &window))
        .collect();
    let [xx, yy, xy, mx, my] = &blurred[..] else {
        unreachable!("five planes in, five planes out")
    };
    let (c1, c2) = ((0.01 * 255.0f64).powi(2), (0.03 * 255.0f64).powi(2));
    let at = |i: usize| {
        let (mx, my) = (mx[i], my[i]);
        let (vx, vy, cov) = (xx[i] - mx * mx, yy[i] - my * my, xy[i] - mx * my);
        (2.0 * mx * my + c1) * (2.0 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    };
    Ok(((0..mx.len()).map(at).sum::<f64>() / mx.len() as f64) as f32)
}

/// [`ssim`] of the luminance of two photographs, without `border` pixels on each side.
///
/// # Errors
/// As [`ssim`]; [`Error::Invalid`] for a border that leaves nothing.
pub fn ssim_y(a: &Photo, b: &Photo, border: usize) -> Result<f32> {
    ssim(&Plane::luma(a, border)?, &Plane::luma(b, border)?)
}

pub(super) fn window() -> [f64; SIDE] {
    let mut window = [0.0; SIDE];
    for (i, w) in window.iter_mut().enumerate() {
        let t = i as f64 - (SIDE / 2) as f64;
        *w = (-t * t / (2.0 * SIGMA * SIGMA)).exp();
    }
    let sum: f64 = window.iter().sum();
    window.map(|w| w / sum)
}

/// The window's mean wherever it fits.
fn blur(plane: &[f64], height: usize, width: usize, window: &[f64; SIDE]) -> Vec<f64> {
    let (h, w) = (height - SIDE + 1, width - SIDE + 1);
    let mut along = vec![0.0; height * w];
    for (to, from) in along.chunks_exact_mut(w).zip(plane.chunks_exact(width)) {
        for (k, weight) in window.iter().enumerate() {
            to.iter_mut()
                .zip(&from[k..])
                .for_each(|(t, f)| *t += weight * f);
        }
    }
    let mut both = vec![0.0; h * w];
    for (r, to) in both.chunks_exact_mut(w).enumerate() {
        for (k, weight) in window.iter().enumerate() {
            let from = &along[(r + k) * w..][..w];
            to.iter_mut().zip(from).for_each(|(t, f)| *t += weight * f);
        }
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(f: impl Fn(usize) -> f32) -> Plane {
        Plane {
            height: 13,
            width: 15,
            values: (0..195).map(f).collect(),
        }
    }

    #[test]
    fn two_flat_planes_differ_by_their_means_alone() {
        let value = ssim(&plane(|_| 100.0), &plane(|_| 120.0)).unwrap();
        let c1 = 2.55f32.powi(2);
        let expected = (2.0 * 100.0 * 120.0 + c1) / (100.0f32.powi(2) + 120.0f32.powi(2) + c1);
        assert!((value - expected).abs() < 1e-6);
    }

    #[test]
    fn an_inverted_texture_is_negative_and_a_noisy_one_in_between() {
        let texture = plane(|i| 128.0 + 40.0 * (i as f32 * 0.9).sin());
        let inverted = plane(|i| 128.0 - 40.0 * (i as f32 * 0.9).sin());
        let noisy = plane(|i| texture.values[i] + ((i * 7919) % 31) as f32 - 15.0);
        assert!(ssim(&texture, &inverted).unwrap() < -0.8);
        let between = ssim(&texture, &noisy).unwrap();
        assert!((0.5..0.99).contains(&between), "{between}");
    }

    #[test]
    fn planes_smaller_than_the_window_are_refused() {
        let small = Plane {
            height: 10,
            width: 20,
            values: vec![0.0; 200],
        };
        let error = ssim(&small, &small).unwrap_err().to_string();
        assert!(
            error.contains("11x11") && error.contains("10x20"),
            "{error}"
        );
    }
}
