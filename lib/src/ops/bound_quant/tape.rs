//! The bounds quantiser on dfdx's tape.

use dfdx::prelude::{HasShape, Merge, PutTape};

use super::{BoundQuant, BoundQuantKernel};
use crate::buffer::HostAccess;
use crate::error::{Error, Result};
use crate::ops::fake_quant::{BoundGrad, Bounds};
use crate::ops::or_panic;
use crate::ops::tape::{BackwardOp, Recorder, backward_of, load, nudge_gradient, store, zeros};
use crate::tensors::{Grads, Images, Vector, dev, read};

/// Dual bounds: `2^bits` levels between `lower` and `upper`, which hold one number for each sample, or one for
/// all; see the [module](super) for formula and gradient.
///
/// ```
/// use rebit::ops::bound_quant::bound_quant;
/// use rebit::prelude::*;
/// let x: Images = from_vec(vec![-2.0, 0.4, 1.2, 9.0], (2, 1, 1, 2))?;
/// let y = bound_quant(x, vector(&[-1.0, 0.0]), vector(&[2.0, 3.0]), 2);
/// assert_eq!(read(&y), [-1.0, 0.0, 1.0, 3.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_bound_quant`] fails.
#[track_caller]
pub fn bound_quant<T, R, Q>(
    x: Images<T>,
    lower: Vector<R>,
    upper: Vector<Q>,
    bits: u32,
) -> Images<T>
where
    T: Recorder + Merge<R> + Merge<Q>,
    R: Recorder,
    Q: Recorder,
{
    or_panic(try_bound_quant(x, lower, upper, bits))
}

/// See [`bound_quant`].
///
/// # Errors
/// [`Error::Shape`] unless there is one pair of bounds, or one for each sample; as [`Bounds::check`].
pub fn try_bound_quant<T, R, Q>(
    x: Images<T>,
    lower: Vector<R>,
    upper: Vector<Q>,
    bits: u32,
) -> Result<Images<T>>
where
    T: Recorder + Merge<R> + Merge<Q>,
    R: Recorder,
    Q: Recorder,
{
    let (x, tape) = T::split_images(x)?;
    let (lower, lower_tape) = R::split_vector(lower)?;
    let (upper, upper_tape) = Q::split_vector(upper)?;
    let (y, backward) = record_dual(x, lower, upper, bits)?;
    let tape = tape.merge(lower_tape).merge(upper_tape);
    Ok(y.put_tape(tape.record(backward)))
}

fn record_dual(x: Images, lower: Vector, upper: Vector, bits: u32) -> Result<(Images, BackwardOp)> {
    let samples = x.shape().0;
    let lowers = for_samples("lower", read(&lower), samples)?;
    let uppers = for_samples("upper", read(&upper), samples)?;
    let q = lowers
        .iter()
        .zip(&uppers)
        .map(|(&l, &u)| BoundQuant::dual(Bounds::new(l, u), bits))
        .collect::<Result<Vec<_>>>()?;
    record(x, q, move |grads, gradients| {
        for (bound, of_lower) in [(&lower, true), (&upper, false)] {
            let shared = bound.shape().0 == 1;
            grads.get_or_alloc_mut(bound)?.edit(|into| {
                for (n, g) in gradients.iter().enumerate() {
                    into[if shared { 0 } else { n }] += if of_lower { g.lower } else { g.upper };
                }
            })?;
        }
        Ok(())
    })
}

/// Quantises and hands the gradients of the bounds to `collect`.
fn record(
    x: Images,
    q: Vec<BoundQuant>,
    collect: impl FnOnce(&mut Grads, &[BoundGrad]) -> Result<()> + 'static,
) -> Result<(Images, BackwardOp)> {
    let values = load(&x)?;
    let mut y = zeros(values.elements())?;
    if values.elements() == 0 {
        let nothing = store(y, *x.shape())?;
        let backward = backward_of(&nothing, |_, _| Ok(()));
        return Ok((nothing, backward));
    }
    dev().bound_quant_forward(&values, &q, &mut y)?;
    let y = store(y, *x.shape())?;
    let backward = backward_of(&y, move |grads, dy| {
        let dx = grads.get_or_alloc_mut(&x)?;
        let gradients = dev().bound_quant_grad(&values, &q, dy, dx, true)?;
        collect(grads, &gradients)
    });
    Ok((y, backward))
}

/// A bound for each sample of a batch that has any.
fn for_samples(which: &str, bounds: Vec<f32>, samples: usize) -> Result<Vec<f32>> {
    match bounds.len() {
        1 => Ok(vec![bounds[0]; samples]),
        n if n == samples && n > 0 => Ok(bounds),
        n => Err(Error::shape(
            "bound_quant",
            format!("1 {which} bound or {samples}, one for each sample"),
            format!("{n}"),
        )),
    }
}

/// The symmetric quantiser of PAMS: `2^(bits-1) - 1` levels on either side of 0 up to `bound`.
///
/// Its gradient is that of the dual quantiser at `l = -bound`, `u = bound`.
///
/// ```
/// use rebit::ops::bound_quant::symmetric_quant;
/// use rebit::prelude::*;
/// let x: Images = from_vec(vec![-9.0, 0.4, 0.7, 9.0], (1, 1, 1, 4))?;
/// // Two bits leave three levels.
/// assert_eq!(read(&symmetric_quant(x, vector(&[1.0]), 2)), [-1.0, 0.0, 1.0, 1.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_symmetric_quant`] fails.
#[track_caller]
pub fn symmetric_quant<T, R>(x: Images<T>, bound: Vector<R>, bits: u32) -> Images<T>
where
    T: Recorder + Merge<R>,
    R: Recorder,
{
    or_panic(try_symmetric_quant(x, bound, bits))
}

/// See [`symmetric_quant`].
///
/// # Errors
/// [`Error::Shape`] unless there is one bound; as [`BoundQuant::symmetric`].
pub fn try_symmetric_quant<T, R>(x: Images<T>, bound: Vector<R>, bits: u32) -> Result<Images<T>>
where
    T: Recorder + Merge<R>,
    R: Recorder,
{
    let (x, tape) = T::split_images(x)?;
    let (bound, bound_tape) = R::split_vector(bound)?;
    let (y, backward) = record_symmetric(x, bound, bits)?;
    Ok(y.put_tape(tape.merge(bound_tape).record(backward)))
}

fn record_symmetric(x: Images, bound: Vector, bits: u32) -> Result<(Images, BackwardOp)> {
    let given = read(&bound);
    let &[alpha] = &given[..] else {
        let found = format!("{} bounds", given.len());
        return Err(Error::shape("symmetric_quant", "1 bound", found));
    };
    let q = vec![BoundQuant::symmetric(alpha, bits)?];
    record(x, q, move |grads, gradients| {
        let g = gradients[0];
        nudge_gradient(grads, &bound, 0, g.upper - g.lower)
    })
}
