//! Fake quantisation on dfdx's tape.

use dfdx::prelude::{HasShape, Merge, PutTape, Shape, Tape, Tensor};

use super::{BoundGrad, Bounds, FakeQuant, FakeQuantKernel};
use crate::buffer::HostAccess;
use crate::error::Result;
use crate::ops::or_panic;
use crate::ops::tape::{load, nudge_gradient, split, store, with_gradient, zeros};
use crate::tensors::{Buffer, Dev, DevError, Grads, Scalar, dev, read};

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
    T: Tape<f32, Dev> + Merge<R> + Merge<Q>,
    R: Tape<f32, Dev>,
    Q: Tape<f32, Dev>,
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
    T: Tape<f32, Dev> + Merge<R> + Merge<Q>,
    R: Tape<f32, Dev>,
    Q: Tape<f32, Dev>,
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
    T: Tape<f32, Dev> + Merge<R> + Merge<Q>,
    R: Tape<f32, Dev>,
    Q: Tape<f32, Dev>,
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
    T: Tape<f32, Dev> + Merge<R> + Merge<Q>,
    R: Tape<f32, Dev>,
    Q: Tape<f32, Dev>,
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
    T: Tape<f32, Dev> + Merge<R> + Merge<Q>,
    R: Tape<f32, Dev>,
    Q: Tape<f32, Dev>,
{
    let (x, tape) = split(x)?;
    let (bounds, mut tape) = TapedBounds::split(lower, upper, tape)?;
    let f = quantiser(bounds.values())?;
    let values = load(&x)?;
    let y = store(forward(&values, f)?, *x.shape())?;
    let out = y.clone();
    tape.add_backward_op(move |grads| {
        bounds.backward(grads, &out, |grads, dy| {
            let dx = grads.get_or_alloc_mut(&x)?;
            dev().fake_quant_grad(&values, f, dy, dx, true)
        })
    });
    Ok(y.put_tape(tape))
}

fn forward(x: &Buffer, f: FakeQuant) -> Result<Buffer> {
    let mut y = zeros(x.elements())?;
    dev().fake_quant_forward(x, f, &mut y)?;
    Ok(y)
}

/// The two bounds of a quantiser as tensors that want a gradient.
pub(crate) struct TapedBounds {
    lower: Scalar,
    upper: Scalar,
}

impl TapedBounds {
    /// Takes the bounds' tapes into that of the quantised tensor.
    pub(crate) fn split<T, R, Q>(lower: Scalar<R>, upper: Scalar<Q>, tape: T) -> Result<(Self, T)>
    where
        T: Tape<f32, Dev> + Merge<R> + Merge<Q>,
        R: Tape<f32, Dev>,
        Q: Tape<f32, Dev>,
    {
        let (lower, lower_tape) = split(lower)?;
        let (upper, upper_tape) = split(upper)?;
        let tape = tape.merge(lower_tape).merge(upper_tape);
        Ok((TapedBounds { lower, upper }, tape))
    }

    pub(crate) fn values(&self) -> Bounds {
        Bounds::new(read(&self.lower)[0], read(&self.upper)[0])
    }

    /// Lends the gradient of `out` to `gradient` and adds what it returns to the bounds' gradients.
    pub(crate) fn backward<S: Shape>(
        &self,
        grads: &mut Grads,
        out: &Tensor<S, f32, Dev>,
        gradient: impl FnOnce(&mut Grads, &Buffer) -> Result<BoundGrad>,
    ) -> Result<(), DevError> {
        with_gradient(grads, out, |grads, dy| {
            let bounds = gradient(grads, dy)?;
            nudge_gradient(grads, &self.lower, 0, bounds.lower)?;
            nudge_gradient(grads, &self.upper, 0, bounds.upper)
        })
    }
}
