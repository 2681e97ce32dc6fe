//! Parametric rectifier with one slope for all channels: `y = x` for `x > 0`, else `a x`.
//!
//! Gradient, with `g = dL/dy`: `dx = g` where `x > 0`, else `a g`; `da = sum of g x over x <= 0`.
//!
//! Source: He et al., "Delving Deep into Rectifiers", arXiv:1502.01852, equations 1 and 7 (channel-shared).

use dfdx::prelude::{HasShape, Merge, PutTape, ReshapeTo, Shape, Storage, Tensor};

use crate::buffer::HostAccess;
use crate::error::Result;
use crate::ops::or_panic;
use crate::ops::tape::{
    BackwardOp, Recorder, backward_of, load, nudge_gradient, split_flat, store, zeros,
};
use crate::tensors::{Dev, Scalar, Vector, dev, read};

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

/// Elementwise kernels; buffers of one call have one length, their layout does not matter.
pub trait PreluKernel: Storage<f32> {
    /// `y = prelu(x)`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for buffers of different lengths.
    fn prelu_forward(&self, slope: f32, x: &Self::Vec, y: &mut Self::Vec) -> Result<()>;

    /// `dx = dL/dx`, added to `dx` with `accumulate`; returns the slope's gradient.
    ///
    /// # Errors
    /// As [`prelu_forward`](Self::prelu_forward).
    fn prelu_grad(
        &self,
        slope: f32,
        x: &Self::Vec,
        dy: &Self::Vec,
        dx: &mut Self::Vec,
        accumulate: bool,
    ) -> Result<f32>;
}

/// `x` where it is positive, else `slope * x`; see the [module](self).
///
/// ```
/// use rebit::ops::prelu::prelu;
/// use rebit::prelude::*;
/// let y = prelu(vector(&[-2.0, 3.0]), scalar(0.25));
/// assert_eq!(read(&y), [-0.5, 3.0]);
/// ```
///
/// # Panics
/// Where [`try_prelu`] fails.
#[track_caller]
pub fn prelu<S, T, R>(x: Tensor<S, f32, Dev, T>, slope: Scalar<R>) -> Tensor<S, f32, Dev, T>
where
    S: Shape,
    T: Recorder + Merge<R>,
    R: Recorder,
{
    or_panic(try_prelu(x, slope))
}

/// See [`prelu`].
///
/// # Errors
/// [`crate::Error::Device`] when memory cannot be had.
pub fn try_prelu<S, T, R>(
    x: Tensor<S, f32, Dev, T>,
    slope: Scalar<R>,
) -> Result<Tensor<S, f32, Dev, T>>
where
    S: Shape,
    T: Recorder + Merge<R>,
    R: Recorder,
{
    let shape = *x.shape();
    let (x, tape) = split_flat(x)?;
    let (slope, slope_tape) = split_flat(slope)?;
    let (y, backward) = record(x, slope)?;
    let y = y.try_reshape_like(&shape)?;
    Ok(y.put_tape(tape.merge(slope_tape).record(backward)))
}

fn record(x: Vector, slope: Vector) -> Result<(Vector, BackwardOp)> {
    let (values, a) = (load(&x)?, read(&slope)[0]);
    let mut y = zeros(values.elements())?;
    dev().prelu_forward(a, &values, &mut y)?;
    let y = store(y, *x.shape())?;
    let backward = backward_of(&y, move |grads, dy| {
        let dx = grads.get_or_alloc_mut(&x)?;
        let da = dev().prelu_grad(a, &values, dy, dx, true)?;
        nudge_gradient(grads, &slope, 0, da)
    });
    Ok((y, backward))
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, SumTo, Trace};

    use super::*;
    use crate::ops::{assert_close, numeric_gradient, wave};
    use crate::tensors::{scalar, vector};

    #[test]
    fn literal_values_and_gradients() {
        let (x, a) = (vector(&[-2.0, 0.0, 3.0, -4.0]), scalar(0.25));
        let y = prelu(x.leaky_trace(), a.leaky_trace());
        assert_eq!(read(&y), [-0.5, 0.0, 3.0, -1.0]);
        let grads = (y * vector(&[1.0, 2.0, 3.0, 4.0]))
            .sum::<(), _>()
            .backward();
        assert_eq!(read(&grads.get(&x)), [0.25, 0.5, 3.0, 1.0]);
        assert_eq!(read(&grads.get(&a)), [-2.0 - 16.0]);
    }

    #[test]
    fn nan_goes_through_and_reaches_the_slope() {
        let (x, a) = (vector(&[f32::NAN, -1.0]), scalar(0.25));
        let y = prelu(x.leaky_trace(), a.leaky_trace());
        assert!(read(&y)[0].is_nan() && read(&y)[1] == -0.25);
        let grads = y.sum::<(), _>().backward();
        assert!(read(&grads.get(&a))[0].is_nan());
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let values: Vec<f32> = wave(40).into_iter().filter(|v| v.abs() > 0.05).collect();
        let loss = |x: &[f32], a: f32| {
            let y = read(&prelu(vector(x), scalar(a)));
            y.iter().map(|y| y * y).sum::<f32>() / 10.0
        };
        let (x, a) = (vector(&values), scalar(0.3));
        let y = prelu(x.leaky_trace(), a.leaky_trace());
        let grads = (y.square().sum::<(), _>() / 10.0).backward();
        let by_x = numeric_gradient(&values, 1e-2, |x| loss(x, 0.3));
        assert_close(&read(&grads.get(&x)), &by_x, 2e-3);
        let by_a = numeric_gradient(&[0.3], 1e-2, |a| loss(&values, a[0]));
        assert_close(&read(&grads.get(&a)), &by_a, 2e-3);
    }
}
