//! Rectifiers: `relu(x) = max(x, 0)` and `relu6(x) = min(max(x, 0), 6)`, and the plain sums around them.

use dfdx::prelude::{Shape, Storage, Tensor};

use crate::error::Result;
use crate::ops::or_panic;
use crate::ops::tape::{Recorder, Unary};
use crate::tensors::{Dev, dev};

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

/// What follows a sum or a normalisation inside a fused kernel.
///
/// | | `y` | `dy/dx` |
/// |---|---|---|
/// | `None` | `x` | 1 |
/// | `Relu` | `max(x, 0)` | 1 where `y > 0` |
/// | `Relu6` | `min(max(x, 0), 6)` | 1 where `0 < y < 6` |
///
/// The derivative at the corners is 0, as in PyTorch. NaN goes through, and so does its gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Activation {
    /// The identity.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
}

impl Activation {
    /// All three are a clamp: `(lowest, highest)` output, infinite where there is no corner.
    pub fn bounds(self) -> (f32, f32) {
        match self {
            Activation::None => (f32::NEG_INFINITY, f32::INFINITY),
            Activation::Relu => (0.0, f32::INFINITY),
            Activation::Relu6 => (0.0, 6.0),
        }
    }

    /// The outputs at and beyond which the gradient is 0: NaN, with which nothing compares, where there is no corner.
    /// An infinite output has a gradient too.
    pub(crate) fn corners(self) -> (f32, f32) {
        let corner = |bound: f32| if bound.is_finite() { bound } else { f32::NAN };
        let (lowest, highest) = self.bounds();
        (corner(lowest), corner(highest))
    }
}

/// Elementwise kernels; buffers of one call have one length, their layout does not matter.
pub trait ActivationKernel: Storage<f32> {
    /// `y = act(x)`.
    fn activate(&self, act: Activation, x: &Self::Vec, y: &mut Self::Vec) -> Result<()>;

    /// `dx = dy * act'(x)`, read off the output `y`; with `accumulate` it is added to `dx`.
    fn activate_grad(
        &self,
        act: Activation,
        y: &Self::Vec,
        dy: &Self::Vec,
        dx: &mut Self::Vec,
        accumulate: bool,
    ) -> Result<()>;

    /// `y = a + b`.
    fn add(&self, a: &Self::Vec, b: &Self::Vec, y: &mut Self::Vec) -> Result<()>;

    /// `into += from`.
    fn accumulate(&self, from: &Self::Vec, into: &mut Self::Vec) -> Result<()>;
}

/// `max(x, 0)` of any tensor; `dx = dy` where `x > 0`, else 0.
///
/// ```
/// use rebit::ops::relu::relu;
/// use rebit::prelude::*;
/// let x = from_vec(vec![-1.0, 0.0, 7.0], (3,))?;
/// assert_eq!(read(&relu(x)), [0.0, 0.0, 7.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_relu`] fails.
#[track_caller]
pub fn relu<S: Shape, T: Recorder>(x: Tensor<S, f32, Dev, T>) -> Tensor<S, f32, Dev, T> {
    or_panic(try_relu(x))
}

/// See [`relu`].
///
/// # Errors
/// [`crate::Error::Device`] when memory cannot be had.
pub fn try_relu<S: Shape, T: Recorder>(
    x: Tensor<S, f32, Dev, T>,
) -> Result<Tensor<S, f32, Dev, T>> {
    op(Activation::Relu).record(x)
}

/// `min(max(x, 0), 6)` of any tensor; `dx = dy` where `0 < x < 6`, else 0.
///
/// ```
/// use rebit::ops::relu::relu6;
/// use rebit::prelude::*;
/// let x = from_vec(vec![-1.0, 0.5, 7.0], (3,))?;
/// assert_eq!(read(&relu6(x)), [0.0, 0.5, 6.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_relu6`] fails.
#[track_caller]
pub fn relu6<S: Shape, T: Recorder>(x: Tensor<S, f32, Dev, T>) -> Tensor<S, f32, Dev, T> {
    or_panic(try_relu6(x))
}

/// See [`relu6`].
///
/// # Errors
/// [`crate::Error::Device`] when memory cannot be had.
pub fn try_relu6<S: Shape, T: Recorder>(
    x: Tensor<S, f32, Dev, T>,
) -> Result<Tensor<S, f32, Dev, T>> {
    op(Activation::Relu6).record(x)
}

fn op(act: Activation) -> Unary {
    Unary::by_output(
        move |x, y| dev().activate(act, x, y),
        move |y, dy, dx| dev().activate_grad(act, y, dy, dx, true),
    )
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Axis, Backward, BroadcastTo, MeanTo, SumTo, Trace, WithEmptyTape};

    use super::*;
    use crate::ops::{assert_close, buffer, cpu, numeric_gradient, wave};
    use crate::tensors::{from_vec, read};

    const CORNERS: [f32; 6] = [-2.0, -0.0, 0.5, 6.0, 6.5, 3.0];

    #[test]
    fn values_and_gradients_at_and_between_the_corners() {
        let x = from_vec(CORNERS.to_vec(), (6,)).unwrap();
        let weights = from_vec(vec![1., 2., 3., 4., 5., 6.], (6,)).unwrap();

        let y = relu(x.leaky_trace());
        assert_eq!(read(&y), [0.0, 0.0, 0.5, 6.0, 6.5, 3.0]);
        let grads = (y * weights.clone()).sum::<(), _>().backward();
        assert_eq!(read(&grads.get(&x)), [0., 0., 3., 4., 5., 6.]);

        let y = relu6(x.leaky_trace());
        assert_eq!(read(&y), [0.0, 0.0, 0.5, 6.0, 6.0, 3.0]);
        let grads = (y * weights).sum::<(), _>().backward();
        assert_eq!(read(&grads.get(&x)), [0., 0., 3., 0., 0., 6.]);
    }

    #[test]
    fn gradient_agrees_with_finite_differences_away_from_the_corners() {
        let values: Vec<f32> = wave(40).iter().map(|v| 8.0 * v).collect();
        let safe = |v: &f32| v.abs() > 0.1 && (v - 6.0).abs() > 0.1;
        let values: Vec<f32> = values.into_iter().filter(safe).collect();
        let shape = (values.len(),);
        let loss = |v: &[f32]| {
            let y = relu6(from_vec(v.to_vec(), shape).unwrap());
            read(&y.square().mean::<(), _>())[0]
        };
        let x = from_vec(values.clone(), shape).unwrap();
        let grads = relu6(x.leaky_trace()).square().mean::<(), _>().backward();
        let numeric = numeric_gradient(&values, 1e-2, loss);
        assert_close(&read(&grads.get(&x)), &numeric, 2e-3);
    }

    #[test]
    fn a_tensor_used_twice_gets_both_gradients() {
        let x = from_vec(vec![2.0, -3.0], (2,)).unwrap();
        let y = relu(x.leaky_trace()) + relu6(x.clone());
        let taped = x.leaky_trace();
        let z = relu(taped.with_empty_tape()) + relu(taped);
        assert_eq!(read(&y), [4.0, 0.0]);
        assert_eq!(read(&z.sum::<(), _>().backward().get(&x)), [2.0, 0.0]);
    }

    #[test]
    fn a_broadcast_tensor_is_laid_out_first() {
        let x = from_vec(vec![-1.0, 2.0], (2,)).unwrap();
        let wide = x.leaky_trace().broadcast_like::<_, Axis<0>>(&(3, 2));
        let y = relu(wide);
        assert_eq!(read(&y), [0., 2., 0., 2., 0., 2.]);
        assert_eq!(read(&y.sum::<(), _>().backward().get(&x)), [0.0, 3.0]);
    }

    #[test]
    fn an_infinite_output_has_a_gradient_where_there_is_no_corner() {
        let infinite = || from_vec(vec![f32::INFINITY, f32::NEG_INFINITY], (2,)).unwrap();
        let x = infinite();
        let grads = relu(x.leaky_trace()).sum::<(), _>().backward();
        assert_eq!(read(&grads.get(&x)), [1.0, 0.0]);
        let x = infinite();
        let grads = relu6(x.leaky_trace()).sum::<(), _>().backward();
        assert_eq!(read(&grads.get(&x)), [0.0, 0.0]);
        let (y, dy, mut dx) = (buffer(&[f32::INFINITY]), buffer(&[3.0]), buffer(&[0.0]));
        let none = Activation::None;
        cpu().activate_grad(none, &y, &dy, &mut dx, false).unwrap();
        assert_eq!(*dx, [3.0]);
    }

    #[test]
    fn nan_goes_through_a_rectifier() {
        let y = relu6(from_vec(vec![f32::NAN, 1.0], (2,)).unwrap());
        assert!(read(&y)[0].is_nan());
        assert_eq!(read(&y)[1], 1.0);
    }

    #[test]
    fn long_and_short_buffers_give_the_same_elements() {
        let values = wave(3 * crate::ops::parallel::CHUNK + 5);
        let (x, mut y) = (buffer(&values), buffer(&vec![9.0; values.len()]));
        cpu().activate(Activation::Relu, &x, &mut y).unwrap();
        assert!(x.iter().zip(y.iter()).all(|(x, y)| *y == x.max(0.0)));
        let mut sum = buffer(&values);
        cpu().accumulate(&y, &mut sum).unwrap();
        let mut twice = buffer(&values);
        cpu().add(&x, &y, &mut twice).unwrap();
        assert_eq!(*sum, *twice);
    }

    #[test]
    fn a_buffer_of_another_length_is_a_shape_error() {
        let error = cpu()
            .activate(Activation::Relu, &buffer(&[1.0]), &mut buffer(&[0.0; 2]))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "activate: expected 1 elements in `y`, found 2"
        );
    }
}
