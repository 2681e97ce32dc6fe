//! Two-dimensional convolution and its gradients, with the activation quantiser fused into the read.
//!
//! For an input `x` (samples, height, width, channels), a weight `w` (out, in/groups, kh, kw) and a bias `b`
//!
//! ```text
//! y[n, i, j, o] = b[o] + sum_{c, u, v} w[o, c, u, v] * q(x)[n, i*stride + u*dilation - padding, j*stride + v*dilation - padding, c]
//! ```
//!
//! where `c` runs over the channels of `o`'s group, elements outside the image are zero, and `q` is the identity
//! or the activation quantiser [`ActQuant`]. The definition (cross-correlation) and the weight order are PyTorch's.
//!
//! Gradients, with `g = dL/dy`:
//!
//! ```text
//! dL/dw[o, c, u, v]   = sum_{n, i, j} g[n, i, j, o] * q(x)[n, i*stride + u*dilation - padding, ..., c]
//! dL/db[o]            = sum_{n, i, j} g[n, i, j, o]
//! dL/dq(x)[n, p, q, c] = sum over all (o, u, v, i, j) that read this element of g[n, i, j, o] * w[o, c, u, v]
//! ```

use dfdx::tensor::Storage;

use crate::error::Result;

pub(crate) mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod shape;
mod tape;

pub use shape::ConvShape;
pub(crate) use tape::record as conv2d_record;
pub use tape::{Conv2dOptions, conv2d, try_conv2d};

/// Per-tensor activation quantiser fused into the read of a convolution's input:
///
/// ```text
/// n = (x - lower) / (upper - lower),   q = round(levels * clamp(n, 0, 1)) / levels
/// ```
///
/// (LTS: the output stays in `[0, 1]`, there is no de-quantisation; round half to even.) Zero padding is applied
/// after it. Its gradient is straight-through inside the range, with `m = 1{0 <= n <= 1}`:
/// `dq/dx = m/(upper-lower)`, `dq/dupper = -m*n/(upper-lower)`, `dq/dlower = m*(n-1)/(upper-lower)`.
///
/// The division by the range is computed as a product with its reciprocal, here and in the gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActQuant {
    /// Value that becomes 0.
    pub lower: f32,
    /// Value that becomes 1.
    pub upper: f32,
    /// Number of steps, `2^bits - 1`.
    pub levels: u32,
}

/// Gradients of the loss with respect to the bounds of an [`ActQuant`], summed over the tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ActQuantGrad {
    /// `dL/dlower`.
    pub lower: f32,
    /// `dL/dupper`.
    pub upper: f32,
}

/// What a convolution reads: a buffer, as it is or through the quantiser.
#[derive(Debug)]
pub struct ConvInput<'a, V: ?Sized> {
    /// The activation as it is stored, NHWC.
    pub x: &'a V,
    /// What it is read through.
    pub quant: Option<ActQuant>,
}

impl<'a, V: ?Sized> ConvInput<'a, V> {
    /// `x` through `quant`.
    pub fn new(x: &'a V, quant: Option<ActQuant>) -> Self {
        ConvInput { x, quant }
    }
}

impl<V: ?Sized> Clone for ConvInput<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V: ?Sized> Copy for ConvInput<'_, V> {}

/// Where a gradient goes.
#[derive(Debug)]
pub enum GradTo<'a, V: ?Sized> {
    /// `dx = gradient`.
    Overwrite(&'a mut V),
    /// `dx += gradient`.
    Add(&'a mut V),
    /// Nowhere: what is wanted is what comes out beside it.
    Nowhere,
}

impl<'a, V: ?Sized> GradTo<'a, V> {
    /// [`Add`](Self::Add) with `accumulate`, else [`Overwrite`](Self::Overwrite).
    pub fn new(dx: &'a mut V, accumulate: bool) -> Self {
        if accumulate {
            GradTo::Add(dx)
        } else {
            GradTo::Overwrite(dx)
        }
    }
}

/// A device's convolution: buffers in, buffers out, activations NHWC and weights OIHW.
///
/// Every method checks the lengths of its buffers and returns [`crate::Error::Shape`] when one does not fit.
pub trait Conv2dKernel: Storage<f32> {
    /// `y = conv(q(x), w) + bias`.
    ///
    /// # Errors
    /// A shape that [`ConvShape::check`] refuses, or a buffer of the wrong length.
    fn conv2d_forward(
        &self,
        s: &ConvShape,
        x: ConvInput<Self::Vec>,
        w: &Self::Vec,
        bias: Option<&Self::Vec>,
        y: &mut Self::Vec,
    ) -> Result<()>;

    /// `dL/dx` goes to `dx`. With a quantiser it passes through its mask, and the gradients of its bounds come out of
    /// the same pass; without one, the input is not read and the result is `None`. A first layer whose input needs no
    /// gradient asks for the bounds alone with [`GradTo::Nowhere`].
    ///
    /// # Errors
    /// As [`Self::conv2d_forward`].
    fn conv2d_grad_input(
        &self,
        s: &ConvShape,
        dy: &Self::Vec,
        w: &Self::Vec,
        x: ConvInput<Self::Vec>,
        dx: GradTo<Self::Vec>,
    ) -> Result<Option<ActQuantGrad>>;

    /// `dw = dL/dw` (overwritten, OIHW) and `dbias = dL/dbias`; the input is quantised again on the fly.
    ///
    /// # Errors
    /// As [`Self::conv2d_forward`].
    fn conv2d_grad_weight(
        &self,
        s: &ConvShape,
        x: ConvInput<Self::Vec>,
        dy: &Self::Vec,
        dw: &mut Self::Vec,
        dbias: Option<&mut Self::Vec>,
    ) -> Result<()>;
}

#[cfg(test)]
mod tests;
