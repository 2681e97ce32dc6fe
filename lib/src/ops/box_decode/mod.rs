//! Boxes out of what a detector predicts, `(N, 4)` numbers `t`.
//!
//! From points `(px, py)`, with distances to the four sides in units of `s` pixels:
//!
//! ```text
//! x1 = px - s e^t1    y1 = py - s e^t2    x2 = px + s e^t3    y2 = py + s e^t4
//! ```
//!
//! From anchors with centre `(ax, ay)`, width `aw` and height `ah`:
//!
//! ```text
//! cx = ax + t1 aw    cy = ay + t2 ah    w = aw e^t3    h = ah e^t4        x1 = cx - w/2, ...
//! ```
//!
//! Exponents are at most `ln(1000/16)`; beyond it there is no gradient. Points and anchors get none.
//!
//! Source: distances as in Tian et al., "FCOS", [arXiv:1904.01355](https://arxiv.org/abs/1904.01355), section 3.1; deltas as
//! in Girshick et al., "R-CNN", [arXiv:1311.2524](https://arxiv.org/abs/1311.2524), appendix C.

use dfdx::prelude::HasShape;

use crate::boxes::BoxXyxy;
use crate::error::{Error, Result};
use crate::ops::host::try_host_op;
use crate::ops::or_panic;
use crate::ops::tape::Recorder;
use crate::tensors::Matrix;

/// What predictions are relative to.
#[derive(Clone, Debug, PartialEq)]
pub enum BoxBase {
    /// Points and the unit of the distances, in pixels.
    Distances {
        /// A point of each box.
        points: Vec<[f32; 2]>,
        /// The unit.
        scale: f32,
    },
    /// Anchor boxes.
    Deltas(Vec<BoxXyxy>),
}

impl BoxBase {
    fn len(&self) -> usize {
        match self {
            BoxBase::Distances { points, .. } => points.len(),
            BoxBase::Deltas(anchors) => anchors.len(),
        }
    }
}

/// Boxes `(N, 4)`, rows `(x1, y1, x2, y2)`; see the [module](self).
///
/// ```
/// use rebit::ops::box_decode::{BoxBase, box_decode};
/// use rebit::prelude::*;
/// let t: Matrix = from_vec(vec![0.0; 4], (1, 4))?;
/// let base = BoxBase::Distances { points: vec![[20.0, 30.0]], scale: 8.0 };
/// assert_eq!(read(&box_decode(t, base)), [12.0, 22.0, 28.0, 38.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_box_decode`] fails.
#[track_caller]
pub fn box_decode<T: Recorder>(t: Matrix<T>, base: BoxBase) -> Matrix<T> {
    or_panic(try_box_decode(t, base))
}

/// See [`box_decode`].
///
/// # Errors
/// [`Error::Shape`] unless there are four numbers for each point or anchor.
pub fn try_box_decode<T: Recorder>(t: Matrix<T>, base: BoxBase) -> Result<Matrix<T>> {
    let (count, four) = *t.shape();
    if four != 4 || base.len() != count {
        let expected = format!("({}, 4), four numbers for each point or anchor", base.len());
        return Err(Error::shape(
            "box_decode",
            expected,
            format!("({count}, {four})"),
        ));
    }
    let again = base.clone();
    try_host_op(
        t,
        (count, 4),
        move |t, y| {
            for (k, (t, y)) in t.chunks_exact(4).zip(y.chunks_exact_mut(4)).enumerate() {
                y.copy_from_slice(&decode(t, &base, k));
            }
            Ok(())
        },
        move |t, dy, dx| {
            let rows = t.chunks_exact(4).zip(dy.chunks_exact(4));
            for (k, ((t, dy), dx)) in rows.zip(dx.chunks_exact_mut(4)).enumerate() {
                dx.copy_from_slice(&slopes(t, dy, &again, k));
            }
            Ok(())
        },
    )
}

/// `e^t`, and its slope.
fn grown(t: f32) -> (f32, f32) {
    const MOST: f32 = 62.5;
    let e = t.exp();
    if e > MOST { (MOST, 0.0) } else { (e, e) }
}

fn decode(t: &[f32], base: &BoxBase, k: usize) -> BoxXyxy {
    match base {
        BoxBase::Distances { points, scale } => {
            let [px, py] = points[k];
            let d = [0, 1, 2, 3].map(|c| scale * grown(t[c]).0);
            [px - d[0], py - d[1], px + d[2], py + d[3]]
        }
        BoxBase::Deltas(anchors) => {
            let [x1, y1, x2, y2] = anchors[k];
            let (aw, ah) = (x2 - x1, y2 - y1);
            let (cx, cy) = ((x1 + x2) / 2.0 + t[0] * aw, (y1 + y2) / 2.0 + t[1] * ah);
            let (w, h) = (aw * grown(t[2]).0 / 2.0, ah * grown(t[3]).0 / 2.0);
            [cx - w, cy - h, cx + w, cy + h]
        }
    }
}

fn slopes(t: &[f32], dy: &[f32], base: &BoxBase, k: usize) -> [f32; 4] {
    match base {
        BoxBase::Distances { scale, .. } => [0, 1, 2, 3].map(|c| {
            let sign = if c < 2 { -1.0 } else { 1.0 };
            sign * scale * grown(t[c]).1 * dy[c]
        }),
        BoxBase::Deltas(anchors) => {
            let [x1, y1, x2, y2] = anchors[k];
            let (aw, ah) = (x2 - x1, y2 - y1);
            [
                aw * (dy[0] + dy[2]),
                ah * (dy[1] + dy[3]),
                aw * grown(t[2]).1 / 2.0 * (dy[2] - dy[0]),
                ah * grown(t[3]).1 / 2.0 * (dy[3] - dy[1]),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, SumTo, Trace};

    use super::*;
    use crate::ops::{assert_close, numeric_gradient, wave};
    use crate::tensors::{from_vec, read};

    fn matrix(values: &[f32]) -> Matrix {
        from_vec(values.to_vec(), (values.len() / 4, 4)).unwrap()
    }

    #[test]
    fn literal_boxes() {
        let base = BoxBase::Deltas(vec![[10.0, 20.0, 30.0, 60.0]]);
        assert_eq!(
            read(&box_decode(matrix(&[0.0; 4]), base.clone())),
            [10.0, 20.0, 30.0, 60.0]
        );
        // Half a width to the right, a quarter of the height up, twice as wide.
        let t = [0.5, -0.25, 2.0f32.ln(), 0.0];
        assert_close(
            &read(&box_decode(matrix(&t), base.clone())),
            &[10.0, 10.0, 50.0, 50.0],
            1e-6,
        );
        // However large the number, no infinity.
        let far = read(&box_decode(matrix(&[0.0, 0.0, 500.0, 0.0]), base));
        assert_close(&far, &[-605.0, 20.0, 645.0, 60.0], 1e-6);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let bases = [
            BoxBase::Distances {
                points: vec![[5.0, 6.0], [50.0, 7.0], [9.0, 80.0]],
                scale: 8.0,
            },
            BoxBase::Deltas(vec![
                [1.0, 2.0, 9.0, 30.0],
                [0.0, 0.0, 5.0, 5.0],
                [40.0, 8.0, 70.0, 90.0],
            ]),
        ];
        for base in bases {
            let t = wave(12);
            let weights = matrix(&[0.3, -0.2, 0.7, 0.1].repeat(3));
            let loss = |t: &[f32]| {
                read(&(box_decode(matrix(t), base.clone()) * weights.clone()).sum::<(), _>())[0]
            };
            let x = matrix(&t);
            let y = box_decode(x.leaky_trace(), base.clone()) * weights.clone();
            let ours = read(&y.sum::<(), _>().backward().get(&x));
            assert_close(&ours, &numeric_gradient(&t, 1e-2, loss), 2e-3);
        }
    }
}
