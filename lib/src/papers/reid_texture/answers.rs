//! Losses on what classifiers say and on distances, for the variants of the ablation.

use std::sync::Arc;

use dfdx::prelude::HasShape;

use crate::ops::host::try_host_op;
use crate::ops::l2_normalise::try_l2_normalise;
use crate::{Error, Matrix, Result, Scalar, Taped, from_vec, read};

/// Logarithms are not below this, as in PyTorch's binary cross entropy.
const LEAST: f64 = -100.0;

/// The binary cross entropy of the softmax of answers against that of others, for each classifier over `identities` people:
///
/// ```text
/// q = softmax(z)   p = softmax(target)   L = 1/M sum -(p ln q + (1 - p) ln(1 - q))   over all M numbers
/// ```
pub(super) fn answer_error(
    answers: Matrix<Taped>,
    target: Vec<f32>,
    identities: usize,
) -> Result<Scalar<Taped>> {
    let (rows, columns) = *answers.shape();
    if target.len() != rows * columns || rows * columns == 0 {
        let expected = format!("answers like {} numbers", target.len());
        return Err(Error::shape(
            "answers",
            expected,
            format!("({rows}, {columns})"),
        ));
    }
    let (soft, count) = (softmax(&target, identities), target.len() as f64);
    let again = soft.clone();
    try_host_op(
        answers,
        (),
        move |z, y| {
            let q = softmax(z, identities);
            let each = q.iter().zip(&soft);
            let sum: f64 = each
                .map(|(q, p)| {
                    let (one, other) = (ln(*q), ln(1.0 - q));
                    -(p * one + (1.0 - p) * other)
                })
                .sum();
            y[0] = (sum / count) as f32;
            Ok(())
        },
        move |z, dy, dz| {
            let q = softmax(z, identities);
            let parts = q.chunks(identities).zip(again.chunks(identities));
            for ((q, p), dz) in parts.zip(dz.chunks_mut(identities)) {
                // dL/dq times q, which stays finite where q does not.
                let slope: Vec<f64> = q
                    .iter()
                    .zip(p)
                    .map(|(q, p)| -p + (1.0 - p) * q / (1.0 - q).max(1e-30))
                    .collect();
                let along: f64 = slope.iter().sum();
                for ((s, q), dz) in slope.iter().zip(q).zip(dz) {
                    *dz = (f64::from(dy[0]) * (s - q * along) / count) as f32;
                }
            }
            Ok(())
        },
    )
}

/// A logarithm that keeps NaN and is bounded below.
fn ln(q: f64) -> f64 {
    let v = q.ln();
    if v < LEAST { LEAST } else { v }
}

fn softmax(z: &[f32], identities: usize) -> Vec<f64> {
    let of = |z: &[f32]| -> Vec<f64> {
        let top = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let each: Vec<f64> = z.iter().map(|z| f64::from(z - top).exp()).collect();
        let sum: f64 = each.iter().sum();
        each.into_iter().map(|e| e / sum).collect()
    };
    z.chunks(identities).flat_map(of).collect()
}

/// The batch-hard triplet loss of rows, as anchors, against others of the same labels, all at unit length:
///
/// ```text
/// L = 1/N sum_a max(0, margin + max_p D(x_a, y_p) - min_n D(x_a, y_n))
/// ```
///
/// over the `y` of the anchor's person, and of others.
pub(super) fn hardest_distance(
    anchors: Matrix<Taped>,
    others: Vec<f32>,
    labels: Vec<u32>,
    margin: f32,
) -> Result<Scalar<Taped>> {
    let (rows, columns) = *anchors.shape();
    if others.len() != rows * columns || labels.len() != rows {
        let expected = format!("{} numbers, a label a row", others.len());
        return Err(Error::shape(
            "triplet",
            expected,
            format!("({rows}, {columns})"),
        ));
    }
    let x = try_l2_normalise(anchors)?;
    let y: Matrix = try_l2_normalise(from_vec(others, (rows, columns))?)?;
    let table = Arc::new(Table {
        y: read(&y),
        columns,
        labels,
        margin,
    });
    let again = table.clone();
    try_host_op(
        x,
        (),
        move |x, y| {
            let gaps = (0..rows).map(|a| table.hardest(x, a).gap);
            // A comparison with NaN is false: NaN stays.
            let hinged = gaps.map(|g| if g <= 0.0 { 0.0 } else { g });
            y[0] = hinged.sum::<f32>() / rows.max(1) as f32;
            Ok(())
        },
        move |x, dy, dx| {
            let pull = dy[0] / rows.max(1) as f32;
            for a in 0..rows {
                let hard = again.hardest(x, a);
                if hard.gap <= 0.0 {
                    continue;
                }
                for (other, sign) in [(hard.positive, pull), (hard.negative, -pull)] {
                    let Some((b, distance)) = other.filter(|o| o.1 != 0.0) else {
                        continue;
                    };
                    for c in 0..columns {
                        let d = x[a * columns + c] - again.y[b * columns + c];
                        dx[a * columns + c] += sign * d / distance;
                    }
                }
            }
            Ok(())
        },
    )
}

/// The rows that anchors are compared with.
struct Table {
    y: Vec<f32>,
    columns: usize,
    labels: Vec<u32>,
    margin: f32,
}

/// The rows that are hardest for an anchor, and their distances.
struct Hardest {
    positive: Option<(usize, f32)>,
    negative: Option<(usize, f32)>,
    /// What the hinge sees; far below 0 without one of them.
    gap: f32,
}

impl Table {
    fn hardest(&self, x: &[f32], a: usize) -> Hardest {
        let row = |k: usize| k * self.columns..(k + 1) * self.columns;
        let (mut positive, mut negative) = (None::<(usize, f32)>, None::<(usize, f32)>);
        for b in 0..self.labels.len() {
            let pairs = x[row(a)].iter().zip(&self.y[row(b)]);
            let d = pairs.map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
            let (best, harder): (_, fn(f32, f32) -> bool) = match self.labels[b] == self.labels[a] {
                true => (&mut positive, |d, best| d > best),
                false => (&mut negative, |d, best| d < best),
            };
            // NaN is taken as soon as it is seen.
            if best.is_none_or(|(_, old)| harder(d, old) || d.is_nan()) {
                *best = Some((b, d));
            }
        }
        let gap = match (positive, negative) {
            (Some(p), Some(n)) => self.margin + p.1 - n.1,
            _ => f32::NEG_INFINITY,
        };
        Hardest {
            positive,
            negative,
            gap,
        }
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, Trace};

    use super::*;
    use crate::ops::{assert_close, numeric_gradient, wave};

    #[test]
    fn answers_are_compared_and_gradients_are_right() {
        let (values, target) = (wave(12), wave(24)[12..].to_vec());
        let at = |v: &[f32]| -> Matrix { from_vec(v.to_vec(), (2, 6)).unwrap() };
        let loss = |v: &[f32]| {
            let x = at(v).leaky_trace();
            read(&answer_error(x, target.clone(), 3).unwrap())[0]
        };
        let numeric = numeric_gradient(&values, 1e-2, loss);
        let x = at(&values);
        let found = answer_error(x.leaky_trace(), target.clone(), 3).unwrap();
        assert_close(&read(&found.backward().get(&x)), &numeric, 2e-3);
        // Equal answers cost the least; of two equally probable ones that is ln 2.
        assert!(loss(&target) < loss(&values));
        let x: Matrix = from_vec(vec![1.0, 1.0], (1, 2)).unwrap();
        let even = answer_error(x.leaky_trace(), vec![0.0, 0.0], 2).unwrap();
        assert_close(&read(&even), &[std::f32::consts::LN_2], 1e-6);
    }

    #[test]
    fn anchors_are_drawn_to_their_person_and_gradients_are_right() {
        let (values, others) = (wave(12), wave(24)[12..].to_vec());
        let labels = vec![4, 4, 9, 9];
        let at = |v: &[f32]| -> Matrix { from_vec(v.to_vec(), (4, 3)).unwrap() };
        let loss =
            |x: Matrix<Taped>| hardest_distance(x, others.clone(), labels.clone(), 0.5).unwrap();
        let numeric = numeric_gradient(&values, 1e-3, |v| read(&loss(at(v).leaky_trace()))[0]);
        let x = at(&values);
        let gradient = read(&loss(x.leaky_trace()).backward().get(&x));
        assert_close(&gradient, &numeric, 5e-3);
        assert!(gradient.iter().any(|g| *g != 0.0));
        // Nobody else: nothing to keep away from.
        let alone = hardest_distance(at(&values).leaky_trace(), others.clone(), vec![1; 4], 0.5);
        assert_eq!(read(&alone.unwrap()), [0.0]);
        // Unit vectors along two axes: 0 from their own, sqrt 2 from the other.
        let x: Matrix = from_vec(vec![2.0, 0.0, 0.0, 3.0], (2, 2)).unwrap();
        let right = hardest_distance(x.leaky_trace(), vec![1., 0., 0., 1.], vec![0, 1], 2.0);
        assert_close(&read(&right.unwrap()), &[2.0 - 2f32.sqrt()], 1e-6);
    }

    #[test]
    fn nan_stays() {
        let x: Matrix = from_vec(vec![f32::NAN, 0.0, 0.0, 3.0], (2, 2)).unwrap();
        let found = hardest_distance(x.leaky_trace(), vec![1., 0., 0., 1.], vec![0, 1], 2.0);
        assert!(read(&found.unwrap())[0].is_nan());
        let found = answer_error(x.leaky_trace(), vec![0.0; 4], 2).unwrap();
        assert!(read(&found)[0].is_nan());
    }
}
