//! Functions of each element, and the product of two tensors.
//!
//! | | `y` | `dy/dx` |
//! |---|---|---|
//! | `LeakyRelu(a)` | `x` where `x > 0`, else `a x` | 1 where `y > 0`, else `a` |
//! | `Tanh` | `tanh(x)` | `1 - y^2` |
//! | `Sigmoid` | `1 / (1 + e^-x)` | `y (1 - y)` |
//! | product | `a b` | `b` by `a`, `a` by `b` |
//!
//! The derivatives are read off the result. NaN goes through, and so does its gradient. At its corner the leaky
//! rectifier has the derivative `a`, as in PyTorch.
//!
//! Source of the leaky rectifier: Maas, Hannun and Ng, "Rectifier Nonlinearities Improve Neural Network Acoustic
//! Models", 2013, equation 2.

use dfdx::prelude::{HasShape, Merge, PutTape, ReshapeTo, Shape, Storage, Tensor};

use crate::error::{Error, Result};
use crate::ops::or_panic;
use crate::ops::tape::{BackwardOp, Recorder, Unary, backward_of, load, split_flat, store, zeros};
use crate::tensors::{Dev, Vector, dev};

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

/// A function of one number, and its derivative as the result tells it.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Function {
    /// `x` where it is positive, else the slope times it; the slope lies in `[0, 1]`.
    LeakyRelu(f32),
    /// The hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
}

impl Function {
    /// `f(x)`.
    #[inline(always)]
    pub fn value(self, x: f32) -> f32 {
        match self {
            Function::LeakyRelu(slope) => {
                if x > 0.0 {
                    x
                } else {
                    slope * x
                }
            }
            Function::Tanh => x.tanh(),
            Function::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        }
    }

    /// `f'(x)` where `f(x) = y`.
    #[inline(always)]
    pub fn slope(self, y: f32) -> f32 {
        match self {
            Function::LeakyRelu(slope) => {
                if y > 0.0 {
                    1.0
                } else {
                    slope
                }
            }
            Function::Tanh => 1.0 - y * y,
            Function::Sigmoid => y * (1.0 - y),
        }
    }

    /// # Errors
    /// [`Error::Invalid`] for a slope outside `[0, 1]`: the sign of the result would not tell that of `x`.
    pub fn check(self) -> Result<()> {
        match self {
            Function::LeakyRelu(slope) if !(0.0..=1.0).contains(&slope) => Err(Error::invalid(
                format!("leaky_relu slope {slope}"),
                "lies in 0..=1; 0 is the rectifier, 1 the identity",
            )),
            _ => Ok(()),
        }
    }
}

/// Elementwise kernels; buffers of one call have one length, their layout does not matter.
pub trait ElementwiseKernel: Storage<f32> {
    /// `y = f(x)`.
    ///
    /// # Errors
    /// As [`Function::check`]; [`Error::Shape`] for buffers of different lengths.
    fn function(&self, f: Function, x: &Self::Vec, y: &mut Self::Vec) -> Result<()>;

    /// `dx = dy f'(x)`, read off the result `y`; with `accumulate` it is added to `dx`.
    ///
    /// # Errors
    /// As [`function`](Self::function).
    fn function_grad(
        &self,
        f: Function,
        y: &Self::Vec,
        dy: &Self::Vec,
        dx: &mut Self::Vec,
        accumulate: bool,
    ) -> Result<()>;

    /// `y = a b`, added to `y` with `accumulate`: also the gradient, `da = dy b`.
    ///
    /// # Errors
    /// [`Error::Shape`] for buffers of different lengths.
    fn product(
        &self,
        a: &Self::Vec,
        b: &Self::Vec,
        y: &mut Self::Vec,
        accumulate: bool,
    ) -> Result<()>;
}

/// `x` where it is positive, else `slope x`, of any tensor; see the [module](self).
///
/// ```
/// use rebit::ops::elementwise::leaky_relu;
/// use rebit::prelude::*;
/// assert_eq!(read(&leaky_relu(vector(&[-2.0, 3.0]), 0.25)), [-0.5, 3.0]);
/// ```
///
/// # Panics
/// Where [`try_leaky_relu`] fails.
#[track_caller]
pub fn leaky_relu<S: Shape, T: Recorder>(
    x: Tensor<S, f32, Dev, T>,
    slope: f32,
) -> Tensor<S, f32, Dev, T> {
    or_panic(try_leaky_relu(x, slope))
}

/// See [`leaky_relu`].
///
/// # Errors
/// As [`Function::check`].
pub fn try_leaky_relu<S: Shape, T: Recorder>(
    x: Tensor<S, f32, Dev, T>,
    slope: f32,
) -> Result<Tensor<S, f32, Dev, T>> {
    op(Function::LeakyRelu(slope)).record(x)
}

/// The hyperbolic tangent of any tensor; `dx = dy (1 - y^2)`.
///
/// ```
/// use rebit::ops::elementwise::tanh;
/// use rebit::prelude::*;
/// assert_eq!(read(&tanh(vector(&[0.0, 40.0]))), [0.0, 1.0]);
/// ```
///
/// # Panics
/// Where [`try_tanh`] fails.
#[track_caller]
pub fn tanh<S: Shape, T: Recorder>(x: Tensor<S, f32, Dev, T>) -> Tensor<S, f32, Dev, T> {
    or_panic(try_tanh(x))
}

/// See [`tanh`].
///
/// # Errors
/// [`Error::Device`] when memory cannot be had.
pub fn try_tanh<S: Shape, T: Recorder>(
    x: Tensor<S, f32, Dev, T>,
) -> Result<Tensor<S, f32, Dev, T>> {
    op(Function::Tanh).record(x)
}

/// `1 / (1 + e^-x)` of any tensor; `dx = dy y (1 - y)`.
///
/// ```
/// use rebit::ops::elementwise::sigmoid;
/// use rebit::prelude::*;
/// assert_eq!(read(&sigmoid(vector(&[0.0, -200.0]))), [0.5, 0.0]);
/// ```
///
/// # Panics
/// Where [`try_sigmoid`] fails.
#[track_caller]
pub fn sigmoid<S: Shape, T: Recorder>(x: Tensor<S, f32, Dev, T>) -> Tensor<S, f32, Dev, T> {
    or_panic(try_sigmoid(x))
}

/// See [`sigmoid`].
///
/// # Errors
/// [`Error::Device`] when memory cannot be had.
pub fn try_sigmoid<S: Shape, T: Recorder>(
    x: Tensor<S, f32, Dev, T>,
) -> Result<Tensor<S, f32, Dev, T>> {
    op(Function::Sigmoid).record(x)
}

fn op(f: Function) -> Unary {
    Unary::by_output(
        move |x, y| dev().function(f, x, y),
        move |y, dy, dx| dev().function_grad(f, y, dy, dx, true),
    )
}

/// `a b`, element by element; `da = dy b`, `db = dy a`.
///
/// ```
/// use rebit::ops::elementwise::product;
/// use rebit::prelude::*;
/// assert_eq!(read(&product(vector(&[2.0, 3.0]), vector(&[4.0, -1.0]))), [8.0, -3.0]);
/// ```
///
/// # Panics
/// Where [`try_product`] fails.
#[track_caller]
pub fn product<S, T, R>(
    a: Tensor<S, f32, Dev, T>,
    b: Tensor<S, f32, Dev, R>,
) -> Tensor<S, f32, Dev, T>
where
    S: Shape,
    T: Recorder + Merge<R>,
    R: Recorder,
{
    or_panic(try_product(a, b))
}

/// See [`product`].
///
/// # Errors
/// [`Error::Shape`] for tensors of different shapes.
pub fn try_product<S, T, R>(
    a: Tensor<S, f32, Dev, T>,
    b: Tensor<S, f32, Dev, R>,
) -> Result<Tensor<S, f32, Dev, T>>
where
    S: Shape,
    T: Recorder + Merge<R>,
    R: Recorder,
{
    let shape = *a.shape();
    if shape != *b.shape() {
        let (a, b) = (shape.concrete(), b.shape().concrete());
        return Err(Error::shape(
            "product",
            format!("a second factor of {a:?}"),
            format!("{b:?}"),
        ));
    }
    let (a, tape) = split_flat(a)?;
    let (b, b_tape) = split_flat(b)?;
    let (y, backward) = record_product(a, b)?;
    let y = y.try_reshape_like(&shape)?;
    Ok(y.put_tape(tape.merge(b_tape).record(backward)))
}

fn record_product(a: Vector, b: Vector) -> Result<(Vector, BackwardOp)> {
    let (left, right) = (load(&a)?, load(&b)?);
    let mut y = zeros(a.shape().0)?;
    dev().product(&left, &right, &mut y, false)?;
    let y = store(y, *a.shape())?;
    let backward = backward_of(&y, move |grads, dy| {
        dev().product(dy, &right, grads.get_or_alloc_mut(&a)?, true)?;
        dev().product(dy, &left, grads.get_or_alloc_mut(&b)?, true)
    });
    Ok((y, backward))
}
