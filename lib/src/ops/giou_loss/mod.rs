//! The mean of `1 - GIoU` between boxes and the boxes that they should be.
//!
//! With the shared area `I`, the area `U` of either and the area `C` of the smallest box around both,
//!
//! ```text
//! L = 1/N sum (1 - I/U + (C - U)/C) = 1/N sum (2 - I/U - U/C)
//! ```
//!
//! Boxes are `(x1, y1, x2, y2)`. A pair without any area has the loss 2 and no gradient.
//!
//! Source: Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019, algorithm 1.

use dfdx::prelude::HasShape;

use crate::boxes::BoxXyxy;
use crate::error::{Error, Result};
use crate::ops::host::try_host_op;
use crate::ops::or_panic;
use crate::ops::tape::Recorder;
use crate::tensors::{Matrix, Scalar};

/// The loss of boxes `(N, 4)` against `targets`, which get no gradient; 0 for no boxes. See the [module](self).
///
/// ```
/// use rebit::ops::giou_loss::giou_loss;
/// use rebit::prelude::*;
/// let found: Matrix = from_vec(vec![0.0, 0.0, 1.0, 1.0], (1, 4))?;
/// let loss = giou_loss(found, &[[2.0, 0.0, 3.0, 1.0]]);
/// assert!((read(&loss)[0] - 4.0 / 3.0).abs() < 1e-6);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_giou_loss`] fails.
#[track_caller]
pub fn giou_loss<T: Recorder>(boxes: Matrix<T>, targets: &[BoxXyxy]) -> Scalar<T> {
    or_panic(try_giou_loss(boxes, targets))
}

/// See [`giou_loss`].
///
/// # Errors
/// [`Error::Shape`] unless there are four coordinates and a target for each box.
pub fn try_giou_loss<T: Recorder>(boxes: Matrix<T>, targets: &[BoxXyxy]) -> Result<Scalar<T>> {
    let (count, four) = *boxes.shape();
    if four != 4 || targets.len() != count {
        let expected = format!("boxes ({}, 4), one for each target", targets.len());
        return Err(Error::shape(
            "giou_loss",
            expected,
            format!("boxes ({count}, {four})"),
        ));
    }
    let targets = targets.to_vec();
    let again = targets.clone();
    let share = 1.0 / count.max(1) as f32;
    try_host_op(
        boxes,
        (),
        move |x, y| {
            let pairs = x.chunks_exact(4).zip(&targets);
            y[0] = share * pairs.map(|(b, t)| pair(b, *t).0).sum::<f32>();
            Ok(())
        },
        move |x, dy, dx| {
            for ((b, t), dx) in x.chunks_exact(4).zip(again).zip(dx.chunks_exact_mut(4)) {
                let slopes = pair(b, t).1;
                dx.iter_mut()
                    .zip(slopes)
                    .for_each(|(dx, s)| *dx = s * share * dy[0]);
            }
            Ok(())
        },
    )
}

/// Loss and slopes of one box.
fn pair(b: &[f32], t: BoxXyxy) -> (f32, [f32; 4]) {
    if b.iter().chain(&t).any(|v| v.is_nan()) {
        return (f32::NAN, [f32::NAN; 4]);
    }
    // Along one axis: the lengths of the box, the target, what they share and what is around both, and the slopes of the
    // first, the third and the fourth by the box's lower and upper end.
    let axis = |low: usize| {
        let (b1, b2, t1, t2) = (b[low], b[low + 2], t[low], t[low + 2]);
        let own = (b2 - b1).max(0.0);
        let target = (t2 - t1).max(0.0);
        let both = (b2.min(t2) - b1.max(t1)).max(0.0);
        let around = b2.max(t2) - b1.min(t1);
        let on = |condition: bool| f32::from(u8::from(condition));
        let slopes = [
            [-on(own > 0.0), on(own > 0.0)],
            [-on(both > 0.0 && b1 > t1), on(both > 0.0 && b2 < t2)],
            [-on(b1 < t1), on(b2 > t2)],
        ];
        ([own, target, both, around], slopes)
    };
    let ((x, dx), (y, dy)) = (axis(0), axis(1));
    let [own, target, both, around] = [0, 1, 2, 3].map(|k| x[k] * y[k]);
    let either = own + target - both;
    if either <= 0.0 || around <= 0.0 {
        return (2.0, [0.0; 4]);
    }
    let loss = 2.0 - both / either - either / around;
    let slope = |along: &[[f32; 2]; 3], across: &[f32; 4], end: usize| {
        let d_own = along[0][end] * across[0];
        let d_both = along[1][end] * across[2];
        let d_around = along[2][end] * across[3];
        let d_either = d_own - d_both;
        -(d_both * either - both * d_either) / (either * either)
            - (d_either * around - either * d_around) / (around * around)
    };
    let slopes = [
        slope(&dx, &y, 0),
        slope(&dy, &x, 0),
        slope(&dx, &y, 1),
        slope(&dy, &x, 1),
    ];
    (loss, slopes)
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, Trace};

    use super::*;
    use crate::boxes::giou;
    use crate::ops::{assert_close, numeric_gradient};
    use crate::tensors::{from_vec, read, rng};
    use rand::Rng as _;

    fn matrix(values: &[f32]) -> Matrix {
        from_vec(values.to_vec(), (values.len() / 4, 4)).unwrap()
    }

    #[test]
    fn values_are_those_of_the_boxes_and_slopes_those_of_differences() {
        let mut rng = rng(4);
        for _ in 0..100 {
            let mut one = || {
                let (x, y) = (rng.random_range(0.0..9.0f32), rng.random_range(0.0..9.0f32));
                [
                    x,
                    y,
                    x + rng.random_range(1.0..6.0f32),
                    y + rng.random_range(1.0..6.0f32),
                ]
            };
            let (b, t) = ([one(), one(), one()], [one(), one(), one()]);
            let flat = b.concat();
            let x = matrix(&flat);
            let loss = giou_loss(x.leaky_trace(), &t);
            let expected: f32 = (0..3).map(|k| 1.0 - giou(b[k], t[k])).sum::<f32>() / 3.0;
            assert_close(&read(&loss), &[expected], 1e-5);
            let close =
                (0..3).any(|k| (0..4).any(|c| (0..4).any(|d| (b[k][c] - t[k][d]).abs() < 0.02)));
            if !close {
                let ours = read(&loss.backward().get(&x));
                let numeric = numeric_gradient(&flat, 5e-3, |x| read(&giou_loss(matrix(x), &t))[0]);
                assert_close(&ours, &numeric, 2e-3);
            }
        }
    }

    #[test]
    fn boxes_without_area_have_finite_slopes() {
        for b in [
            [1.0, 1.0, 1.0, 1.0],
            [3.0, 3.0, 1.0, 1.0],
            [5.0, 5.0, 9.0, 9.0],
        ] {
            for t in [[0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0]] {
                let x = matrix(&b);
                let loss = giou_loss(x.leaky_trace(), &[t]);
                assert!((0.0..=2.0).contains(&read(&loss)[0]));
                assert!(read(&loss.backward().get(&x)).iter().all(|v| v.is_finite()));
            }
        }
        assert_eq!(read(&giou_loss(matrix(&[]), &[])), [0.0]);
    }
}
