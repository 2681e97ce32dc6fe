//! ROI-Align: boxes cut out of feature maps that a detector has computed anyway.
//!
//! The features are `scale` times as large as the image that the boxes are measured in. A result of `H x W` bins reads each
//! bin at `s x s` places, evenly spread, and takes their mean: with `(x1, y1, x2, y2)` the box times `scale`,
//!
//! ```text
//! x(j, k) = x1 + (x2 - x1) (j + (k + 1/2) / s) / W        y(i, l) = y1 + (y2 - y1) (i + (l + 1/2) / s) / H
//! V[c, i, j] = 1/s^2 sum over k, l < s of F[c] read bilinearly at (x(j, k), y(i, l))
//! ```
//!
//! which is [`sample`](super::sample) with `sH x sW` cells and [`Border::Edge`], then an average pool. Pixels have their
//! centres at half numbers (`aligned=True` in torchvision, whose box has no gradient; this one has that of `sample`).
//!
//! [The ROI transform layer](super::roi_transform) reads the *image* instead, for a network of its own.
//!
//! Source: He et al., "Mask R-CNN", [arXiv:1703.06870](https://arxiv.org/abs/1703.06870), section 3; the edge is that of
//! torchvision.

use dfdx::prelude::{HasShape, Merge, TryMul};

use crate::error::{Error, Result};
use crate::ops::avg_pool::try_avg_pool2d;
use crate::ops::or_panic;
use crate::ops::sample::{Border, Sampling, try_sample};
use crate::ops::tape::Recorder;
use crate::tensors::{Images, Matrix};

/// How boxes are cut out of features.
#[derive(Clone, Debug, PartialEq)]
pub struct RoiAlign {
    /// The map of each box.
    pub images: Vec<u32>,
    /// Height and width of the results.
    pub out: (usize, usize),
    /// Pixels of the features for one of the image that boxes are measured in: 1/8 behind three strides of 2.
    pub scale: f32,
    /// Places read in each bin along either axis, 2 as a rule.
    pub sampling: usize,
}

/// `boxes` (K, 4), rows `(x1, y1, x2, y2)` in pixels of the image, cut out of `(N, C, H, W)` features:
/// `(K, C, height, width)`; see the [module](self).
///
/// ```
/// use rebit::ops::roi_align::{RoiAlign, roi_align};
/// use rebit::prelude::*;
/// let features: Images = from_vec((0..16).map(|v| v as f32).collect(), (1, 1, 4, 4))?;
/// let whole: Matrix = from_vec(vec![0.0, 0.0, 32.0, 32.0], (1, 4))?;
/// let how = RoiAlign { images: vec![0], out: (2, 2), scale: 1.0 / 8.0, sampling: 2 };
/// assert_eq!(read(&roi_align(features, whole, how)), [2.5, 4.5, 10.5, 12.5]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_roi_align`] fails.
#[track_caller]
pub fn roi_align<T, R>(features: Images<T>, boxes: Matrix<R>, how: RoiAlign) -> Images<T>
where
    T: Recorder + Merge<R>,
    R: Recorder,
{
    or_panic(try_roi_align(features, boxes, how))
}

/// See [`roi_align`].
///
/// # Errors
/// [`Error::Invalid`] for a scale that is not finite and positive, and for no place to read; else as [`try_sample`].
pub fn try_roi_align<T, R>(
    features: Images<T>,
    boxes: Matrix<R>,
    how: RoiAlign,
) -> Result<Images<T>>
where
    T: Recorder + Merge<R>,
    R: Recorder,
{
    if !(how.scale.is_finite() && how.scale > 0.0) {
        let what = format!("roi_align at scale {}", how.scale);
        return Err(Error::invalid(what, "must be finite and positive"));
    }
    if how.sampling == 0 {
        let what = "roi_align with 0 places in a bin";
        return Err(Error::invalid(what, "reads nothing; 2 is usual"));
    }
    let (count, columns) = *boxes.shape();
    if columns != 4 {
        let expected = format!("boxes ({count}, 4)");
        let found = format!("boxes ({count}, {columns})");
        return Err(Error::shape("roi_align", expected, found));
    }
    let cells = |bins: usize| bins.saturating_mul(how.sampling);
    let sampling = Sampling {
        images: how.images,
        out: (cells(how.out.0), cells(how.out.1)),
        border: Border::Edge,
        constant_images: false,
    };
    let y = try_sample(features, boxes.try_mul(how.scale)?, sampling)?;
    match how.sampling {
        1 => Ok(y),
        s => try_avg_pool2d(y, (s, s), (s, s)),
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, SumTo, Trace};

    use super::*;
    use crate::ops::{assert_close, numeric_gradient};
    use crate::tensors::{from_vec, read};

    const BOXES: [f32; 16] = [
        3.3, 2.6, 21.1, 20.7, 60.2, 20.3, 170.4, 99.2, -14.4, 40.1, 37.7, 115.9, 0.0, 0.0, 160.0,
        96.0,
    ];

    type Fixture = (usize, [f32; 14], [f32; 14]);
    const FIXTURE_1: Fixture = (
        1,
        [
            1.104136, 1.561585, 1.847493, 1.640771, 1.897898, 0.983917, -0.502073, 0.143944,
            0.030171, 0.0, -0.131307, -0.470941, 0.976029, 0.998333,
        ],
        [
            -0.453852, 0.0, 0.0, 0.0, 0.0, 0.0, 0.180902, 0.0, 0.00417, 0.0, 0.0, 0.02646,
            0.333333, 0.254793,
        ],
    );
    const FIXTURE_2: Fixture = (
        2,
        [
            1.10326, 1.561585, 1.832822, 1.640771, 1.768958, 0.913969, -0.456078, 0.143479,
            0.028232, -0.019565, -0.166195, -0.301468, 0.904399, 0.810441,
        ],
        [
            -0.486974, 0.033077, 0.0, -0.045606, -0.00483, -0.01875, 0.065414, 0.116443, 0.098112,
            0.001286, 0.009193, 0.020471, 0.000687, -0.008207,
        ],
    );
    const FIXTURE_3: Fixture = (
        3,
        [
            1.102732, 1.560928, 1.833944, 1.640771, 1.113748, 0.899708, -0.44507, 0.142369,
            0.028701, -0.014018, -0.18336, -0.26287, 0.897792, 0.794888,
        ],
        [
            -0.487808, 0.014385, 0.000617, 0.009952, -0.032355, -0.031482, 0.046033, 0.079215,
            0.030725, 0.008776, -0.010913, 0.009915, 0.039771, 0.014668,
        ],
    );

    /// Every number is a wave of its index; `fixture.py` has the same.
    fn features() -> Images {
        let at = |k: usize| {
            let (c, y, x) = (k / 240, k / 20 % 12, k % 20);
            (0.41 * x as f32 + c as f32).sin() + (0.37 * y as f32 - 0.15 * x as f32).cos()
        };
        from_vec((0..3 * 240).map(at).collect(), (1, 3, 12, 20)).unwrap()
    }

    fn how(count: usize, sampling: usize) -> RoiAlign {
        RoiAlign {
            images: vec![0; count],
            out: (4, 3),
            scale: 0.125,
            sampling,
        }
    }

    fn weights(count: usize) -> Images {
        let w = (0..count * 36).map(|k| ((k % 13) as f32 - 6.0) / 10.0);
        from_vec(w.collect(), (count, 3, 4, 3)).unwrap()
    }

    /// Numbers of `fixture.py`, torchvision's in double precision.
    #[test]
    fn torchvision_gives_the_same_values_and_gradients() {
        for (sampling, values, slopes) in [FIXTURE_1, FIXTURE_2, FIXTURE_3] {
            let x = features();
            let boxes: Matrix = from_vec(BOXES.to_vec(), (4, 4)).unwrap();
            let y = roi_align(x.leaky_trace(), boxes, how(4, sampling));
            let found: Vec<f32> = read(&y).into_iter().step_by(11).collect();
            assert_close(&found, &values, 1e-5);
            let grads = (y * weights(4)).sum::<(), _>().backward();
            let found: Vec<f32> = read(&grads.get(&x)).into_iter().step_by(53).collect();
            assert_close(&found, &slopes, 1e-5);
        }
    }

    #[test]
    fn the_gradient_of_a_box_agrees_with_differences() {
        // Small boxes away from the edges: no place near the centre of a pixel.
        let at = [20.1, 17.3, 60.2, 70.7];
        let result = |b: &[f32]| {
            let b: Matrix = from_vec(b.to_vec(), (1, 4)).unwrap();
            let y = roi_align(features(), b, how(1, 2));
            read(&(y * weights(1)).sum::<(), _>())[0]
        };
        let b: Matrix = from_vec(at.to_vec(), (1, 4)).unwrap();
        let y = roi_align(features().leaky_trace(), b.leaky_trace(), how(1, 2));
        let grads = (y * weights(1)).sum::<(), _>().backward();
        let numeric = numeric_gradient(&at, 2e-2, result);
        assert_close(&read(&grads.get(&b)), &numeric, 5e-3);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let of = |how: RoiAlign, boxes: Matrix| {
            try_roi_align(features(), boxes, how)
                .unwrap_err()
                .to_string()
        };
        let four = || from_vec(vec![1.0; 4], (1, 4)).unwrap();
        let none = of(how(1, 0), four());
        assert!(none.contains("0 places"), "{none}");
        for scale in [0.0, -1.0, f32::NAN] {
            let scaled = RoiAlign { scale, ..how(1, 2) };
            assert!(of(scaled, four()).contains("finite and positive"));
        }
        let three = of(how(1, 2), from_vec(vec![1.0; 3], (1, 3)).unwrap());
        assert_eq!(
            three,
            "roi_align: expected boxes (1, 4), found boxes (1, 3)"
        );
    }
}
