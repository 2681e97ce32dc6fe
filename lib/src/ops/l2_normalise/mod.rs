//! Rows of unit length: `y = x / |x|`, with `dx = (dy - y (y . dy)) / |x|`.
//!
//! A row of zeros has no direction: it stays 0 and gets no gradient.

use dfdx::prelude::HasShape;

use crate::error::Result;
use crate::ops::host::try_host_op;
use crate::ops::or_panic;
use crate::ops::tape::Recorder;
use crate::tensors::Matrix;

/// The rows of `x`, each divided by its Euclidean length; see the [module](self).
///
/// ```
/// use rebit::ops::l2_normalise::l2_normalise;
/// use rebit::prelude::*;
/// let x: Matrix = from_vec(vec![3.0, 4.0, 0.0, 0.0], (2, 2))?;
/// assert_eq!(read(&l2_normalise(x)), [0.6, 0.8, 0.0, 0.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_l2_normalise`] fails.
#[track_caller]
pub fn l2_normalise<T: Recorder>(x: Matrix<T>) -> Matrix<T> {
    or_panic(try_l2_normalise(x))
}

/// See [`l2_normalise`].
///
/// # Errors
/// [`Error::Device`](crate::Error::Device) when memory cannot be had.
pub fn try_l2_normalise<T: Recorder>(x: Matrix<T>) -> Result<Matrix<T>> {
    let (rows, columns) = *x.shape();
    try_host_op(
        x,
        (rows, columns),
        move |x, y| {
            for (x, y) in x.chunks(columns.max(1)).zip(y.chunks_mut(columns.max(1))) {
                let length = length(x);
                // A comparison with NaN is false: NaN goes the other way, and stays.
                let scale = if length == 0.0 { 0.0 } else { 1.0 / length };
                y.iter_mut().zip(x).for_each(|(y, x)| *y = x * scale);
            }
            Ok(())
        },
        move |x, dy, dx| {
            let rows = x.chunks(columns.max(1)).zip(dy.chunks(columns.max(1)));
            for ((x, dy), dx) in rows.zip(dx.chunks_mut(columns.max(1))) {
                let length = length(x);
                if length == 0.0 {
                    continue;
                }
                let along: f32 = x.iter().zip(dy).map(|(x, d)| x / length * d).sum();
                for ((x, d), out) in x.iter().zip(dy).zip(dx) {
                    *out = (d - x / length * along) / length;
                }
            }
            Ok(())
        },
    )
}

fn length(row: &[f32]) -> f32 {
    let squares: f64 = row.iter().map(|v| f64::from(*v).powi(2)).sum();
    squares.sqrt() as f32
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, Trace};

    use super::*;
    use crate::ops::{assert_close, numeric_gradient, wave};
    use crate::tensors::{from_vec, read};

    fn matrix(values: &[f32], columns: usize) -> Matrix {
        from_vec(values.to_vec(), (values.len() / columns, columns)).unwrap()
    }

    #[test]
    fn literal_value_and_gradient() {
        let x = matrix(&[3.0, 4.0, 0.0, 0.0], 2);
        let y = l2_normalise(x.leaky_trace());
        assert_eq!(read(&y), [0.6, 0.8, 0.0, 0.0]);
        // Of the first number: (1 - 0.36, -0.48) / 5; of a row of zeros nothing.
        let first = y * matrix(&[1.0, 0.0, 1.0, 1.0], 2);
        let gradient = read(&first.sum::<(), _>().backward().get(&x));
        assert_close(&gradient, &[0.128, -0.096, 0.0, 0.0], 1e-6);
    }

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let (x, w) = (
            wave(24),
            matrix(&wave(24).repeat(1).into_iter().rev().collect::<Vec<_>>(), 6),
        );
        let loss = |x: &[f32]| read(&(l2_normalise(matrix(x, 6)) * w.clone()).sum::<(), _>())[0];
        let traced = matrix(&x, 6);
        let y = l2_normalise(traced.leaky_trace()) * w.clone();
        let ours = read(&y.sum::<(), _>().backward().get(&traced));
        assert_close(&ours, &numeric_gradient(&x, 1e-2, loss), 2e-3);
    }

    use dfdx::prelude::SumTo;
}
