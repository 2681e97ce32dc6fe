//! Between dfdx tensors and the kernels' buffers, for the tape faces.

use dfdx::prelude::*;

use crate::buffer::HostAccess;
use crate::error::{Error, Result};
use crate::ops::affine::AffineKernel;
use crate::ops::layout::LayoutKernel;
use crate::ops::parallel::checked_product;
use crate::ops::relu::ActivationKernel;
use crate::tensors::{
    Buffer, Dev, DevError, Grads, Images, Matrix, Scalar, Shape4, Vector, dev, scalar,
};

/// The backward pass of one operation.
pub type BackwardOp = Box<dyn FnOnce(&mut Grads) -> Result<(), DevError>>;

/// dfdx's tapes, with what the library's operations do to them compiled into the library.
///
/// Code with type parameters is compiled anew in every cell that uses it, and most of what an operation does to a tape
/// is such code. An operation on a `Recorder` splits, computes and records in functions of concrete types; what is left
/// for the cell is a few moves. (Measured: a cell that trains with [`cross_entropy`](super::cross_entropy) took twice
/// as long to compile without it.)
pub trait Recorder: Tape<f32, Dev> {
    /// Elements in row-major order, and the tape.
    ///
    /// # Errors
    /// When memory for a copy cannot be had.
    fn split_images(x: Images<Self>) -> Result<(Images, Self)>;
    /// As [`split_images`](Self::split_images).
    ///
    /// # Errors
    /// When memory for a copy cannot be had.
    fn split_matrix(x: Matrix<Self>) -> Result<(Matrix, Self)>;
    /// As [`split_images`](Self::split_images).
    ///
    /// # Errors
    /// When memory for a copy cannot be had.
    fn split_vector(x: Vector<Self>) -> Result<(Vector, Self)>;
    /// The tape with one more operation.
    fn record(self, op: BackwardOp) -> Self;
}

macro_rules! recorder {
    ($tape:ty) => {
        impl Recorder for $tape {
            #[inline(never)]
            fn split_images(x: Images<Self>) -> Result<(Images, Self)> {
                split(x)
            }
            #[inline(never)]
            fn split_matrix(x: Matrix<Self>) -> Result<(Matrix, Self)> {
                split(x)
            }
            #[inline(never)]
            fn split_vector(x: Vector<Self>) -> Result<(Vector, Self)> {
                split(x)
            }
            #[inline(never)]
            fn record(mut self, op: BackwardOp) -> Self {
                self.add_backward_op(op);
                self
            }
        }
    };
}
recorder!(NoneTape);
recorder!(OwnedTape<f32, Dev>);

/// A buffer of zeros.
pub(crate) fn zeros(len: usize) -> Result<Buffer> {
    Ok(<Dev as Storage<f32>>::try_alloc_len(&dev(), len)?)
}

/// As [`split`], without its shape: for ops that treat elements by themselves. dfdx's reshaped tensors are the same to
/// the tape, so the gradient of the vector is that of `x`, and what computes it is compiled here and not in the cell.
pub(crate) fn split_flat<S: Shape, T: Recorder>(x: Tensor<S, f32, Dev, T>) -> Result<(Vector, T)> {
    let (x, tape) = split(x)?;
    let n = x.shape().num_elements();
    Ok((x.try_reshape_like(&(n,))?, tape))
}

/// The backward pass of what made `y`: `f` gets its gradient, lent out of all gradients for that time.
pub(crate) fn backward_of<S: Shape>(
    y: &Tensor<S, f32, Dev>,
    f: impl FnOnce(&mut Grads, &mut Buffer) -> Result<()> + 'static,
) -> BackwardOp {
    let out = y.clone();
    Box::new(move |grads| with_gradient(grads, &out, f))
}

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
            backward_of(&y, move |grads, dy| of_x(grads, &load(&out)?, dy))
        } else {
            backward_of(&y, move |grads, dy| of_x(grads, &values, dy))
        };
        Ok((y, backward))
    }
}

/// An op from images to images, on channels-last buffers.
pub(crate) struct ImageOp {
    shape: Shape4,
    forward: Forward,
    backward: Backward<Images>,
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
        let mut y = zeros(checked_product("images", &[n, c, h, w])?)?;
        (self.forward)(&load_images(&x)?, &mut y)?;
        let y = store_images(&y, self.shape)?;
        let (shape, backward) = (self.shape, self.backward);
        let backward = backward_of(&y, move |grads, dy| {
            let dy = channels_last(shape, dy)?;
            let mut dx = zeros(x.shape().num_elements())?;
            backward(&x, &dy, &mut dx)?;
            add_gradient(grads, &x, &channels_first(*x.shape(), &dx)?)
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

/// A tensor whose elements lie in row-major order, and its tape.
pub(crate) fn split<S: Shape, T: Tape<f32, Dev>>(
    x: Tensor<S, f32, Dev, T>,
) -> Result<(Tensor<S, f32, Dev>, T)> {
    Ok(row_major(x)?.split_tape())
}

#[cfg(not(feature = "cuda"))]
fn row_major<S: Shape, T: Tape<f32, Dev>>(
    x: Tensor<S, f32, Dev, T>,
) -> Result<Tensor<S, f32, Dev, T>> {
    Ok(x.try_contiguous()?)
}

/// On a GPU dfdx 0.13 forgets most of a broadcast tensor's gradient when it lays the tensor out: its kernel visits as many
/// elements as the tensor holds, not as many as it has. A product with ones lays out too, and has the right gradient.
#[cfg(feature = "cuda")]
fn row_major<S: Shape, T: Tape<f32, Dev>>(
    x: Tensor<S, f32, Dev, T>,
) -> Result<Tensor<S, f32, Dev, T>> {
    if !T::OWNS_TAPE {
        return Ok(x.try_contiguous()?);
    }
    let (x, tape) = x.split_tape();
    // A gradient is as long as what is held.
    let held = Grads::leaky().get_or_alloc_mut(&x)?.elements();
    let all = x.shape().num_elements();
    let ones = (held < all).then(|| dev().try_ones_like(x.shape()));
    let x = x.put_tape(tape);
    match ones {
        Some(ones) => Ok(x.try_mul(ones?)?),
        None => Ok(x.try_contiguous()?),
    }
}

/// The elements of a contiguous tensor: one copy on the CPU. dfdx keeps a tensor's buffer to itself, so on a GPU they
/// come over the host; networks hold their numbers in buffers and do not pass here.
pub(crate) fn load<S: Shape>(x: &Tensor<S, f32, Dev>) -> Result<Buffer> {
    let mut buffer = zeros(x.shape().num_elements())?;
    #[cfg(not(feature = "cuda"))]
    x.copy_into(&mut buffer);
    #[cfg(feature = "cuda")]
    buffer.write(&crate::tensors::read(x))?;
    Ok(buffer)
}

/// A tensor with a buffer's elements: on the CPU it takes the buffer over, on a GPU they come over the host.
pub(crate) fn store<S: Shape>(buffer: Buffer, shape: S) -> Result<Tensor<S, f32, Dev>> {
    #[cfg(not(feature = "cuda"))]
    let elements = std::mem::take(&mut *{ buffer });
    #[cfg(feature = "cuda")]
    let elements = buffer.view()?.into_owned();
    Ok(dev().try_tensor_from_vec(elements, shape)?)
}

/// `x` in channels-last order.
pub(crate) fn load_images(x: &Images) -> Result<Buffer> {
    channels_last(*x.shape(), &load(x)?)
}

/// Images from a channels-last buffer.
pub(crate) fn store_images(buffer: &Buffer, shape: Shape4) -> Result<Images> {
    store(channels_first(shape, buffer)?, shape)
}

/// A channels-last copy of a buffer in tensor order.
pub(crate) fn channels_last((_, c, h, w): Shape4, x: &Buffer) -> Result<Buffer> {
    let mut y = zeros(x.elements())?;
    dev().to_channels_last(x, c, h * w, &mut y)?;
    Ok(y)
}

/// A copy in tensor order of a channels-last buffer.
pub(crate) fn channels_first((_, c, h, w): Shape4, x: &Buffer) -> Result<Buffer> {
    let mut y = zeros(x.elements())?;
    dev().to_channels_first(x, c, h * w, &mut y, false)?;
    Ok(y)
}

/// Runs `f` with the gradient of `out`, which is lent out of `grads` for that time.
pub(crate) fn with_gradient<S: Shape>(
    grads: &mut Grads,
    out: &Tensor<S, f32, Dev>,
    f: impl FnOnce(&mut Grads, &mut Buffer) -> Result<()>,
) -> Result<(), DevError> {
    let nothing = <Dev as Storage<f32>>::try_alloc_len(&dev(), 0)?;
    let mut dy = std::mem::replace(grads.get_or_alloc_mut(out)?, nothing);
    let result = f(grads, &mut dy);
    *grads.get_or_alloc_mut(out)? = dy;
    result.map_err(tape_error)
}

/// [`with_gradient`] for a look at the gradient alone.
pub(crate) fn lend_gradient<S: Shape, R>(
    grads: &mut Grads,
    out: &Tensor<S, f32, Dev>,
    f: impl FnOnce(&Buffer) -> Result<R>,
) -> Result<R> {
    f(grads.get_or_alloc_mut(out)?)
}

/// An error of a backward pass in the words that dfdx's tape has for it.
pub(crate) fn tape_error(error: Error) -> DevError {
    let error = match error {
        Error::Device(_) => CpuError::OutOfMemory,
        // The forward checked shapes and values, so only a changed buffer can lead here.
        _ => CpuError::WrongNumElements,
    };
    #[allow(clippy::useless_conversion, reason = "a GPU has errors of its own")]
    error.into()
}

/// `gradient of x += from`.
pub(crate) fn add_gradient<S: Shape>(
    grads: &mut Grads,
    x: &Tensor<S, f32, Dev>,
    from: &Buffer,
) -> Result<()> {
    dev().accumulate(from, grads.get_or_alloc_mut(x)?)
}

/// `gradient of x[i] += by`, for tensors of a few numbers.
pub(crate) fn nudge_gradient<S: Shape>(
    grads: &mut Grads,
    x: &Tensor<S, f32, Dev>,
    i: usize,
    by: f32,
) -> Result<()> {
    grads.get_or_alloc_mut(x)?.edit(|g| g[i] += by)
}
