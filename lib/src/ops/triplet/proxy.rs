//! The triplet loss against one stored proxy of each person.

use dfdx::prelude::HasShape;

use super::{distance, expect_labels, hinge};
use crate::error::{Error, Result};
use crate::ops::host::try_host_op;
use crate::ops::or_panic;
use crate::ops::tape::Recorder;
use crate::tensors::{Matrix, Scalar, read};

/// A feature of unit length for each person, moved towards what is seen of the person: outside the tape, so no gradient
/// goes into it.
///
/// Persons not yet seen have a row of zeros and take no part.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ProxyTable {
    rows: Vec<f32>,
    columns: usize,
    momentum: f32,
}

impl ProxyTable {
    /// A table for `persons`, all unseen, of features of `columns` numbers. At an update a row keeps `momentum` of itself.
    ///
    /// # Errors
    /// [`Error::Invalid`] for features of no numbers and a momentum outside 0 to 1.
    pub fn new(persons: usize, columns: usize, momentum: f32) -> Result<ProxyTable> {
        if columns == 0 || !(0.0..=1.0).contains(&momentum) {
            let what = format!("proxies of {columns} numbers with momentum {momentum}");
            let why = "at least one number, and a momentum from 0 to 1";
            return Err(Error::invalid(what, why));
        }
        Ok(ProxyTable {
            rows: vec![0.0; persons * columns],
            columns,
            momentum,
        })
    }

    /// The number of persons.
    pub fn persons(&self) -> usize {
        self.rows.len() / self.columns
    }

    /// The proxy of a person, zeros for one not yet seen.
    ///
    /// # Panics
    /// When there is no such person.
    pub fn row(&self, person: u32) -> &[f32] {
        &self.rows[person as usize * self.columns..][..self.columns]
    }

    /// `T_y <- normalise(momentum T_y + (1 - momentum) mean of the rows of y)` for the labels of a batch; the first time,
    /// the mean alone. Other rows stay as they are, and so does one whose new value would have no direction.
    ///
    /// # Errors
    /// [`Error::Shape`] for features or labels that do not fit, [`Error::Invalid`] for a label without a row and for
    /// numbers that are not finite.
    pub fn update(&mut self, features: &Matrix, labels: &[u32]) -> Result<()> {
        let (rows, columns) = *features.shape();
        self.expect(rows, columns, labels)?;
        let values = read(features);
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let what = format!("proxies: feature of row {}", at / columns);
            return Err(Error::invalid(what, format!("holds {}", values[at])));
        }
        let mut seen: Vec<u32> = labels.to_vec();
        seen.sort_unstable();
        seen.dedup();
        for person in seen {
            let of: Vec<&[f32]> = labels
                .iter()
                .zip(values.chunks_exact(columns))
                .filter(|(l, _)| **l == person)
                .map(|(_, row)| row)
                .collect();
            let own = &mut self.rows[person as usize * columns..][..columns];
            let kept = if is_unseen(own) { 0.0 } else { self.momentum };
            let new: Vec<f32> = (0..columns)
                .map(|c| {
                    let mean = of.iter().map(|row| row[c]).sum::<f32>() / of.len() as f32;
                    kept * own[c] + (1.0 - kept) * mean
                })
                .collect();
            let length = distance(&new, &vec![0.0; columns]);
            if length > 0.0 {
                own.iter_mut()
                    .zip(new)
                    .for_each(|(own, new)| *own = new / length);
            }
        }
        Ok(())
    }

    fn expect(&self, rows: usize, columns: usize, labels: &[u32]) -> Result<()> {
        if columns != self.columns {
            let expected = format!("features of {} numbers", self.columns);
            return Err(Error::shape("proxy_triplet", expected, columns));
        }
        expect_labels("proxy_triplet", rows, labels)?;
        match labels.iter().find(|l| **l as usize >= self.persons()) {
            Some(label) => {
                let why = format!("the table has the persons 0..{}", self.persons());
                Err(Error::invalid(format!("label {label}"), why))
            }
            None => Ok(()),
        }
    }
}

fn is_unseen(row: &[f32]) -> bool {
    row.iter().all(|v| *v == 0.0)
}

/// The mean over the rows `f` with label `y`, whose proxy has been seen, of
///
/// ```text
/// max(0, m + D(f, T_y) - min over j != y of D(f, T_j))
/// ```
///
/// with Euclidean distances to the proxies `T` that have been seen. 0 without such rows, or where there is no other proxy.
///
/// Source: the method of Han et al., [arXiv:1909.08580](https://arxiv.org/abs/1909.08580), compares with proxies; their
/// formula was not available to us, and this form is a choice of ours.
///
/// ```
/// use rebit::ops::triplet::{ProxyTable, proxy_triplet};
/// use rebit::prelude::*;
/// let mut table = ProxyTable::new(2, 2, 0.5)?;
/// table.update(&from_vec(vec![1.0, 0.0, 0.0, 2.0], (2, 2))?, &[0, 1])?;
/// assert_eq!(table.row(1), [0.0, 1.0]);
/// let f: Matrix = from_vec(vec![0.0, 0.0], (1, 2))?;
/// assert_eq!(read(&proxy_triplet(f, &[0], &table, 0.25)), [0.25]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_proxy_triplet`] fails.
#[track_caller]
pub fn proxy_triplet<T: Recorder>(
    features: Matrix<T>,
    labels: &[u32],
    table: &ProxyTable,
    margin: f32,
) -> Scalar<T> {
    or_panic(try_proxy_triplet(features, labels, table, margin))
}

/// See [`proxy_triplet`].
///
/// # Errors
/// [`Error::Shape`] for features or labels that do not fit, [`Error::Invalid`] for a label without a row in the table.
pub fn try_proxy_triplet<T: Recorder>(
    features: Matrix<T>,
    labels: &[u32],
    table: &ProxyTable,
    margin: f32,
) -> Result<Scalar<T>> {
    let (rows, columns) = *features.shape();
    table.expect(rows, columns, labels)?;
    let (labels, table) = (labels.to_vec(), table.clone());
    let (labels_again, table_again) = (labels.clone(), table.clone());
    try_host_op(
        features,
        (),
        move |x, y| {
            let pairs = nearest(x, &labels, &table);
            let share = 1.0 / pairs.len().max(1) as f32;
            y[0] = share
                * pairs
                    .iter()
                    .map(|p| hinge(margin + p.own - p.other.1))
                    .sum::<f32>();
            Ok(())
        },
        move |x, dy, dx| {
            let pairs = nearest(x, &labels_again, &table_again);
            let pull = dy[0] / pairs.len().max(1) as f32;
            for p in &pairs {
                if margin + p.own - p.other.1 <= 0.0 {
                    continue;
                }
                let proxies = [
                    (labels_again[p.row], pull, p.own),
                    (p.other.0, -pull, p.other.1),
                ];
                for (person, sign, distance) in proxies.into_iter().filter(|p| p.2 != 0.0) {
                    for (c, proxy) in table_again.row(person).iter().enumerate() {
                        let at = p.row * columns + c;
                        dx[at] += sign * (x[at] - proxy) / distance;
                    }
                }
            }
            Ok(())
        },
    )
}

/// A row, its distance to its own proxy, and the nearest other one.
struct Pair {
    row: usize,
    own: f32,
    other: (u32, f32),
}

fn nearest(x: &[f32], labels: &[u32], table: &ProxyTable) -> Vec<Pair> {
    let seen: Vec<u32> = (0..table.persons() as u32)
        .filter(|&p| !is_unseen(table.row(p)))
        .collect();
    let mut out = Vec::new();
    for (row, (f, &label)) in x.chunks_exact(table.columns).zip(labels).enumerate() {
        let others = seen.iter().filter(|p| **p != label);
        let others = others.map(|&p| (p, distance(f, table.row(p))));
        let Some(other) = others.reduce(|a, b| if b.1 < a.1 { b } else { a }) else {
            continue;
        };
        if seen.contains(&label) {
            out.push(Pair {
                row,
                own: distance(f, table.row(label)),
                other,
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, Trace};

    use super::*;
    use crate::ops::{assert_close, numeric_gradient, wave};
    use crate::tensors::from_vec;

    fn matrix(values: &[f32], columns: usize) -> Matrix {
        from_vec(values.to_vec(), (values.len() / columns, columns)).unwrap()
    }

    #[test]
    fn updates_keep_unit_length_and_leave_other_rows() {
        let mut table = ProxyTable::new(3, 2, 0.5).unwrap();
        table
            .update(&matrix(&[2.0, 0.0, 0.0, 4.0], 2), &[0, 2])
            .unwrap();
        assert_eq!(
            (table.row(0), table.row(1), table.row(2)),
            (&[1.0, 0.0][..], &[0.0, 0.0][..], &[0.0, 1.0][..])
        );
        // Half of (1, 0) and half of the mean (0, 1).
        table
            .update(&matrix(&[0.0, 0.5, 0.0, 1.5], 2), &[0, 0])
            .unwrap();
        let half = 0.5f32.sqrt();
        assert_close(table.row(0), &[half, half], 1e-6);
        assert_eq!(table.row(2), [0.0, 1.0]);
        // What cancels leaves the row.
        table.update(&matrix(&[0.0, -1.0], 2), &[2]).unwrap();
        assert_eq!(table.row(2), [0.0, 1.0]);
    }

    #[test]
    fn it_is_0_at_a_margin_and_unseen_persons_take_no_part() {
        let mut table = ProxyTable::new(3, 2, 0.5).unwrap();
        let f = matrix(&[1.0, 0.0], 2);
        assert_eq!(read(&proxy_triplet(f.clone(), &[0], &table, 0.3)), [0.0]);
        table
            .update(&matrix(&[1.0, 0.0, 0.0, 1.0], 2), &[0, 1])
            .unwrap();
        // Its own proxy is 0 away, the other one the root of 2.
        assert_eq!(read(&proxy_triplet(f.clone(), &[0], &table, 0.3)), [0.0]);
        let wrong = proxy_triplet(f.clone(), &[1], &table, 0.3);
        assert_close(&read(&wrong), &[0.3 + 2f32.sqrt()], 1e-6);
        // Person 2 has not been seen.
        assert_eq!(read(&proxy_triplet(f, &[2], &table, 0.3)), [0.0]);
    }

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let mut table = ProxyTable::new(4, 3, 0.5).unwrap();
        table.update(&matrix(&wave(12), 3), &[0, 1, 2, 3]).unwrap();
        let x: Vec<f32> = wave(15).iter().map(|v| v * 0.7 + 0.1).collect();
        let labels = [0, 3, 1, 1, 2];
        let loss = |x: &[f32]| read(&proxy_triplet(matrix(x, 3), &labels, &table, 0.5))[0];
        let traced = matrix(&x, 3);
        let ours = proxy_triplet(traced.leaky_trace(), &labels, &table, 0.5);
        let ours = read(&ours.backward().get(&traced));
        assert_close(&ours, &numeric_gradient(&x, 2e-3, loss), 5e-3);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut table = ProxyTable::new(2, 3, 0.5).unwrap();
        assert!(ProxyTable::new(2, 0, 0.5).is_err() && ProxyTable::new(2, 3, f32::NAN).is_err());
        let error = table
            .update(&matrix(&[0.0; 4], 2), &[0, 1])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("3 numbers") && error.contains("found 2"),
            "{error}"
        );
        assert!(table.update(&matrix(&[0.0; 6], 3), &[0]).is_err());
        let error = table
            .update(&matrix(&[0.0; 6], 3), &[0, 2])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("label 2") && error.contains("0..2"),
            "{error}"
        );
        assert!(
            table
                .update(&matrix(&[f32::NAN, 0.0, 0.0], 3), &[0])
                .is_err()
        );
    }
}
