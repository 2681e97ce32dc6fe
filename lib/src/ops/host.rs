//! An op of one's own, from two functions on the host: in a cell, or as the first form of an op that gets its kernels
//! later. It runs in every build; where the numbers lie on a GPU they come over for it.

use dfdx::prelude::{PutTape, ReshapeTo, Shape, Tensor};

use crate::buffer::HostAccess;
use crate::error::Result;
use crate::ops::or_panic;
use crate::ops::parallel::checked_product;
use crate::ops::tape::{
    BackwardOp, Recorder, add_gradient, backward_of, load, scratch, split_flat, store, zeros,
};
use crate::tensors::{Dev, Vector};

/// `forward(x, y)` fills the numbers `y` of a tensor of `shape` from those of `x`; `backward(x, dy, dx)` fills the
/// gradient `dx`, which is zero before. All are in row-major order.
///
/// ```
/// use rebit::ops::host::host_op;
/// use rebit::prelude::*;
/// // The squared length of each row.
/// let rows = |x: Matrix<Taped>| {
///     let n = x.shape().0;
///     host_op(
///         x,
///         (n,),
///         move |x, y| {
///             for (y, x) in y.iter_mut().zip(x.chunks(x.len() / n)) {
///                 *y = x.iter().map(|x| x * x).sum();
///             }
///             Ok(())
///         },
///         move |x, dy, dx| {
///             for (k, dx) in dx.iter_mut().enumerate() {
///                 *dx = 2.0 * x[k] * dy[k / (x.len() / n)];
///             }
///             Ok(())
///         },
///     )
/// };
/// let x: Matrix = from_vec(vec![3.0, 4.0, 1.0, 0.0], (2, 2))?;
/// let y = rows(x.leaky_trace());
/// assert_eq!(read(&y), [25.0, 1.0]);
/// assert_eq!(read(&y.sum::<(), _>().backward().get(&x)), [6.0, 8.0, 2.0, 0.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Panics
/// Where [`try_host_op`] fails, or an error comes out of `backward`.
#[track_caller]
pub fn host_op<S: Shape, O: Shape, T: Recorder>(
    x: Tensor<S, f32, Dev, T>,
    shape: O,
    forward: impl FnOnce(&[f32], &mut [f32]) -> Result<()> + 'static,
    backward: impl FnOnce(&[f32], &[f32], &mut [f32]) -> Result<()> + 'static,
) -> Tensor<O, f32, Dev, T> {
    or_panic(try_host_op(x, shape, forward, backward))
}

/// See [`host_op`].
///
/// # Errors
/// What `forward` returns; [`crate::Error::Shape`] for more elements than memory holds.
pub fn try_host_op<S: Shape, O: Shape, T: Recorder>(
    x: Tensor<S, f32, Dev, T>,
    shape: O,
    forward: impl FnOnce(&[f32], &mut [f32]) -> Result<()> + 'static,
    backward: impl FnOnce(&[f32], &[f32], &mut [f32]) -> Result<()> + 'static,
) -> Result<Tensor<O, f32, Dev, T>> {
    let sides: Vec<usize> = shape.concrete().into_iter().collect();
    let (x, tape) = split_flat(x)?;
    let (y, backward) = record(x, &sides, Box::new(forward), Box::new(backward))?;
    let y = y.try_reshape_like(&shape)?;
    Ok(y.put_tape(tape.record(backward)))
}

type Forward = Box<dyn FnOnce(&[f32], &mut [f32]) -> Result<()>>;
type Backward = Box<dyn FnOnce(&[f32], &[f32], &mut [f32]) -> Result<()>>;

fn record(
    x: Vector,
    sides: &[usize],
    forward: Forward,
    backward: Backward,
) -> Result<(Vector, BackwardOp)> {
    let n = checked_product("host_op", sides)?;
    let values = load(&x)?;
    let mut y = zeros(n)?;
    let result = y.edit(|y| forward(&values.view()?, y))?;
    result?;
    let y = store(y, (n,))?;
    let backward = backward_of(&y, move |grads, dy| {
        let mut dx = scratch(values.elements())?;
        dx.edit(|dx| {
            dx.fill(0.0);
            backward(&values.view()?, &dy.view()?, dx)
        })??;
        add_gradient(grads, &x, &dx)
    });
    Ok((y, backward))
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, SumTo, Trace};

    use super::*;
    use crate::error::Error;
    use crate::tensors::{read, vector};

    #[test]
    fn a_tensor_used_twice_gets_both_gradients() {
        let double = |x: Vector<crate::Taped>| {
            host_op(
                x,
                (1, 2),
                |x, y| {
                    y.copy_from_slice(&[2.0 * x[0], 2.0 * x[1]]);
                    Ok(())
                },
                |_, dy, dx| {
                    dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx = 2.0 * dy);
                    Ok(())
                },
            )
        };
        let x = vector(&[1.0, -3.0]);
        let y = double(x.leaky_trace());
        assert_eq!(read(&y), [2.0, -6.0]);
        let y = y + double(x.leaky_trace());
        assert_eq!(read(&y.sum::<(), _>().backward().get(&x)), [4.0, 4.0]);
    }

    #[test]
    fn an_error_of_the_function_comes_out() {
        let refused = || Err(Error::invalid("this", "is refused"));
        let y = try_host_op(
            vector(&[1.0]),
            (1,),
            move |_, _| refused(),
            |_, _, _| Ok(()),
        );
        assert_eq!(y.err().unwrap().to_string(), "this: is refused");
        let huge = try_host_op(
            vector(&[1.0]),
            (usize::MAX, 2),
            |_, _| Ok(()),
            |_, _, _| Ok(()),
        );
        assert!(huge.err().unwrap().to_string().contains("at most"));
    }
}
