//! How well labelled rows form groups.

use rayon::prelude::*;

use super::rows;
use crate::error::{Error, Result};
use crate::tensors::Matrix;

/// Rows between two looks for an interrupt.
const AT_ONCE: usize = 256;

/// Mean silhouette coefficient of rows with labels, from -1 to 1, by Euclidean distance.
///
/// For a row with the mean distance `a` to the others of its label and `b` to those of the nearest other label, it is
/// `(b - a) / max(a, b)`; 0 for a label of one row. Near 1 labels are tight and far apart, near 0 they overlap, and
/// below it rows lie closer to another label than to their own.
///
/// Source: Rousseeuw, "Silhouettes", Journal of Computational and Applied Mathematics 20, 1987.
///
/// ```
/// use rebit::metrics::silhouette;
/// use rebit::prelude::*;
/// let x: Matrix = from_vec(vec![0.0, 1.0, 10.0, 11.0], (4, 1))?;
/// assert!(silhouette(&x, &[0, 0, 1, 1])? > 0.89);
/// assert!(silhouette(&x, &[0, 1, 0, 1])? < 0.0);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] unless there is a label for each row, [`Error::Invalid`] for fewer than two labels and for numbers
/// that are not finite.
pub fn silhouette(features: &Matrix, labels: &[u32]) -> Result<f32> {
    let (values, n, d) = rows("silhouette", features)?;
    expect_labels("silhouette", n, labels)?;
    let mut classes: Vec<u32> = labels.to_vec();
    classes.sort_unstable();
    classes.dedup();
    if classes.len() < 2 {
        return Err(Error::invalid(
            "silhouette of one label",
            "compares a label with the others; give at least two",
        ));
    }
    let class: Vec<usize> = labels
        .iter()
        .map(|l| classes.partition_point(|c| c < l))
        .collect();
    let mut counts = vec![0usize; classes.len()];
    class.iter().for_each(|&c| counts[c] += 1);
    let coefficient = |i: usize| -> f64 {
        if counts[class[i]] < 2 {
            return 0.0;
        }
        let own = &values[i * d..(i + 1) * d];
        let mut sums = vec![0.0f64; classes.len()];
        for (row, &c) in values.chunks_exact(d).zip(&class) {
            let squares = own.iter().zip(row).map(|(a, b)| f64::from(a - b).powi(2));
            sums[c] += squares.sum::<f64>().sqrt();
        }
        let a = sums[class[i]] / (counts[class[i]] - 1) as f64;
        let others = (0..classes.len()).filter(|&c| c != class[i]);
        let b = others
            .map(|c| sums[c] / counts[c] as f64)
            .fold(f64::INFINITY, f64::min);
        if a.max(b) == 0.0 {
            0.0
        } else {
            (b - a) / a.max(b)
        }
    };
    let mut all: Vec<f64> = Vec::with_capacity(n);
    for start in (0..n).step_by(AT_ONCE) {
        crate::show::check_interrupt()?;
        let part = start..n.min(start + AT_ONCE);
        all.par_extend(part.into_par_iter().map(coefficient));
    }
    Ok((all.iter().sum::<f64>() / n as f64) as f32)
}

/// Refuses labels that are not one for each of `rows` rows.
pub(super) fn expect_labels(op: &'static str, rows: usize, labels: &[u32]) -> Result<()> {
    if labels.len() == rows {
        return Ok(());
    }
    Err(Error::shape(
        op,
        format!("{rows} labels, one for each row"),
        format!("{} labels", labels.len()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::from_vec;

    fn column(values: &[f32]) -> Matrix {
        from_vec(values.to_vec(), (values.len(), 1)).unwrap()
    }

    #[test]
    fn literal_coefficients() {
        // Rows 0 and 1 have a = 1, b = 4.5 and 3.5 (to 4 and 5); 4 and 5 mirror them.
        let expected = 2.0 * ((3.5 / 4.5) + (2.5 / 3.5)) / 4.0;
        let found = silhouette(&column(&[0.0, 1.0, 4.0, 5.0]), &[2, 2, 9, 9]).unwrap();
        assert!((found - expected).abs() < 1e-6, "{found}");
    }

    #[test]
    fn a_label_of_one_row_counts_as_zero_and_the_nearest_label_decides() {
        // a = 1 for the first two; the nearest other label is the row at 3, not those at 100.
        let x = column(&[0.0, 1.0, 3.0, 100.0, 101.0]);
        let found = silhouette(&x, &[0, 0, 1, 2, 2]).unwrap();
        let expected = (2.0 / 3.0 + 1.0 / 2.0 + 0.0 + 96.0 / 97.0 + 97.0 / 98.0) / 5.0;
        assert!((found - expected).abs() < 1e-6, "{found}");
    }

    #[test]
    fn equal_rows_are_no_groups() {
        assert_eq!(silhouette(&column(&[1.0; 4]), &[0, 0, 1, 1]).unwrap(), 0.0);
    }

    #[test]
    fn what_has_no_silhouette_is_refused() {
        let x = column(&[0.0, 1.0]);
        assert!(silhouette(&x, &[5, 5]).is_err());
        let error = silhouette(&x, &[5]).unwrap_err().to_string();
        assert!(
            error.contains("2 labels") && error.contains("1 labels"),
            "{error}"
        );
        let error = silhouette(&column(&[0.0, f32::NAN]), &[0, 1]).unwrap_err();
        assert!(error.to_string().contains("row 1"), "{error}");
    }
}
