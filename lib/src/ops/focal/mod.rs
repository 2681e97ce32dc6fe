//! The focal loss of binary decisions, which counts easy ones less.
//!
//! With `p = sigmoid(x)` and `n` the number of positives, at least 1,
//!
//! ```text
//! L = 1/n sum of  -alpha (1 - p)^gamma ln p            where the target is true
//!                 -(1 - alpha) p^gamma ln(1 - p)       where it is false
//! dL/dx = 1/n alpha (1 - p)^gamma (gamma p ln p - (1 - p))
//!         1/n (1 - alpha) p^gamma (p - gamma (1 - p) ln(1 - p))
//! ```
//!
//! Source: Lin et al., "Focal Loss for Dense Object Detection", [arXiv:1708.02002](https://arxiv.org/abs/1708.02002),
//! equation 5, divided by the positives as in section 4.1.

use dfdx::prelude::{HasShape, Shape, Tensor};

use crate::error::{Error, Result};
use crate::ops::host::try_host_op;
use crate::ops::or_panic;
use crate::ops::tape::Recorder;
use crate::tensors::{Dev, Scalar};

/// The two constants of the [focal loss](self).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Focal {
    /// The weight of positives; negatives have the rest of 1.
    pub alpha: f32,
    /// How much less easy decisions count; 0 is the cross entropy.
    pub gamma: f32,
}

impl Default for Focal {
    fn default() -> Self {
        Focal {
            alpha: 0.25,
            gamma: 2.0,
        }
    }
}

/// The focal loss of logits of any shape, in row-major order; see the [module](self).
///
/// ```
/// use rebit::ops::focal::{Focal, focal};
/// use rebit::prelude::*;
/// let loss = focal(vector(&[0.0, 0.0]), &[true, false], Focal { alpha: 0.5, gamma: 1.0 });
/// assert!((read(&loss)[0] - 0.5 * 2.0_f32.ln()).abs() < 1e-6);
/// ```
///
/// # Panics
/// Where [`try_focal`] fails.
#[track_caller]
pub fn focal<S: Shape, T: Recorder>(
    logits: Tensor<S, f32, Dev, T>,
    targets: &[bool],
    how: Focal,
) -> Scalar<T> {
    or_panic(try_focal(logits, targets, how))
}

/// See [`focal`].
///
/// # Errors
/// [`Error::Shape`] unless there is a target for each logit, [`Error::Invalid`] for an `alpha` outside 0 to 1 or a `gamma`
/// that is negative or NaN.
pub fn try_focal<S: Shape, T: Recorder>(
    logits: Tensor<S, f32, Dev, T>,
    targets: &[bool],
    how: Focal,
) -> Result<Scalar<T>> {
    let count = logits.shape().num_elements();
    if targets.len() != count {
        let expected = format!("a target for each of {count} logits");
        return Err(Error::shape("focal", expected, targets.len()));
    }
    if !((0.0..=1.0).contains(&how.alpha) && how.gamma >= 0.0) {
        let why = "alpha lies in 0 to 1, gamma is at least 0";
        return Err(Error::invalid(format!("{how:?}"), why));
    }
    let positives = targets.iter().filter(|t| **t).count().max(1) as f32;
    let targets = targets.to_vec();
    let again = targets.clone();
    try_host_op(
        logits,
        (),
        move |x, y| {
            let each = x
                .iter()
                .zip(&targets)
                .map(|(&x, &t)| f64::from(how.at(x, t).0));
            y[0] = each.sum::<f64>() as f32 / positives;
            Ok(())
        },
        move |x, dy, dx| {
            for ((x, t), dx) in x.iter().zip(again).zip(dx) {
                *dx = how.at(*x, t).1 / positives * dy[0];
            }
            Ok(())
        },
    )
}

impl Focal {
    /// Loss and slope of one logit.
    fn at(self, x: f32, target: bool) -> (f32, f32) {
        // A negative is a positive of the opposite logit.
        let (x, sign, weight) = match target {
            true => (x, 1.0, self.alpha),
            false => (-x, -1.0, 1.0 - self.alpha),
        };
        // ln p without overflow; `max` would lose NaN.
        let smaller = if x > 0.0 { 0.0 } else { x };
        let ln_p = smaller - (-x.abs()).exp().ln_1p();
        let (p, rest) = (ln_p.exp(), (ln_p - x).exp());
        let easy = rest.powf(self.gamma);
        let slope = weight * easy * (self.gamma * p * ln_p - rest);
        (-weight * easy * ln_p, sign * slope)
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, Trace};

    use super::*;
    use crate::ops::{assert_close, numeric_gradient, wave};
    use crate::tensors::{read, vector};

    #[test]
    fn at_gamma_0_it_is_the_cross_entropy_and_easy_ones_count_less() {
        let (x, y) = (2.0f32, [true]);
        let p = 1.0 / (1.0 + (-x).exp());
        let plain = Focal {
            alpha: 1.0,
            gamma: 0.0,
        };
        assert_close(&read(&focal(vector(&[x]), &y, plain)), &[-p.ln()], 1e-6);
        let how = Focal {
            alpha: 0.5,
            gamma: 2.0,
        };
        let expected = -0.5 * (1.0 - p).powi(2) * p.ln();
        assert_close(&read(&focal(vector(&[x]), &y, how)), &[expected], 1e-6);
        // The negative of the opposite logit is the same; two negatives are divided by 1.
        let both = focal(vector(&[-x, -x]), &[false, false], how);
        assert_close(&read(&both), &[2.0 * expected], 1e-6);
        assert_eq!(read(&focal(vector(&[]), &[], how)), [0.0]);
    }

    #[test]
    fn gradient_agrees_with_finite_differences_and_stays_finite() {
        let x: Vec<f32> = wave(20).iter().map(|v| 3.0 * v).collect();
        let targets: Vec<bool> = (0..20).map(|k| k % 3 == 0).collect();
        for how in [
            Focal::default(),
            Focal {
                alpha: 0.5,
                gamma: 0.0,
            },
            Focal {
                alpha: 0.7,
                gamma: 1.5,
            },
        ] {
            let traced = vector(&x);
            let ours = read(
                &focal(traced.leaky_trace(), &targets, how)
                    .backward()
                    .get(&traced),
            );
            let numeric = numeric_gradient(&x, 1e-2, |x| read(&focal(vector(x), &targets, how))[0]);
            assert_close(&ours, &numeric, 1e-3);
        }
        let far = vector(&[200.0, -200.0, 200.0, -200.0]);
        let loss = focal(
            far.leaky_trace(),
            &[true, true, false, false],
            Focal::default(),
        );
        assert!(read(&loss)[0].is_finite());
        let slopes = read(&loss.backward().get(&far));
        assert_close(&slopes, &[0.0, -0.125, 0.375, 0.0], 1e-5);
    }
}
