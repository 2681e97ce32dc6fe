//! The bounds quantiser on dfdx's tape.

use dfdx::prelude::{HasShape, Merge, PutTape, Tape};

use super::{BoundQuant, BoundQuantKernel};
use crate::buffer::HostAccess;
use crate::error::{Error, Result};
use crate::ops::fake_quant::Bounds;
use crate::ops::or_panic;
use crate::ops::tape::{load, nudge_gradient, split, store, with_gradient, zeros};
use crate::tensors::{Dev, Images, Vector, dev, read};

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
    T: Tape<f32, Dev> + Merge<R> + Merge<Q>,
    R: Tape<f32, Dev>,
    Q: Tape<f32, Dev>,
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
    T: Tape<f32, Dev> + Merge<R> + Merge<Q>,
    R: Tape<f32, Dev>,
    Q: Tape<f32, Dev>,
{
    let (x, tape) = split(x)?;
    let (lower, lower_tape) = split(lower)?;
    let (upper, upper_tape) = split(upper)?;
    let mut tape = tape.merge(lower_tape).merge(upper_tape);
    let samples = x.shape().0;
    let lowers = for_samples(read(&lower), samples)?;
    let uppers = for_samples(read(&upper), samples)?;
    let q = lowers
        .iter()
        .zip(&uppers)
        .map(|(&l, &u)| BoundQuant::dual(Bounds::new(l, u), bits))
        .collect::<Result<Vec<_>>>()?;
    let values = load(&x)?;
    let mut y = zeros(values.elements())?;
    dev().bound_quant_forward(&values, &q, &mut y)?;
    let y = store(y, *x.shape())?;
    let out = y.clone();
    tape.add_backward_op(move |grads| {
        with_gradient(grads, &out, |grads, dy| {
            let dx = grads.get_or_alloc_mut(&x)?;
            let bounds = dev().bound_quant_grad(&values, &q, dy, dx, true)?;
            for (bound, of) in [(&lower, true), (&upper, false)] {
                let shared = bound.shape().0 == 1;
                grads.get_or_alloc_mut(bound)?.edit(|into| {
                    for (n, g) in bounds.iter().enumerate() {
                        into[if shared { 0 } else { n }] += if of { g.lower } else { g.upper };
                    }
                })?;
            }
            Ok(())
        })
    });
    Ok(y.put_tape(tape))
}

fn for_samples(bounds: Vec<f32>, samples: usize) -> Result<Vec<f32>> {
    match bounds.len() {
        1 => Ok(vec![bounds[0]; samples]),
        n if n == samples => Ok(bounds),
        n => Err(Error::shape(
            "bound_quant",
            format!("1 bound or {samples}, one for each sample"),
            format!("{n} bounds"),
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
    T: Tape<f32, Dev> + Merge<R>,
    R: Tape<f32, Dev>,
{
    or_panic(try_symmetric_quant(x, bound, bits))
}

/// See [`symmetric_quant`].
///
/// # Errors
/// [`Error::Shape`] unless there is one bound; as [`BoundQuant::symmetric`].
pub fn try_symmetric_quant<T, R>(x: Images<T>, bound: Vector<R>, bits: u32) -> Result<Images<T>>
where
    T: Tape<f32, Dev> + Merge<R>,
    R: Tape<f32, Dev>,
{
    let (x, tape) = split(x)?;
    let (bound, bound_tape) = split(bound)?;
    let mut tape = tape.merge(bound_tape);
    let given = read(&bound);
    let &[alpha] = &given[..] else {
        let found = format!("{} bounds", given.len());
        return Err(Error::shape("symmetric_quant", "1 bound", found));
    };
    let q = [BoundQuant::symmetric(alpha, bits)?];
    let values = load(&x)?;
    let mut y = zeros(values.elements())?;
    dev().bound_quant_forward(&values, &q, &mut y)?;
    let y = store(y, *x.shape())?;
    let out = y.clone();
    tape.add_backward_op(move |grads| {
        with_gradient(grads, &out, |grads, dy| {
            let dx = grads.get_or_alloc_mut(&x)?;
            let g = dev().bound_quant_grad(&values, &q, dy, dx, true)?[0];
            nudge_gradient(grads, &bound, 0, g.upper - g.lower)
        })
    });
    Ok(y.put_tape(tape))
}
