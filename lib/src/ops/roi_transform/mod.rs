//! The ROI transform layer: boxes cut out of images and brought to one size, so that what is computed from the cut-outs has a
//! gradient to the four coordinates of each box.
//!
//! A name and options over [`sample`](super::sample), whose formulas it has, with zeros around the image. A box that is much
//! larger than the output is read at a few places only, and its gradient is noisy: `supersample` reads twice as many
//! places in each direction and takes the mean of four.
//!
//! Source: Han et al., "Re-ID Driven Localization Refinement for Person Search",
//! [arXiv:1909.08580](https://arxiv.org/abs/1909.08580). The paper's own options were not available to us: half-pixel
//! centres and supersampling are choices of ours.

use dfdx::prelude::Merge;

use crate::error::Result;
use crate::ops::avg_pool::try_avg_pool2d;
use crate::ops::or_panic;
use crate::ops::sample::{Border, Sampling, try_sample};
use crate::ops::tape::Recorder;
use crate::tensors::{Images, Matrix};

/// How boxes are cut out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoiTransform {
    /// The image of each box.
    pub images: Vec<u32>,
    /// Height and width of the results.
    pub out: (usize, usize),
    /// Whether each result is the mean of four readings.
    pub supersample: bool,
    /// Whether the images are data and get no gradient, as in [`Sampling`].
    pub constant_images: bool,
}

/// `boxes` (K, 4), rows `(x1, y1, x2, y2)` in pixels, cut out of `(N, C, H, W)` images: `(K, C, height, width)`.
///
/// Boxes without area, or outside the image, give constant results and gradients of 0 or nearly so:
/// [`boxes::usable`](crate::boxes::usable) finds them beforehand.
///
/// ```
/// use rebit::ops::roi_transform::{RoiTransform, roi_transform};
/// use rebit::prelude::*;
/// let x: Images = from_vec((0..16).map(|v| v as f32).collect(), (1, 1, 4, 4))?;
/// let whole: Matrix = from_vec(vec![0.0, 0.0, 4.0, 4.0], (1, 4))?;
/// let how = RoiTransform { images: vec![0], out: (2, 2), supersample: true, constant_images: true };
/// assert_eq!(read(&roi_transform(x, whole, how)), [2.5, 4.5, 10.5, 12.5]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_roi_transform`] fails.
#[track_caller]
pub fn roi_transform<T, R>(x: Images<T>, boxes: Matrix<R>, how: RoiTransform) -> Images<T>
where
    T: Recorder + Merge<R>,
    R: Recorder,
{
    or_panic(try_roi_transform(x, boxes, how))
}

/// See [`roi_transform`].
///
/// # Errors
/// As [`try_sample`].
pub fn try_roi_transform<T, R>(
    x: Images<T>,
    boxes: Matrix<R>,
    how: RoiTransform,
) -> Result<Images<T>>
where
    T: Recorder + Merge<R>,
    R: Recorder,
{
    let times = if how.supersample { 2 } else { 1 };
    let sampling = Sampling {
        images: how.images,
        out: (
            how.out.0.saturating_mul(times),
            how.out.1.saturating_mul(times),
        ),
        border: Border::Zero,
        constant_images: how.constant_images,
    };
    let y = try_sample(x, boxes, sampling)?;
    match how.supersample {
        true => try_avg_pool2d(y, (2, 2), (2, 2)),
        false => Ok(y),
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, SumTo, Trace};

    use super::*;
    use crate::ops::numeric_gradient;
    use crate::tensors::{from_vec, read};

    /// A smooth image: waves of long periods.
    fn image() -> Images {
        let at = |k: usize| {
            let (c, y, x) = (k / 960, k / 40 % 24, k % 40);
            (0.21 * x as f32 + c as f32).sin() + (0.17 * y as f32 - 0.05 * x as f32).cos()
        };
        from_vec((0..3 * 24 * 40).map(at).collect(), (1, 3, 24, 40)).unwrap()
    }

    fn boxes(b: &[f32]) -> Matrix {
        from_vec(b.to_vec(), (b.len() / 4, 4)).unwrap()
    }

    fn how(count: usize, out: (usize, usize), supersample: bool) -> RoiTransform {
        RoiTransform {
            images: vec![0; count],
            out,
            supersample,
            constant_images: false,
        }
    }

    #[test]
    fn the_gradient_of_a_box_agrees_with_differences() {
        let at = [3.3, 2.6, 21.1, 20.7, 12.2, 5.3, 37.4, 19.2];
        for supersample in [false, true] {
            let weights = |y: Images| {
                let n = read(&y).len();
                let w = (0..n).map(|k| ((k % 13) as f32 - 6.0) / 10.0).collect();
                let w: Images = from_vec(w, (2, 3, 8, 4)).unwrap();
                read(&(y * w).sum::<(), _>())[0]
            };
            let loss = |b: &[f32]| {
                weights(roi_transform(
                    image(),
                    boxes(b),
                    how(2, (8, 4), supersample),
                ))
            };
            let b = boxes(&at);
            let y = roi_transform(
                image().leaky_trace(),
                b.leaky_trace(),
                how(2, (8, 4), supersample),
            );
            let w = (0..192).map(|k| ((k % 13) as f32 - 6.0) / 10.0).collect();
            let w: Images = from_vec(w, (2, 3, 8, 4)).unwrap();
            let ours = read(&(y * w).sum::<(), _>().backward().get(&b));
            let numeric = numeric_gradient(&at, 2e-2, loss);
            let off: f32 = ours
                .iter()
                .zip(&numeric)
                .map(|(a, b)| (a - b).powi(2))
                .sum();
            let all: f32 = numeric.iter().map(|v| v * v).sum();
            assert!(off.sqrt() < 0.05 * all.sqrt(), "{ours:?} and {numeric:?}");
        }
    }

    /// Numbers of `fixture.py`, computed in double precision.
    #[test]
    fn pytorch_gives_the_same_values_and_gradients() {
        let b = boxes(&[
            3.3, 2.6, 21.1, 20.7, 12.2, 5.3, 37.4, 19.2, -4.4, 10.1, 9.7, 27.9,
        ]);
        let y = roi_transform(
            image().leaky_trace(),
            b.leaky_trace(),
            how(3, (8, 4), false),
        );
        let values: Vec<f32> = read(&y).into_iter().step_by(17).collect();
        let expected = [
            1.8229881, 0.8654634, 0.2824337, -0.5943895, 0.8592818, -1.1592836, 0.4967326,
            1.444532, -0.1397072, -0.8509971, 1.9720229, 0.8276655, 0.0, 0.0, 0.0421055, 0.0, 0.0,
        ];
        for (found, expected) in values.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found}, {expected}");
        }
        let w = (0..288).map(|k| ((k % 13) as f32 - 6.0) / 10.0).collect();
        let w: Images = from_vec(w, (3, 3, 8, 4)).unwrap();
        let slopes = read(&(y * w).sum::<(), _>().backward().get(&b));
        let expected = [
            -0.0188621, -0.0467555, -0.1103904, -0.0093893, 0.1410271, 0.0342411, 0.1787889,
            0.0179265, 0.1447987, -0.1682853, 0.1369065, -0.0182503,
        ];
        for (found, expected) in slopes.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found}, {expected}");
        }
    }

    #[test]
    fn supersampling_is_the_mean_of_four_finer_readings() {
        let b = [3.3, 2.6, 30.1, 20.7];
        let fine = read(&roi_transform(image(), boxes(&b), how(1, (8, 6), false)));
        let mean = read(&roi_transform(image(), boxes(&b), how(1, (4, 3), true)));
        for (k, mean) in mean.iter().enumerate() {
            let (c, y, x) = (k / 12, k / 3 % 4, k % 3);
            let at = |dy: usize, dx: usize| fine[c * 48 + (2 * y + dy) * 6 + 2 * x + dx];
            let four = (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4.0;
            assert!((mean - four).abs() < 1e-6);
        }
    }

    #[test]
    fn a_constant_image_pulls_at_no_box_inside_it() {
        let flat: Images = from_vec(vec![0.7; 3 * 24 * 40], (1, 3, 24, 40)).unwrap();
        let b = boxes(&[3.3, 2.6, 30.1, 20.7]);
        let y = roi_transform(flat.leaky_trace(), b.leaky_trace(), how(1, (8, 4), true));
        let pull = read(&y.sum::<(), _>().backward().get(&b));
        assert!(pull.iter().all(|v| v.abs() < 1e-5), "{pull:?}");
    }
}
