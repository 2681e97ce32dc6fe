//! The matrix product `y = a b`.
//!
//! With `a` (rows, inner), `b` (inner, columns) and `g = dL/dy`:
//!
//! ```text
//! dL/da = g b^T,   dL/db = a^T g
//! ```
//!
//! All three products are those of a linear layer with the weight `b` and exchanged roles: its input gradient is `g w`,
//! its output `x w^T`, its weight gradient `g^T x`. So the kernels are those of [`linear`](super::linear), and nothing
//! is transposed on the way.
//!
//! dfdx's own method of this name works on all its tensor types and is compiled anew in each cell that calls it; here
//! only the bookkeeping of the tape is.

use dfdx::prelude::{HasShape, Merge, PutTape};

use super::conv2d::{ConvInput, GradTo};
use super::linear::{LinearKernel, LinearShape};
use crate::buffer::HostAccess;
use crate::error::{Error, Result};
use crate::ops::or_panic;
use crate::ops::parallel::expect_len;
use crate::ops::tape::{
    BackwardOp, Recorder, Scratch, add_gradient, backward_of, load, scratch, store, zeros,
};
use crate::tensors::{Buffer, Grads, Matrix, dev};

/// A device's products of matrices in row-major order: every device with a linear layer has them.
pub trait MatmulKernel: LinearKernel {
    /// `y = a b` with `a` (rows, inner) and `b` (inner, columns).
    ///
    /// # Errors
    /// [`Error::Shape`] for a buffer of the wrong length, [`Error::Invalid`] for an empty matrix.
    fn matmul(
        &self,
        s: MatmulShape,
        a: &Self::Vec,
        b: &Self::Vec,
        y: &mut Self::Vec,
    ) -> Result<()> {
        s.expect(self.len(a), self.len(b), self.len(y))?;
        // Without a quantiser the layer's input is not read.
        self.linear_grad_input(
            s.layer(),
            a,
            b,
            ConvInput::new(a, None),
            GradTo::Overwrite(y),
        )?;
        Ok(())
    }

    /// `da = dy b^T`.
    ///
    /// # Errors
    /// As [`matmul`](Self::matmul).
    fn matmul_grad_left(
        &self,
        s: MatmulShape,
        dy: &Self::Vec,
        b: &Self::Vec,
        da: &mut Self::Vec,
    ) -> Result<()> {
        self.linear_forward(s.layer(), ConvInput::new(dy, None), b, None, da)
    }

    /// `db = a^T dy`.
    ///
    /// # Errors
    /// As [`matmul`](Self::matmul).
    fn matmul_grad_right(
        &self,
        s: MatmulShape,
        a: &Self::Vec,
        dy: &Self::Vec,
        db: &mut Self::Vec,
    ) -> Result<()> {
        s.expect(self.len(a), self.len(db), self.len(dy))?;
        self.linear_grad_weight(s.layer(), ConvInput::new(dy, None), a, db, None)
    }
}

impl<D: LinearKernel> MatmulKernel for D {}

/// Sizes of a product of two matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatmulShape {
    /// Rows of the left matrix and of the product.
    pub rows: usize,
    /// Columns of the left matrix, rows of the right one.
    pub inner: usize,
    /// Columns of the right matrix and of the product.
    pub columns: usize,
}

impl MatmulShape {
    /// Refuses empty sides and buffers of another length than the left matrix, the right one and the product have.
    fn expect(self, left: usize, right: usize, product: usize) -> Result<()> {
        let MatmulShape {
            rows,
            inner,
            columns,
        } = self;
        if [rows, inner, columns].contains(&0) {
            return Err(Error::invalid(
                format!("matmul of ({rows}, {inner}) and ({inner}, {columns})"),
                "a product needs matrices that are not empty",
            ));
        }
        expect_len("matmul", "left", rows * inner, left)?;
        expect_len("matmul", "right", inner * columns, right)?;
        expect_len("matmul", "product", rows * columns, product)
    }

    /// The layer whose weight is the right matrix, and whose input gradient is the product.
    fn layer(self) -> LinearShape {
        LinearShape {
            rows: self.rows,
            inputs: self.columns,
            outputs: self.inner,
        }
    }
}

/// `y = a b` of `a` (rows, inner) and `b` (inner, columns); see the [module](self).
///
/// ```
/// use rebit::prelude::*;
/// let a = rebit::from_vec(vec![1.0, 2.0, 3.0, 4.0], (2, 2))?;
/// let b = rebit::from_vec(vec![1.0, 0.0, 2.0, 0.0, 1.0, -1.0], (2, 3))?;
/// assert_eq!(read(&matmul(a, b)), [1.0, 2.0, 0.0, 3.0, 4.0, 2.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_matmul`] fails.
#[track_caller]
pub fn matmul<T, R>(a: Matrix<T>, b: Matrix<R>) -> Matrix<T>
where
    T: Recorder + Merge<R>,
    R: Recorder,
{
    or_panic(try_matmul(a, b))
}

/// See [`matmul`].
///
/// # Errors
/// [`Error::Shape`] unless `a` has as many columns as `b` has rows, [`Error::Invalid`] for an empty matrix.
pub fn try_matmul<T, R>(a: Matrix<T>, b: Matrix<R>) -> Result<Matrix<T>>
where
    T: Recorder + Merge<R>,
    R: Recorder,
{
    let (a, tape) = T::split_matrix(a)?;
    let (b, b_tape) = R::split_matrix(b)?;
    let (y, backward) = record(a, b)?;
    Ok(y.put_tape(tape.merge(b_tape).record(backward)))
}

fn record(a: Matrix, b: Matrix) -> Result<(Matrix, BackwardOp)> {
    let (y, product) = Product::new(a, b)?;
    let backward = backward_of(&y, move |grads, dy| product.backward(grads, dy));
    Ok((y, backward))
}

/// What the backward pass needs.
struct Product {
    shape: MatmulShape,
    a: Matrix,
    b: Matrix,
    left: Scratch,
    right: Scratch,
}

impl Product {
    fn new(a: Matrix, b: Matrix) -> Result<(Matrix, Product)> {
        let ((rows, inner), (found, columns)) = (*a.shape(), *b.shape());
        if inner != found {
            return Err(Error::shape(
                "matmul",
                format!("a right matrix ({inner}, {columns}) for a left one ({rows}, {inner})"),
                format!("a right matrix ({found}, {columns})"),
            ));
        }
        let shape = MatmulShape {
            rows,
            inner,
            columns,
        };
        let (left, right) = (load(&a)?, load(&b)?);
        let mut y = zeros(rows * columns)?;
        dev().matmul(shape, &left, &right, &mut y)?;
        let product = Product {
            shape,
            a,
            b,
            left,
            right,
        };
        Ok((store(y, (rows, columns))?, product))
    }

    fn backward(&self, grads: &mut Grads, dy: &Buffer) -> Result<()> {
        let mut part = scratch(self.left.elements())?;
        dev().matmul_grad_left(self.shape, dy, &self.right, &mut part)?;
        add_gradient(grads, &self.a, &part)?;
        let mut part = scratch(self.right.elements())?;
        dev().matmul_grad_right(self.shape, &self.left, dy, &mut part)?;
        add_gradient(grads, &self.b, &part)
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, SumTo, Trace};

    use super::*;
    use crate::ops::{assert_close, numeric_gradient, wave};
    use crate::tensors::{from_vec, randn, read, rng};

    fn matrix(data: &[f32], shape: (usize, usize)) -> Matrix {
        from_vec(data.to_vec(), shape).unwrap()
    }

    #[test]
    fn the_product_is_that_of_the_definition_at_every_size() {
        for (rows, inner, columns) in [
            (1, 1, 1),
            (2, 3, 5),
            (17, 33, 9),
            (64, 64, 64),
            (3, 200, 130),
        ] {
            let (a, b) = (
                randn(rows, inner, &mut rng(1)),
                randn(inner, columns, &mut rng(2)),
            );
            let (x, z) = (read(&a), read(&b));
            let expected: Vec<f32> = (0..rows * columns)
                .map(|at| {
                    let (row, column) = (at / columns, at % columns);
                    let terms = (0..inner).map(|k| {
                        f64::from(x[row * inner + k]) * f64::from(z[k * columns + column])
                    });
                    terms.sum::<f64>() as f32
                })
                .collect();
            assert_close(&read(&matmul(a, b)), &expected, 1e-4);
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (x, z) = (wave(6), wave(12));
        let loss = |x: &[f32], z: &[f32]| {
            let y = read(&matmul(matrix(x, (2, 3)), matrix(z, (3, 4))));
            y.iter().map(|y| y * y).sum::<f32>() / 4.0
        };
        let (a, b) = (matrix(&x, (2, 3)), matrix(&z, (3, 4)));
        let y = matmul(a.leaky_trace(), b.leaky_trace());
        let grads = (y.square() / 4.0).sum::<(), _>().backward();
        let by_a = numeric_gradient(&x, 1e-2, |x| loss(x, &z));
        let by_b = numeric_gradient(&z, 1e-2, |z| loss(&x, z));
        assert_close(&read(&grads.get(&a)), &by_a, 2e-3);
        assert_close(&read(&grads.get(&b)), &by_b, 2e-3);
    }

    #[test]
    fn a_transposed_matrix_is_read_as_it_looks_and_gets_its_gradient_so() {
        use dfdx::prelude::{Axes2, PermuteTo};
        let a = matrix(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], (2, 3));
        let turned = a.leaky_trace().permute::<_, Axes2<1, 0>>();
        let y = matmul(turned, matrix(&[1.0, 0.0, 2.0, 1.0], (2, 2)));
        assert_eq!(read(&y), [9.0, 4.0, 12.0, 5.0, 15.0, 6.0]);
        let weights = matrix(&[1.0, 0.0, 0.0, 1.0, 10.0, 0.0], (3, 2));
        let grads = (y * weights).sum::<(), _>().backward();
        // d/da[k][row] = sum over columns of weight[row][column] b[k][column]
        assert_eq!(read(&grads.get(&a)), [1.0, 0.0, 10.0, 2.0, 1.0, 20.0]);
    }

    #[test]
    fn a_refusal_names_both_shapes() {
        let (a, b) = (randn(2, 3, &mut rng(0)), randn(4, 5, &mut rng(0)));
        assert_eq!(
            try_matmul(a, b).unwrap_err().to_string(),
            "matmul: expected a right matrix (3, 5) for a left one (2, 3), found a right matrix (4, 5)"
        );
        let (a, b) = (randn(0, 3, &mut rng(0)), randn(3, 5, &mut rng(0)));
        assert!(matches!(try_matmul(a, b), Err(Error::Invalid { .. })));
    }
}
