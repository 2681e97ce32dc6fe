//! Cosine distances between features, and their mean within classes.

use rayon::prelude::*;

use super::rows;
use crate::error::{Error, Result};
use crate::tensors::Matrix;

/// `1 - a b / (|a| |b|)`: 0 for one direction, 1 for a right angle, 2 for opposite directions.
///
/// ```
/// use rebit::metrics::cosine_distance;
/// assert_eq!(cosine_distance(&[1.0, 0.0], &[3.0, 0.0])?, 0.0);
/// assert_eq!(cosine_distance(&[1.0, 0.0], &[0.0, 0.1])?, 1.0);
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for vectors of different lengths, [`Error::Invalid`] for one without a direction: zero, empty or not
/// finite.
pub fn cosine_distance(a: &[f32], b: &[f32]) -> Result<f32> {
    if a.len() != b.len() {
        return Err(Error::shape(
            "cosine_distance",
            format!("two vectors of {} numbers", a.len()),
            format!("{} numbers in the second", b.len()),
        ));
    }
    let [a, b] = [a, b].map(direction);
    let (Some(a), Some(b)) = (a, b) else {
        return Err(no_direction("a vector"));
    };
    Ok((1.0 - dot(&a, &b)) as f32)
}

/// Mean cosine distance over all pairs of rows with one label, for each label in ascending order; classes of one row
/// have no pair and are left out.
///
/// How heterogeneous the images of a class are, as the features see it: IntraQ (arXiv:2111.09136, Table 1) reports the
/// mean of these.
///
/// ```
/// use rebit::metrics::within_class_distance;
/// use rebit::prelude::*;
/// let features: Matrix = from_vec(vec![1.0, 0.0, 0.0, 1.0, 5.0, 5.0, 1.0, 1.0], (4, 2))?;
/// let of_classes = within_class_distance(&features, &[7, 7, 9, 9])?;
/// assert!(of_classes[0] == (7, 1.0) && of_classes[1].1.abs() < 1e-6);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] unless there is a label for each row, [`Error::Invalid`] for rows that are zero or not finite.
pub fn within_class_distance(features: &Matrix, labels: &[u32]) -> Result<Vec<(u32, f32)>> {
    let (values, n, d) = rows("within_class_distance", features)?;
    super::silhouette::expect_labels("within_class_distance", n, labels)?;
    let directions: Vec<Vec<f64>> = values
        .chunks_exact(d)
        .enumerate()
        .map(|(k, row)| direction(row).ok_or_else(|| no_direction(&format!("row {k}"))))
        .collect::<Result<_>>()?;
    let mut classes: Vec<u32> = labels.to_vec();
    classes.sort_unstable();
    classes.dedup();
    let mean = |&class: &u32| {
        let members: Vec<&Vec<f64>> = directions
            .iter()
            .zip(labels)
            .filter_map(|(row, &label)| (label == class).then_some(row))
            .collect();
        let m = members.len() as f64;
        if members.len() < 2 {
            return None;
        }
        // The sum over all pairs of unit vectors is known from their sum alone: |sum|^2 = m + 2 sum of the products.
        let mut sum = vec![0.0; d];
        for row in members {
            sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
        }
        let products = (dot(&sum, &sum) - m) / (m * (m - 1.0));
        Some((class, (1.0 - products) as f32))
    };
    Ok(classes.par_iter().filter_map(mean).collect())
}

fn no_direction(what: &str) -> Error {
    Error::invalid(
        format!("cosine distance of {what}"),
        "it has no direction: all its numbers are 0, or one is not finite",
    )
}

/// The vector at length 1.
fn direction(row: &[f32]) -> Option<Vec<f64>> {
    let row: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
    let length = dot(&row, &row).sqrt();
    (length > 0.0 && length.is_finite()).then(|| row.iter().map(|v| v / length).collect())
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::{from_vec, randn, read, rng};

    #[test]
    fn literal_distances() {
        let d = |a: &[f32], b: &[f32]| cosine_distance(a, b).unwrap();
        assert_eq!(d(&[2.0, 0.0], &[-7.0, 0.0]), 2.0);
        assert!((d(&[1.0, 1.0], &[1.0, 0.0]) - (1.0 - 0.5f32.sqrt())).abs() < 1e-6);
        assert!(cosine_distance(&[0.0], &[1.0]).is_err());
        assert!(cosine_distance(&[f32::NAN], &[1.0]).is_err());
        let error = cosine_distance(&[1.0], &[1.0, 2.0])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("1 numbers") && error.contains("2 numbers"),
            "{error}"
        );
    }

    #[test]
    fn the_mean_of_a_class_is_that_of_its_pairs() {
        let x = randn(9, 5, &mut rng(4));
        let values = read(&x);
        let labels = [3, 1, 3, 1, 3, 8, 1, 3, 1];
        let found = within_class_distance(&x, &labels).unwrap();
        assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), [1, 3]);
        for (class, mean) in found {
            let of: Vec<usize> = (0..9).filter(|&k| labels[k] == class).collect();
            let mut sum = (0.0, 0.0);
            for &a in &of {
                for &b in of.iter().filter(|&&b| b > a) {
                    let row = |k: usize| &values[5 * k..5 * k + 5];
                    sum = (
                        sum.0 + cosine_distance(row(a), row(b)).unwrap(),
                        sum.1 + 1.0,
                    );
                }
            }
            assert!((mean - sum.0 / sum.1).abs() < 1e-5, "class {class}");
        }
    }

    #[test]
    fn rows_without_a_direction_or_a_label_are_refused() {
        let x: Matrix = from_vec(vec![1.0, 0.0, 0.0, 0.0], (2, 2)).unwrap();
        let error = within_class_distance(&x, &[0, 0]).unwrap_err().to_string();
        assert!(error.contains("row 1"), "{error}");
        assert!(within_class_distance(&x, &[0]).is_err());
        let empty: Matrix = from_vec(vec![], (0, 2)).unwrap();
        assert!(within_class_distance(&empty, &[]).is_err());
    }
}
