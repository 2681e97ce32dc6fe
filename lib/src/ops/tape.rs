//! Between dfdx tensors and the kernels' buffers, for the tape faces.

use dfdx::prelude::*;

use crate::error::{Error, Result};
use crate::ops::layout::{nchw_to_nhwc, nhwc_to_nchw};
use crate::tensors::{Buffer, Dev, Grads, Images, Matrix, Shape4, Vector, dev};

/// The backward pass of one operation.
pub type BackwardOp = Box<dyn FnOnce(&mut Grads) -> Result<(), CpuError>>;

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

/// A tensor whose elements lie in row-major order, and its tape.
pub(crate) fn split<S: Shape, T: Tape<f32, Dev>>(
    x: Tensor<S, f32, Dev, T>,
) -> Result<(Tensor<S, f32, Dev>, T)> {
    Ok(x.try_contiguous()?.split_tape())
}

/// The elements of a contiguous tensor (one copy).
pub(crate) fn load<S: Shape>(x: &Tensor<S, f32, Dev>) -> Result<Buffer> {
    let mut buffer = zeros(x.shape().num_elements())?;
    x.copy_into(&mut buffer);
    Ok(buffer)
}

/// A tensor that takes a buffer over, without a copy.
pub(crate) fn store<S: Shape>(mut buffer: Buffer, shape: S) -> Result<Tensor<S, f32, Dev>> {
    Ok(dev().try_tensor_from_vec(std::mem::take(&mut *buffer), shape)?)
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
pub(crate) fn channels_last((_, c, h, w): Shape4, x: &[f32]) -> Result<Buffer> {
    let mut y = zeros(x.len())?;
    nchw_to_nhwc(x, c, h * w, &mut y);
    Ok(y)
}

/// A copy in tensor order of a channels-last buffer.
pub(crate) fn channels_first((_, c, h, w): Shape4, x: &[f32]) -> Result<Buffer> {
    let mut y = zeros(x.len())?;
    nhwc_to_nchw(x, c, h * w, &mut y);
    Ok(y)
}

/// Runs `f` with the gradient of `out`, which is lent out of `grads` for that time.
pub(crate) fn with_gradient<S: Shape>(
    grads: &mut Grads,
    out: &Tensor<S, f32, Dev>,
    f: impl FnOnce(&mut Grads, &mut Buffer) -> Result<()>,
) -> Result<(), CpuError> {
    let nothing = <Dev as Storage<f32>>::try_alloc_len(&dev(), 0)?;
    let mut dy = std::mem::replace(grads.get_or_alloc_mut(out)?, nothing);
    let result = f(grads, &mut dy);
    *grads.get_or_alloc_mut(out)? = dy;
    result.map_err(|error| match error {
        Error::Device(_) => CpuError::OutOfMemory,
        // The forward checked shapes and values, so only a changed buffer can lead here.
        _ => CpuError::WrongNumElements,
    })
}

/// `gradient of x += from`.
pub(crate) fn add_gradient<S: Shape>(
    grads: &mut Grads,
    x: &Tensor<S, f32, Dev>,
    from: &[f32],
) -> Result<()> {
    let into = grads.get_or_alloc_mut(x)?;
    crate::ops::parallel::update(from, into, |into, from| into + from);
    Ok(())
}
