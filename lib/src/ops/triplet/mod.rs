//! The triplet loss with the hardest examples of a batch, and against stored proxies of all persons.
//!
//! With Euclidean distances `D` between the rows of a batch and a margin `m`, over the anchors `a` that have both a positive
//! `p` (same label, another row) and a negative `n` (another label),
//!
//! ```text
//! L = 1/|A| sum over a of max(0, m + max_p D(a, p) - min_n D(a, n))
//! dD(a, b)/da = (a - b) / D(a, b),   0 where a = b
//! ```
//!
//! Without such anchors it is 0. Equal distances: the first row is taken.
//!
//! Source: Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification",
//! [arXiv:1703.07737](https://arxiv.org/abs/1703.07737), equation 5. [`ProxyTable`] is the variant with proxies.

mod proxy;

pub use proxy::{ProxyTable, proxy_triplet, try_proxy_triplet};

use dfdx::prelude::HasShape;

use crate::error::{Error, Result};
use crate::ops::host::try_host_op;
use crate::ops::or_panic;
use crate::ops::tape::Recorder;
use crate::tensors::{Matrix, Scalar};

/// The batch-hard triplet loss of rows with labels; see the [module](self).
///
/// ```
/// use rebit::ops::triplet::triplet;
/// use rebit::prelude::*;
/// let x: Matrix = from_vec(vec![0.0, 1.0, 3.0, 4.0], (4, 1))?;
/// // The hardest positive is 1 away, the nearest negative 2 or 3.
/// assert_eq!(read(&triplet(x, &[0, 0, 1, 1], 1.5)), [0.25]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_triplet`] fails.
#[track_caller]
pub fn triplet<T: Recorder>(features: Matrix<T>, labels: &[u32], margin: f32) -> Scalar<T> {
    or_panic(try_triplet(features, labels, margin))
}

/// See [`triplet`].
///
/// # Errors
/// [`Error::Shape`] unless there is a label for each row.
pub fn try_triplet<T: Recorder>(
    features: Matrix<T>,
    labels: &[u32],
    margin: f32,
) -> Result<Scalar<T>> {
    let (rows, columns) = *features.shape();
    expect_labels("triplet", rows, labels)?;
    let labels = labels.to_vec();
    let again = labels.clone();
    try_host_op(
        features,
        (),
        move |x, y| {
            let hard = hardest(x, columns, &labels);
            let share = 1.0 / hard.len().max(1) as f32;
            y[0] = share * hard.iter().map(|h| hinge(margin + h.gap())).sum::<f32>();
            Ok(())
        },
        move |x, dy, dx| {
            let hard = hardest(x, columns, &again);
            let pull = dy[0] / hard.len().max(1) as f32;
            for h in hard {
                // A comparison with NaN is false: NaN goes on.
                if margin + h.gap() <= 0.0 {
                    continue;
                }
                for (other, sign, distance) in [
                    (h.positive.0, pull, h.positive.1),
                    (h.negative.0, -pull, h.negative.1),
                ] {
                    if distance == 0.0 {
                        continue;
                    }
                    for c in 0..columns {
                        let slope =
                            sign * (x[h.anchor * columns + c] - x[other * columns + c]) / distance;
                        dx[h.anchor * columns + c] += slope;
                        dx[other * columns + c] -= slope;
                    }
                }
            }
            Ok(())
        },
    )
}

fn expect_labels(op: &'static str, rows: usize, labels: &[u32]) -> Result<()> {
    match labels.len() == rows {
        true => Ok(()),
        false => {
            let expected = format!("a label for each of {rows} rows");
            Err(Error::shape(op, expected, labels.len()))
        }
    }
}

/// `max(0, v)` that keeps NaN.
fn hinge(v: f32) -> f32 {
    if v <= 0.0 { 0.0 } else { v }
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
    squares.sum::<f64>().sqrt() as f32
}

/// An anchor with its hardest examples: their rows and distances.
struct Hardest {
    anchor: usize,
    positive: (usize, f32),
    negative: (usize, f32),
}

impl Hardest {
    fn gap(&self) -> f32 {
        self.positive.1 - self.negative.1
    }
}

fn hardest(x: &[f32], columns: usize, labels: &[u32]) -> Vec<Hardest> {
    let row = |k: usize| &x[k * columns..][..columns];
    let of = |anchor: usize| {
        let mut positive: Option<(usize, f32)> = None;
        let mut negative: Option<(usize, f32)> = None;
        for other in (0..labels.len()).filter(|&o| o != anchor) {
            let d = distance(row(anchor), row(other));
            // NaN is taken as soon as it is seen.
            if labels[other] == labels[anchor] {
                if positive.is_none_or(|p| d > p.1 || d.is_nan()) {
                    positive = Some((other, d));
                }
            } else if negative.is_none_or(|n| d < n.1 || d.is_nan()) {
                negative = Some((other, d));
            }
        }
        Some(Hardest {
            anchor,
            positive: positive?,
            negative: negative?,
        })
    };
    (0..labels.len()).filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, Trace};

    use super::*;
    use crate::ops::{assert_close, numeric_gradient};
    use crate::tensors::{from_vec, randn, read, rng};

    fn matrix(values: &[f32], columns: usize) -> Matrix {
        from_vec(values.to_vec(), (values.len() / columns, columns)).unwrap()
    }

    #[test]
    fn literal_value_and_gradient() {
        let x = matrix(&[0.0, 1.0, 3.0, 4.0], 1);
        // Anchors 1 and 2 have a gap of 1 - 2: 0.5 above the margin; anchors 0 and 3 one of 1 - 3.
        let loss = triplet(x.leaky_trace(), &[0, 0, 1, 1], 1.5);
        assert_eq!(read(&loss), [0.25]);
        // Anchor 1: away from 0 (+1 for itself, -1 for row 0), towards 2 (+1 and -1); anchor 2 alike.
        assert_close(
            &read(&loss.backward().get(&x)),
            &[-0.25, 0.75, -0.75, 0.25],
            1e-6,
        );
    }

    #[test]
    fn without_pairs_there_is_no_loss() {
        let x = matrix(&[0.0, 1.0, 3.0], 1);
        for labels in [[0, 1, 2], [5, 5, 5]] {
            let loss = triplet(x.leaky_trace(), &labels, 9.0);
            assert_eq!(read(&loss), [0.0]);
            assert_eq!(read(&loss.backward().get(&x)), [0.0; 3]);
        }
        // Equal rows have no direction.
        let same = matrix(&[1.0; 8], 2);
        let loss = triplet(same.leaky_trace(), &[0, 0, 1, 1], 0.3);
        assert_close(&read(&loss), &[0.3], 1e-6);
        assert_eq!(read(&loss.backward().get(&same)), [0.0; 8]);
    }

    #[test]
    fn gradient_agrees_with_finite_differences() {
        // At random: equal distances have no slope to agree with.
        let x = read(&randn(8, 4, &mut rng(3)));
        let labels = [0, 0, 1, 1, 2, 2, 0, 1];
        let loss = |x: &[f32]| read(&triplet(matrix(x, 4), &labels, 0.7))[0];
        let traced = matrix(&x, 4);
        let ours = read(
            &triplet(traced.leaky_trace(), &labels, 0.7)
                .backward()
                .get(&traced),
        );
        assert_close(&ours, &numeric_gradient(&x, 2e-3, loss), 5e-3);
    }
}
