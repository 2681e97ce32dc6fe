//! The linear layer `y = x w^T + b`: a pointwise convolution whose pixels are the rows of `x`.
//!
//! With `x` (rows, in), `w` (out, in) and `g = dL/dy`:
//!
//! ```text
//! dL/dx = g w,   dL/dw = g^T x,   dL/db = sum over the rows of g
//! ```
//!
//! The kernels are those of [`conv2d`](super::conv2d) on [`ConvShape::linear`], with the same fused quantiser.
//! A convolution with a 1x1 kernel runs over the flat list of its pixels, so a network executor may as well treat a
//! linear layer as a convolution of 1x1 images: it is the same work at the same speed.

use dfdx::prelude::*;

use super::conv2d::{
    ActQuantGrad, Conv2dKernel, Conv2dOptions, ConvInput, ConvShape, GradTo, conv2d_record,
};
use super::parallel::expect_len;
use super::tape::{BackwardOp, Recorder};
use crate::error::{Error, Result};
use crate::tensors::{Matrix, Vector};

/// Rows, inputs and outputs of a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearShape {
    /// Samples.
    pub rows: usize,
    /// Features of a sample.
    pub inputs: usize,
    /// Features of a result.
    pub outputs: usize,
}

impl LinearShape {
    /// The same layer as a pointwise convolution.
    pub fn conv(&self) -> ConvShape {
        ConvShape::linear(self.rows, self.inputs, self.outputs)
    }

    /// Refuses an empty side in the words of `op`.
    pub(crate) fn check(&self, op: &'static str) -> Result<()> {
        for (name, side) in [
            ("rows", self.rows),
            ("inputs", self.inputs),
            ("outputs", self.outputs),
        ] {
            if side == 0 {
                return Err(Error::invalid(
                    format!("{op} with 0 {name}"),
                    "a product needs at least one row, input and output",
                ));
            }
        }
        Ok(())
    }

    /// [`check`](Self::check), and the lengths of buffers: `(name, expected, found)`.
    fn expect(&self, lengths: &[(&str, usize, usize)]) -> Result<()> {
        self.check("linear")?;
        (lengths.iter())
            .try_for_each(|(name, expected, found)| expect_len("linear", name, *expected, *found))
    }
}

/// A device's linear layer: every device that can convolve has one.
pub trait LinearKernel: Conv2dKernel {
    /// `y = q(x) w^T + bias`.
    ///
    /// # Errors
    /// [`Error::Shape`] for a buffer of the wrong length.
    fn linear_forward(
        &self,
        s: LinearShape,
        x: ConvInput<Self::Vec>,
        w: &Self::Vec,
        bias: Option<&Self::Vec>,
        y: &mut Self::Vec,
    ) -> Result<()> {
        s.expect(&[
            ("x", s.rows * s.inputs, self.len(x.x)),
            ("w", s.inputs * s.outputs, self.len(w)),
            ("bias", s.outputs, bias.map_or(s.outputs, |b| self.len(b))),
            ("y", s.rows * s.outputs, self.len(y)),
        ])?;
        self.conv2d_forward(&s.conv(), x, w, bias, y)
    }

    /// `dL/dx` goes to `dx`, with the gradients of the quantiser's bounds.
    ///
    /// # Errors
    /// As [`Self::linear_forward`].
    fn linear_grad_input(
        &self,
        s: LinearShape,
        dy: &Self::Vec,
        w: &Self::Vec,
        x: ConvInput<Self::Vec>,
        dx: GradTo<Self::Vec>,
    ) -> Result<Option<ActQuantGrad>> {
        s.expect(&[
            ("dy", s.rows * s.outputs, self.len(dy)),
            ("w", s.inputs * s.outputs, self.len(w)),
        ])?;
        if let GradTo::Overwrite(dx) | GradTo::Add(dx) = &dx {
            s.expect(&[("dx", s.rows * s.inputs, self.len(dx))])?;
        }
        self.conv2d_grad_input(&s.conv(), dy, w, x, dx)
    }

    /// `dw = dL/dw` and `dbias = dL/dbias`.
    ///
    /// # Errors
    /// As [`Self::linear_forward`].
    fn linear_grad_weight(
        &self,
        s: LinearShape,
        x: ConvInput<Self::Vec>,
        dy: &Self::Vec,
        dw: &mut Self::Vec,
        dbias: Option<&mut Self::Vec>,
    ) -> Result<()> {
        s.expect(&[
            ("x", s.rows * s.inputs, self.len(x.x)),
            ("dy", s.rows * s.outputs, self.len(dy)),
            ("dw", s.inputs * s.outputs, self.len(dw)),
        ])?;
        self.conv2d_grad_weight(&s.conv(), x, dy, dw, dbias)
    }
}

impl<D: Conv2dKernel> LinearKernel for D {}

/// `y = x w^T + bias` of `x` (rows, in) and `w` (out, in); the result is (rows, out).
///
/// ```
/// use rebit::prelude::*;
/// let x = rebit::from_vec(vec![1.0, 2.0, 3.0, 4.0], (2, 2))?;
/// let w = rebit::from_vec(vec![1.0, 1.0, 1.0, -1.0, 0.0, 2.0], (3, 2))?;
/// let b = rebit::from_vec(vec![0.0, 0.0, 10.0], (3,))?;
/// let y = rebit::ops::linear::linear(x, w, Some(b));
/// assert_eq!(rebit::read(&y), [3.0, -1.0, 14.0, 7.0, -1.0, 18.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_linear`] returns an error.
pub fn linear<T, R>(x: Matrix<T>, w: Matrix<R>, bias: Option<Vector>) -> Matrix<T>
where
    T: Recorder + Merge<R>,
    R: Recorder,
{
    try_linear(x, w, bias).unwrap_or_else(|e| panic!("{e}"))
}

/// [`linear`] that returns its errors.
///
/// # Errors
/// [`Error::Shape`] when the features of `x`, `w` and `bias` differ, [`Error::Invalid`] for an empty matrix.
pub fn try_linear<T, R>(x: Matrix<T>, w: Matrix<R>, bias: Option<Vector>) -> Result<Matrix<T>>
where
    T: Recorder + Merge<R>,
    R: Recorder,
{
    let ((rows, inputs), (outputs, found)) = (*x.shape(), *w.shape());
    if inputs != found {
        return Err(Error::shape(
            "linear",
            format!("a weight ({outputs}, {inputs}) for an input ({rows}, {inputs})"),
            format!("a weight ({outputs}, {found})"),
        ));
    }
    let (x, tape) = T::split_matrix(x)?;
    let (w, w_tape) = R::split_matrix(w)?;
    let (y, backward) = record(x, w, bias)?;
    Ok(y.put_tape(tape.merge(w_tape).record(backward)))
}

fn record(x: Matrix, w: Matrix, bias: Option<Vector>) -> Result<(Matrix, BackwardOp)> {
    let ((rows, inputs), (outputs, _)) = (*x.shape(), *w.shape());
    LinearShape {
        rows,
        inputs,
        outputs,
    }
    .check("linear")?;
    if let Some(&(found,)) = bias.as_ref().map(|b| b.shape()).filter(|b| b.0 != outputs) {
        return Err(Error::shape(
            "linear",
            format!("a bias ({outputs},)"),
            format!("a bias ({found},)"),
        ));
    }
    // Reshaped tensors are the same to the tape: their gradients are those of `x` and `w`.
    let x = x.try_reshape_like(&(rows, inputs, 1, 1))?;
    let w = w.try_reshape_like(&(outputs, inputs, 1, 1))?;
    let (y, backward) = conv2d_record(x, w, bias, Conv2dOptions::default())?;
    Ok((y.try_reshape_like(&(rows, outputs))?, backward))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::{from_vec, read};

    #[test]
    fn gradients_of_small_values() {
        let x = from_vec(vec![1.0, 2.0, 3.0, 4.0], (2, 2)).unwrap();
        let w = from_vec(vec![1.0, -1.0, 0.5, 2.0, 0.0, 1.0], (3, 2)).unwrap();
        let b = from_vec(vec![0.0, 1.0, 2.0], (3,)).unwrap();
        let y = linear(x.leaky_trace(), w.clone(), Some(b.clone()));
        assert_eq!(read(&y), [-1.0, 5.5, 4.0, -1.0, 10.5, 6.0]);
        let grads = y.square().sum::<(), _>().backward();
        // g = 2 y
        assert_eq!(read(&grads.get(&x)), [3.5, 32.0, 8.5, 56.0]);
        let dw = [-8.0, -12.0, 74.0, 106.0, 44.0, 64.0];
        assert_eq!(read(&grads.get(&w)), dw);
        assert_eq!(read(&grads.get(&b)), [-4.0, 32.0, 20.0]);
    }

    #[test]
    fn a_refusal_names_both_shapes() {
        let x = from_vec(vec![0.0; 6], (2, 3)).unwrap();
        let w = from_vec(vec![0.0; 8], (4, 2)).unwrap();
        assert_eq!(
            try_linear(x, w, None).unwrap_err().to_string(),
            "linear: expected a weight (4, 3) for an input (2, 3), found a weight (4, 2)"
        );
        let (x, w) = (
            from_vec(vec![0.0; 6], (2, 3)),
            from_vec(vec![0.0; 12], (4, 3)),
        );
        let bias = from_vec(vec![0.0; 3], (3,)).unwrap();
        assert_eq!(
            try_linear(x.unwrap(), w.unwrap(), Some(bias))
                .unwrap_err()
                .to_string(),
            "linear: expected a bias (4,), found a bias (3,)"
        );
        let (x, w) = (from_vec(vec![], (0, 3)), from_vec(vec![0.0; 12], (4, 3)));
        let error = try_linear(x.unwrap(), w.unwrap(), None).unwrap_err();
        assert!(
            error.to_string().starts_with("linear with 0 rows"),
            "{error}"
        );
    }
}
