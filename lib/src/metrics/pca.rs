//! Principal components: the directions along which rows vary most.

use dfdx::prelude::HasShape;
use nalgebra::{DMatrix, SymmetricEigen};

use super::rows;
use crate::error::{Error, Result};
use crate::tensors::{Matrix, from_vec, read};

/// Principal components of some rows; others can be drawn in the same axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Pca {
    /// Mean of each column, taken off before projecting.
    pub mean: Vec<f32>,
    /// The directions, one after the other, each of length 1; the entry of largest size is positive.
    pub axes: Vec<Vec<f32>>,
    /// Variance of the rows along each axis (divided by their number less 1), descending.
    pub variances: Vec<f32>,
    /// The variances' shares of the whole.
    pub shares: Vec<f32>,
}

/// The first `count` principal components of the rows of `features`.
///
/// ```
/// use rebit::metrics::pca;
/// use rebit::prelude::*;
/// // Points on a line through (1, 1) with a slope of 3/4.
/// let x: Matrix = from_vec(vec![-3.0, -2.0, 1.0, 1.0, 5.0, 4.0], (3, 2))?;
/// let p = pca(&x, 1)?;
/// assert!((p.axes[0][0] - 0.8).abs() < 1e-6 && (p.axes[0][1] - 0.6).abs() < 1e-6);
/// assert!((read(&p.project(&x)?)[2] - 5.0).abs() < 1e-5);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for fewer than two rows, numbers that are not finite, and more components than rows or columns.
pub fn pca(features: &Matrix, count: usize) -> Result<Pca> {
    let (values, n, d) = rows("pca", features)?;
    if n < 2 || count == 0 || count > n.min(d) {
        return Err(Error::invalid(
            format!("{count} principal components of {n} x {d} features"),
            "needs two rows, and at least 1 and at most as many components as rows and columns",
        ));
    }
    let mut x = DMatrix::from_row_iterator(n, d, values.iter().map(|&v| f64::from(v)));
    let mean: Vec<f64> = x.column_iter().map(|c| c.mean()).collect();
    for (mut column, mean) in x.column_iter_mut().zip(&mean) {
        column.add_scalar_mut(-mean);
    }
    // The smaller of both products has the same eigenvalues; its vectors lead to those of the other.
    let tall = n >= d;
    let product = if tall {
        x.tr_mul(&x)
    } else {
        &x * x.transpose()
    };
    let eigen = SymmetricEigen::new(product);
    let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    let degrees = (n - 1) as f64;
    let whole = x.norm_squared() / degrees;
    let mut found = Pca {
        mean: mean.iter().map(|&m| m as f32).collect(),
        axes: Vec::new(),
        variances: Vec::new(),
        shares: Vec::new(),
    };
    for &k in &order[..count] {
        let vector = eigen.eigenvectors.column(k).into_owned();
        let axis = if tall { vector } else { x.tr_mul(&vector) };
        // Without variance in this direction any other is as good; zeros project everything to 0.
        let length = axis.norm();
        let axis = if length > 0.0 { axis / length } else { axis };
        let turn = if axis[axis.iamax()] < 0.0 { -1.0 } else { 1.0 };
        found
            .axes
            .push(axis.iter().map(|v| (turn * v) as f32).collect());
        let variance = eigen.eigenvalues[k].max(0.0) / degrees;
        found.variances.push(variance as f32);
        let share = if whole > 0.0 { variance / whole } else { 0.0 };
        found.shares.push(share as f32);
    }
    Ok(found)
}

impl Pca {
    /// The coordinates of rows in the axes: `(rows, components)`.
    ///
    /// # Errors
    /// [`Error::Shape`] for rows of another length.
    pub fn project(&self, features: &Matrix) -> Result<Matrix> {
        let (n, d) = *features.shape();
        if d != self.mean.len() {
            return Err(Error::shape(
                "pca",
                format!("rows of {} features", self.mean.len()),
                format!("rows of {d}"),
            ));
        }
        let values = read(features);
        let mut out = Vec::with_capacity(n * self.axes.len());
        for row in values.chunks_exact(d.max(1)) {
            for axis in &self.axes {
                let terms = row.iter().zip(&self.mean).zip(axis);
                let sum: f64 = terms
                    .map(|((v, m), a)| f64::from(v - m) * f64::from(*a))
                    .sum();
                out.push(sum as f32);
            }
        }
        from_vec(out, (n, self.axes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::assert_close;
    use crate::tensors::{randn, rng};

    /// Rows that vary by 4, 2 and 1 along three axes at right angles.
    fn stretched(n: usize) -> Matrix {
        let values = read(&randn(n, 3, &mut rng(2)));
        let (h, q) = (0.5f32.sqrt(), 0.5);
        let rows = values.chunks(3).flat_map(|v| {
            let (a, b, c) = (4.0 * v[0], 2.0 * v[1], v[2]);
            // Axes (h, q, q), (-h, q, q), (0, h, -h), and a shift.
            [
                h * (a - b) + 10.0,
                q * (a + b) + h * c,
                q * (a + b) - h * c - 3.0,
            ]
        });
        from_vec(rows.collect(), (n, 3)).unwrap()
    }

    #[test]
    fn axes_and_variances_of_a_stretched_cloud_are_found() {
        let x = stretched(4000);
        let p = pca(&x, 3).unwrap();
        let h = 0.5f32.sqrt();
        assert_close(&p.axes[0], &[h, 0.5, 0.5], 0.03);
        assert_close(
            &[p.variances[0], p.variances[1], p.variances[2]],
            &[16.0, 4.0, 1.0],
            0.08,
        );
        assert_close(&[p.shares.iter().sum()], &[1.0], 1e-6);
        // The coordinates do not go together, and vary as they should.
        let y = read(&p.project(&x).unwrap());
        let mean = |f: &dyn Fn(&[f32]) -> f32| y.chunks(3).map(f).sum::<f32>() / 3999.0;
        assert_close(&[mean(&|y| y[0] * y[0])], &[p.variances[0]], 1e-3);
        assert!(mean(&|y| y[0] * y[1]).abs() < 1e-2 && mean(&|y| y[1] * y[2]).abs() < 1e-2);
    }

    #[test]
    fn fewer_rows_than_columns_span_the_same_axes() {
        let x = randn(6, 40, &mut rng(1));
        let p = pca(&x, 5).unwrap();
        for (k, a) in p.axes.iter().enumerate() {
            for (l, b) in p.axes.iter().enumerate() {
                let product: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                let expected = if k == l { 1.0 } else { 0.0 };
                assert!(
                    (product - expected).abs() < 1e-5,
                    "axes {k} and {l}: {product}"
                );
            }
        }
        // Six rows about their mean have five directions: they are all there.
        assert_close(&[p.shares.iter().sum()], &[1.0], 1e-5);
        let y = read(&p.project(&x).unwrap());
        let variance: f32 = y.iter().map(|v| v * v).sum::<f32>() / 5.0;
        assert_close(&[variance], &[p.variances.iter().sum()], 1e-4);
    }

    #[test]
    fn a_constant_has_no_variance_and_projects_to_nothing() {
        let x: Matrix = from_vec(vec![2.0; 12], (4, 3)).unwrap();
        let p = pca(&x, 2).unwrap();
        assert_eq!(p.variances, [0.0, 0.0]);
        assert_eq!(read(&p.project(&x).unwrap()), [0.0; 8]);
    }

    #[test]
    fn what_has_no_components_is_refused() {
        let x = randn(3, 2, &mut rng(0));
        for count in [0, 3] {
            let error = pca(&x, count).unwrap_err().to_string();
            assert!(error.contains("of 3 x 2 features"), "{error}");
        }
        assert!(pca(&randn(1, 2, &mut rng(0)), 1).is_err());
        let nan: Matrix = from_vec(vec![0.0, f32::NAN], (2, 1)).unwrap();
        assert!(pca(&nan, 1).is_err());
        let error = pca(&x, 1).unwrap().project(&randn(3, 4, &mut rng(0)));
        assert!(error.unwrap_err().to_string().contains("rows of 4"));
    }
}
