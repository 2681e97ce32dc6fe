//! The frequent forms of an op, recorded: of the elements of one tensor, from images to images, a loss.

use dfdx::prelude::{HasShape, PutTape, ReshapeTo, Shape, Tensor};

use super::{
    BackwardOp, Recorder, add_images_gradient, backward_of, channels_last, load, load_images,
    scratch, split_flat, store, store_images, zeros,
};
use crate::buffer::HostAccess;
use crate::error::Result;
use crate::ops::affine::AffineKernel;
use crate::ops::parallel::checked_product;
use crate::tensors::{Buffer, Dev, Grads, Images, Scalar, Shape4, Vector, dev, scalar};

/// `kernel(x, y)` or, of a gradient, `kernel(kept, dy, dx)`.
type Forward = Box<dyn FnOnce(&Buffer, &mut Buffer) -> Result<()>>;
type Backward<X> = Box<dyn FnOnce(&X, &Buffer, &mut Buffer) -> Result<()>>;

/// An op on the elements of one tensor, whatever its shape.
pub(crate) struct Unary {
    forward: Forward,
    backward: Backward<Buffer>,
    /// Whether the gradient is read off the result, and not off the input.
    by_output: bool,
}

impl Unary {
    /// `backward(x, dy, dx)` adds to `dx`.
    pub(crate) fn by_input(
        forward: impl FnOnce(&Buffer, &mut Buffer) -> Result<()> + 'static,
        backward: impl FnOnce(&Buffer, &Buffer, &mut Buffer) -> Result<()> + 'static,
    ) -> Self {
        Unary {
            forward: Box::new(forward),
            backward: Box::new(backward),
            by_output: false,
        }
    }

    /// `backward(y, dy, dx)` adds to `dx`.
    pub(crate) fn by_output(
        forward: impl FnOnce(&Buffer, &mut Buffer) -> Result<()> + 'static,
        backward: impl FnOnce(&Buffer, &Buffer, &mut Buffer) -> Result<()> + 'static,
    ) -> Self {
        Unary {
            by_output: true,
            ..Self::by_input(forward, backward)
        }
    }

    /// `y` on the tape of `x`.
    pub(crate) fn record<S: Shape, T: Recorder>(
        self,
        x: Tensor<S, f32, Dev, T>,
    ) -> Result<Tensor<S, f32, Dev, T>> {
        let shape = *x.shape();
        let (x, tape) = split_flat(x)?;
        let (y, backward) = self.run(x)?;
        let y = y.try_reshape_like(&shape)?;
        Ok(y.put_tape(tape.record(backward)))
    }

    fn run(self, x: Vector) -> Result<(Vector, BackwardOp)> {
        let values = load(&x)?;
        let mut y = zeros(values.elements())?;
        (self.forward)(&values, &mut y)?;
        let y = store(y, *x.shape())?;
        let backward = self.backward;
        let of_x = move |grads: &mut Grads, kept: &Buffer, dy: &Buffer| {
            backward(kept, dy, grads.get_or_alloc_mut(&x)?)
        };
        let backward = if self.by_output {
            let out = y.clone();
            backward_of(&y, move |grads, dy| of_x(grads, &*load(&out)?, dy))
        } else {
            backward_of(&y, move |grads, dy| of_x(grads, &values, dy))
        };
        Ok((y, backward))
    }
}

/// An op from images to images, on channels-last buffers or on planes as tensors have them.
pub(crate) struct ImageOp {
    shape: Shape4,
    forward: Forward,
    backward: Backward<Images>,
    planes: bool,
}

impl ImageOp {
    /// The result has `shape`; `backward(x, dy, dx)` overwrites `dx`.
    pub(crate) fn new(
        shape: Shape4,
        forward: impl FnOnce(&Buffer, &mut Buffer) -> Result<()> + 'static,
        backward: impl FnOnce(&Images, &Buffer, &mut Buffer) -> Result<()> + 'static,
    ) -> Self {
        ImageOp {
            shape,
            forward: Box::new(forward),
            backward: Box::new(backward),
            planes: false,
        }
    }

    /// As [`new`](Self::new) in the order of tensors, so that nothing is turned; `backward(x, dy, dx)` adds to `dx`.
    pub(crate) fn of_planes(
        shape: Shape4,
        forward: impl FnOnce(&Buffer, &mut Buffer) -> Result<()> + 'static,
        backward: impl FnOnce(&Images, &Buffer, &mut Buffer) -> Result<()> + 'static,
    ) -> Self {
        ImageOp {
            planes: true,
            ..Self::new(shape, forward, backward)
        }
    }

    /// `y` on the tape of `x`.
    pub(crate) fn record<T: Recorder>(self, x: Images<T>) -> Result<Images<T>> {
        let (x, tape) = T::split_images(x)?;
        let (y, backward) = self.run(x)?;
        Ok(y.put_tape(tape.record(backward)))
    }

    fn run(self, x: Images) -> Result<(Images, BackwardOp)> {
        let (n, c, h, w) = self.shape;
        let len = checked_product("images", &[n, c, h, w])?;
        let (shape, backward) = (self.shape, self.backward);
        if self.planes {
            let mut y = zeros(len)?;
            (self.forward)(&*load(&x)?, &mut y)?;
            let y = store(y, shape)?;
            let backward = backward_of(&y, move |grads, dy| {
                backward(&x, dy, grads.get_or_alloc_mut(&x)?)
            });
            return Ok((y, backward));
        }
        let mut y = scratch(len)?;
        (self.forward)(&*load_images(&x)?, &mut y)?;
        let y = store_images(&y, shape)?;
        let backward = backward_of(&y, move |grads, dy| {
            let dy = channels_last(shape, dy)?;
            let mut dx = scratch(x.shape().num_elements())?;
            backward(&x, &dy, &mut dx)?;
            add_images_gradient(grads, &x, &dx)
        });
        Ok((y, backward))
    }
}

/// A scalar that a loss comes out as; its gradient is `dy` times `slope`, which was computed with it.
pub(crate) fn loss_of<S: Shape>(
    x: Tensor<S, f32, Dev>,
    loss: f32,
    slope: Buffer,
) -> (Scalar, BackwardOp) {
    let loss = scalar(loss);
    let backward = backward_of(&loss, move |grads, dy| {
        let (factor, into) = (dy.view()?[0], grads.get_or_alloc_mut(&x)?);
        dev().mix(1.0, into, factor, &slope)
    });
    (loss, backward)
}
