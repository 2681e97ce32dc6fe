//! Mean absolute error: `L = mean |x - target|`, `dL/dx = sign(x - target) / n`, 0 where they agree.

use dfdx::prelude::{HasShape, PutTape, Shape, Storage, Tensor};

use crate::error::{Error, Result};
use crate::ops::or_panic;
use crate::ops::tape::{BackwardOp, Recorder, load, loss_of, split_flat, zeros};
use crate::tensors::{Dev, Scalar, Vector, dev, read};

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

/// Kernels on buffers; their layout does not matter.
pub trait L1LossKernel: Storage<f32> {
    /// The loss; its gradient goes into `dx` (overwritten).
    ///
    /// # Errors
    /// [`Error::Shape`] for buffers of different lengths, [`Error::Invalid`] for empty ones.
    fn l1_loss(&self, x: &Self::Vec, target: &[f32], dx: &mut Self::Vec) -> Result<f32>;
}

/// `mean |x - target|`; `target` gets no gradient.
///
/// ```
/// use rebit::ops::l1_loss::l1_loss;
/// use rebit::prelude::*;
/// let loss = l1_loss(vector(&[1.0, 5.0]), &vector(&[2.0, 2.0]));
/// assert_eq!(read(&loss), [2.0]);
/// ```
///
/// # Panics
/// Where [`try_l1_loss`] fails.
#[track_caller]
pub fn l1_loss<S: Shape, T: Recorder>(
    x: Tensor<S, f32, Dev, T>,
    target: &Tensor<S, f32, Dev>,
) -> Scalar<T> {
    or_panic(try_l1_loss(x, target))
}

/// See [`l1_loss`].
///
/// # Errors
/// [`Error::Shape`] for tensors of different shapes, [`Error::Invalid`] for empty ones.
pub fn try_l1_loss<S: Shape, T: Recorder>(
    x: Tensor<S, f32, Dev, T>,
    target: &Tensor<S, f32, Dev>,
) -> Result<Scalar<T>> {
    if x.shape() != target.shape() {
        let (x, t) = (x.shape().concrete(), target.shape().concrete());
        return Err(Error::shape(
            "l1_loss",
            format!("target of {x:?}"),
            format!("{t:?}"),
        ));
    }
    let target = read(target);
    let (x, tape) = split_flat(x)?;
    let (loss, backward) = record(x, &target)?;
    Ok(loss.put_tape(tape.record(backward)))
}

fn record(x: Vector, target: &[f32]) -> Result<(Scalar, BackwardOp)> {
    let mut slope = zeros(target.len())?;
    let loss = dev().l1_loss(&*load(&x)?, target, &mut slope)?;
    Ok(loss_of(x, loss, slope))
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, Trace};

    use super::*;
    use crate::ops::{assert_close, numeric_gradient, wave};
    use crate::tensors::{read, vector};

    #[test]
    fn literal_value_and_gradient() {
        let x = vector(&[1.0, 5.0, 2.0, -3.0]);
        let loss = l1_loss(x.leaky_trace(), &vector(&[2.0, 2.0, 2.0, -3.5])) * 8.0;
        assert_eq!(read(&loss), [9.0]);
        assert_eq!(read(&loss.backward().get(&x)), [-2.0, 2.0, 0.0, 2.0]);
    }

    #[test]
    fn gradient_agrees_with_finite_differences() {
        // Away from the corner, where there is no slope to agree with.
        let values: Vec<f32> = wave(50)
            .into_iter()
            .filter(|v| (v - 0.01).abs() > 0.02)
            .collect();
        let target = vector(&vec![0.01; values.len()]);
        let x = vector(&values);
        let loss = l1_loss(x.leaky_trace(), &target);
        let numeric = numeric_gradient(&values, 5e-3, |v| read(&l1_loss(vector(v), &target))[0]);
        assert_close(&read(&loss.backward().get(&x)), &numeric, 2e-3);
    }

    #[test]
    fn shapes_that_differ_are_named() {
        let error = try_l1_loss(vector(&[1.0]), &vector(&[1.0, 2.0]))
            .err()
            .unwrap();
        let error = error.to_string();
        assert!(error.contains("[1]") && error.contains("[2]"), "{error}");
    }
}
