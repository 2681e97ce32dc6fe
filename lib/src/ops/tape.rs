//! Between dfdx tensors and the kernels' buffers, for the tape faces.

use dfdx::prelude::*;

use crate::buffer::HostAccess;
use crate::error::{Error, Result};
use crate::ops::layout::LayoutKernel;
use crate::ops::relu::ActivationKernel;
use crate::tensors::{Buffer, Dev, DevError, Grads, Images, Matrix, Shape4, Vector, dev};

mod forms;
mod scratch;

pub(crate) use forms::{ImageOp, Unary, loss_of};
pub(crate) use scratch::{Scratch, scratch};

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
pub(crate) fn load<S: Shape>(x: &Tensor<S, f32, Dev>) -> Result<Scratch> {
    let mut buffer = scratch(x.shape().num_elements())?;
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
pub(crate) fn load_images(x: &Images) -> Result<Scratch> {
    channels_last(*x.shape(), &*load(x)?)
}

/// Images from a channels-last buffer.
pub(crate) fn store_images(buffer: &Buffer, shape: Shape4) -> Result<Images> {
    store(channels_first(shape, buffer)?, shape)
}

/// A channels-last copy of a buffer in tensor order.
pub(crate) fn channels_last((_, c, h, w): Shape4, x: &Buffer) -> Result<Scratch> {
    let mut y = scratch(x.elements())?;
    dev().to_channels_last(x, c, h * w, &mut y)?;
    Ok(y)
}

/// A copy in tensor order of a channels-last buffer.
fn channels_first((_, c, h, w): Shape4, x: &Buffer) -> Result<Buffer> {
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

/// `gradient of x += from`, which is in channels-last order.
pub(crate) fn add_images_gradient(grads: &mut Grads, x: &Images, from: &Buffer) -> Result<()> {
    let (_, c, h, w) = *x.shape();
    dev().to_channels_first(from, c, h * w, grads.get_or_alloc_mut(x)?, true)
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
