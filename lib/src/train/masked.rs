//! Differences between images where a mask looks.

use dfdx::prelude::{HasShape, PutTape};

use crate::ops::or_panic;
use crate::ops::tape::{BackwardOp, Recorder, load, loss_of};
use crate::{Error, HostAccess, Images, Result, Scalar, buffer};

/// What becomes of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Deviation {
    /// Its size: the L1 distance.
    Absolute,
    /// Its square: the L2 distance.
    Square,
}

/// The mean over all numbers of the difference between images `(N, C, H, W)` and a target, multiplied by a mask
/// `(N, 1, H, W)` or, the same for all images, `(1, 1, H, W)`:
///
/// ```text
/// L = 1/M sum |m (x - t)|        dL/dx = m sign(m (x - t)) / M
/// L = 1/M sum (m (x - t))^2      dL/dx = 2 m^2 (x - t) / M          M = N C H W
/// ```
///
/// Where the mask is 0 nothing is looked at. Numbers outside the mask count in `M`, as in the loss of Wang et al.,
/// [arXiv:1904.03385](https://arxiv.org/abs/1904.03385), on the face and the hands of a texture.
///
/// ```
/// use rebit::prelude::*;
/// use rebit::train::{Deviation, masked_error};
/// let x: Images = from_vec(vec![1.0, 2.0, 3.0, 9.0], (1, 1, 2, 2))?;
/// let (target, mask) = (from_vec(vec![0.0; 4], (1, 1, 2, 2))?, from_vec(vec![1.0, 1.0, 1.0, 0.0], (1, 1, 2, 2))?);
/// assert_eq!(read(&masked_error(x.clone(), &target, &mask, Deviation::Absolute)), [1.5]);
/// assert_eq!(read(&masked_error(x, &target, &mask, Deviation::Square)), [3.5]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_masked_error`] fails.
#[track_caller]
pub fn masked_error<T: Recorder>(
    x: Images<T>,
    target: &Images,
    mask: &Images,
    deviation: Deviation,
) -> Scalar<T> {
    or_panic(try_masked_error(x, target, mask, deviation))
}

/// See [`masked_error`].
///
/// # Errors
/// [`Error::Shape`] for a target or a mask of another shape, [`Error::Invalid`] for images without a number.
pub fn try_masked_error<T: Recorder>(
    x: Images<T>,
    target: &Images,
    mask: &Images,
    deviation: Deviation,
) -> Result<Scalar<T>> {
    let (x, tape) = T::split_images(x)?;
    let (loss, backward) = record(x, target, mask, deviation)?;
    Ok(loss.put_tape(tape.record(backward)))
}

fn record(
    x: Images,
    target: &Images,
    mask: &Images,
    deviation: Deviation,
) -> Result<(Scalar, BackwardOp)> {
    let shape = *x.shape();
    let (n, c, h, w) = shape;
    let named = |what: &str, expected: String, found| {
        let expected = format!("a {what} of {expected}");
        Err(Error::shape("masked_error", expected, format!("{found:?}")))
    };
    if *target.shape() != shape {
        return named("target", format!("{shape:?}"), *target.shape());
    }
    let masks = mask.shape().0;
    if *mask.shape() != (masks, 1, h, w) || (masks != n && masks != 1) {
        let expected = format!("({n}, 1, {h}, {w}) or (1, 1, {h}, {w})");
        return named("mask", expected, *mask.shape());
    }
    let count = n * c * h * w;
    if count == 0 {
        return Err(Error::invalid(
            "masked_error",
            format!("{shape:?} holds no number"),
        ));
    }
    let (target, mask) = (crate::read(target), crate::read(mask));
    let values = load(&x)?;
    let values = values.view()?;
    let plane = h * w;
    let (mut sum, mut slope) = (0.0f64, vec![0.0; count]);
    for (i, slope) in slope.iter_mut().enumerate() {
        let image = if masks == 1 { 0 } else { i / (c * plane) };
        let m = mask[image * plane + i % plane];
        if m == 0.0 {
            continue;
        }
        let d = m * (values[i] - target[i]);
        match deviation {
            Deviation::Absolute => {
                sum += f64::from(d.abs());
                // NaN has no sign.
                let sign = if d == 0.0 { 0.0 } else { d / d.abs() };
                *slope = m * sign / count as f32;
            }
            Deviation::Square => {
                sum += f64::from(d) * f64::from(d);
                *slope = 2.0 * m * d / count as f32;
            }
        }
    }
    Ok(loss_of(x, (sum / count as f64) as f32, buffer(&slope)?))
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, Trace};

    use super::*;
    use crate::ops::{assert_close, numeric_gradient, wave};
    use crate::{from_vec, read};

    #[test]
    fn gradients_agree_with_finite_differences() {
        let values: Vec<f32> = wave(24).iter().map(|v| 2.0 * v).collect();
        let shape = (2, 3, 2, 2);
        let target: Images = from_vec(wave(48)[24..].to_vec(), shape).unwrap();
        let one: Images = from_vec(vec![1.0, 0.0, 0.5, 2.0], (1, 1, 2, 2)).unwrap();
        let each: Images = from_vec(vec![1., 0., 1., 0., 0., 1., 1., 0.5], (2, 1, 2, 2)).unwrap();
        for mask in [one, each] {
            for deviation in [Deviation::Absolute, Deviation::Square] {
                let at = |v: &[f32]| -> Images { from_vec(v.to_vec(), shape).unwrap() };
                let numeric = numeric_gradient(&values, 1e-3, |v| {
                    read(&masked_error(at(v), &target, &mask, deviation))[0]
                });
                let x = at(&values);
                let loss = masked_error(x.leaky_trace(), &target, &mask, deviation);
                assert_close(&read(&loss.backward().get(&x)), &numeric, 2e-3);
            }
        }
    }

    #[test]
    fn nothing_is_looked_at_under_the_mask_and_nan_stays_elsewhere() {
        let x = |v: f32| -> Images { from_vec(vec![v, 1.0], (1, 1, 1, 2)).unwrap() };
        let target: Images = from_vec(vec![0.0, 0.0], (1, 1, 1, 2)).unwrap();
        for deviation in [Deviation::Absolute, Deviation::Square] {
            let at = |mask: [f32; 2]| {
                let mask: Images = from_vec(mask.to_vec(), (1, 1, 1, 2)).unwrap();
                read(&masked_error(x(f32::NAN), &target, &mask, deviation))[0]
            };
            assert_eq!(at([0.0, 1.0]), 0.5);
            assert!(at([1.0, 1.0]).is_nan());
        }
    }
}
