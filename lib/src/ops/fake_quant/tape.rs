//! Fake quantisation on dfdx's tape.

use dfdx::prelude::{HasShape, Merge, PutTape, ReshapeTo, Shape, Tensor};

use super::{BoundGrad, Bounds, FakeQuant, FakeQuantKernel};
use crate::buffer::HostAccess;
use crate::error::Result;
use crate::ops::or_panic;
use crate::ops::tape::{
    BackwardOp, Recorder, backward_of, load, nudge_gradient, split_flat, store, zeros,
};
use crate::tensors::{Buffer, Dev, Grads, Scalar, Vector, dev, read};

/// Activations: `q` in `[0, 1]`, on `2^bits` levels between two trainable bounds; see the [module](super)
/// for formula and gradient.
///
/// ```
/// use rebit::ops::fake_quant::fake_quant;
/// use rebit::prelude::*;
/// let x = from_vec(vec![-1.0, 0.4, 1.0, 2.9, 9.0], (5,))?;
/// let (lower, upper) = (from_vec(vec![0.0], ())?, from_vec(vec![3.0], ())?);
/// assert_eq!(read(&fake_quant(x, lower, upper, 2)), [0.0, 0.0, 1.0 / 3.0, 1.0, 1.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_fake_quant`] fails.
#[track_caller]
pub fn fake_quant<S, T, R, Q>(
    x: Tensor<S, f32, Dev, T>,
    lower: Scalar<R>,
    upper: Scalar<Q>,
    bits: u32,
) -> Tensor<S, f32, Dev, T>
where
    S: Shape,
    T: Recorder + Merge<R> + Merge<Q>,
    R: Recorder,
    Q: Recorder,
{
    or_panic(try_fake_quant(x, lower, upper, bits))
}

/// See [`fake_quant`].
///
/// # Errors
/// As [`Bounds::check`] and [`levels`](super::levels).
pub fn try_fake_quant<S, T, R, Q>(
    x: Tensor<S, f32, Dev, T>,
    lower: Scalar<R>,
    upper: Scalar<Q>,
    bits: u32,
) -> Result<Tensor<S, f32, Dev, T>>
where
    S: Shape,
    T: Recorder + Merge<R> + Merge<Q>,
    R: Recorder,
    Q: Recorder,
{
    record(x, lower, upper, |bounds| {
        FakeQuant::activation(bounds, bits)
    })
}

/// Weights: `2q - 1` in `[-1, 1]`, otherwise as [`fake_quant`].
///
/// ```
/// use rebit::ops::fake_quant::quantise_weight;
/// use rebit::prelude::*;
/// let w = from_vec(vec![-0.2, 0.2, 0.9], (3,))?;
/// let (lower, upper) = (from_vec(vec![-1.0], ())?, from_vec(vec![1.0], ())?);
/// assert_eq!(read(&quantise_weight(w, lower, upper, 1)), [-1.0, 1.0, 1.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_quantise_weight`] fails.
#[track_caller]
pub fn quantise_weight<S, T, R, Q>(
    w: Tensor<S, f32, Dev, T>,
    lower: Scalar<R>,
    upper: Scalar<Q>,
    bits: u32,
) -> Tensor<S, f32, Dev, T>
where
    S: Shape,
    T: Recorder + Merge<R> + Merge<Q>,
    R: Recorder,
    Q: Recorder,
{
    or_panic(try_quantise_weight(w, lower, upper, bits))
}

/// See [`quantise_weight`].
///
/// # Errors
/// As [`Bounds::check`] and [`levels`](super::levels).
pub fn try_quantise_weight<S, T, R, Q>(
    w: Tensor<S, f32, Dev, T>,
    lower: Scalar<R>,
    upper: Scalar<Q>,
    bits: u32,
) -> Result<Tensor<S, f32, Dev, T>>
where
    S: Shape,
    T: Recorder + Merge<R> + Merge<Q>,
    R: Recorder,
    Q: Recorder,
{
    record(w, lower, upper, |bounds| FakeQuant::weight(bounds, bits))
}

fn record<S, T, R, Q>(
    x: Tensor<S, f32, Dev, T>,
    lower: Scalar<R>,
    upper: Scalar<Q>,
    quantiser: impl FnOnce(Bounds) -> Result<FakeQuant>,
) -> Result<Tensor<S, f32, Dev, T>>
where
    S: Shape,
    T: Recorder + Merge<R> + Merge<Q>,
    R: Recorder,
    Q: Recorder,
{
    let shape = *x.shape();
    let (x, tape) = split_flat(x)?;
    let (bounds, tape) = TapedBounds::split(lower, upper, tape)?;
    let f = quantiser(bounds.values())?;
    let (y, backward) = run(x, bounds, f)?;
    let y = y.try_reshape_like(&shape)?;
    Ok(y.put_tape(tape.record(backward)))
}

fn run(x: Vector, bounds: TapedBounds, f: FakeQuant) -> Result<(Vector, BackwardOp)> {
    let values = load(&x)?;
    let mut y = zeros(values.elements())?;
    dev().fake_quant_forward(&values, f, &mut y)?;
    let y = store(y, *x.shape())?;
    let backward = bounds.backward(&y, move |grads, dy| {
        let dx = grads.get_or_alloc_mut(&x)?;
        dev().fake_quant_grad(&values, f, dy, dx, true)
    });
    Ok((y, backward))
}

/// The two bounds of a quantiser as tensors that want a gradient.
pub(crate) struct TapedBounds {
    lower: Vector,
    upper: Vector,
}

impl TapedBounds {
    /// Takes the bounds' tapes into that of the quantised tensor.
    pub(crate) fn split<T, R, Q>(lower: Scalar<R>, upper: Scalar<Q>, tape: T) -> Result<(Self, T)>
    where
        T: Recorder + Merge<R> + Merge<Q>,
        R: Recorder,
        Q: Recorder,
    {
        let (lower, lower_tape) = split_flat(lower)?;
        let (upper, upper_tape) = split_flat(upper)?;
        let tape = tape.merge(lower_tape).merge(upper_tape);
        Ok((TapedBounds { lower, upper }, tape))
    }

    pub(crate) fn values(&self) -> Bounds {
        Bounds::new(read(&self.lower)[0], read(&self.upper)[0])
    }

    /// The backward pass of `y`: lends its gradient to `gradient` and adds what that returns to the bounds' gradients.
    pub(crate) fn backward(
        self,
        y: &Vector,
        gradient: impl FnOnce(&mut Grads, &Buffer) -> Result<BoundGrad> + 'static,
    ) -> BackwardOp {
        backward_of(y, move |grads, dy| {
            let bounds = gradient(grads, dy)?;
            nudge_gradient(grads, &self.lower, 0, bounds.lower)?;
            nudge_gradient(grads, &self.upper, 0, bounds.upper)
        })
    }
}
