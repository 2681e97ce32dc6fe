//! Concrete tensor types: one device, one dtype, run-time shapes.
//!
//! A cell that names only concrete types compiles in a fraction of a second; every alias here is plain
//! dfdx, so all of dfdx's own methods work on them too.

use dfdx::prelude::*;
use rand::SeedableRng;
use rand_pcg::Pcg64;

use crate::error::{Error, Result};

/// The device everything runs on: the CPU.
#[cfg(not(feature = "cuda"))]
pub type Dev = Cpu;
/// The device everything runs on: the first GPU of the machine.
#[cfg(feature = "cuda")]
pub type Dev = Cuda;
/// A tape that records gradients.
pub type Taped = OwnedTape<f32, Dev>;
/// A buffer of the device, without shape; [`HostAccess`](crate::HostAccess) looks into it.
pub type Buffer = <Dev as Storage<f32>>::Vec;
/// A buffer of the CPU.
pub(crate) type CpuBuffer = <Cpu as Storage<f32>>::Vec;
/// What goes wrong on the device, in dfdx's words.
pub(crate) type DevError = <Dev as HasErr>::Err;
/// Gradients of one backward pass.
pub type Grads = Gradients<f32, Dev>;

/// Shape of [`Images`]: samples, channels, height, width.
pub type Shape4 = (usize, usize, usize, usize);

/// A batch of images or feature maps, `(samples, channels, height, width)`.
pub type Images<T = NoneTape> = Tensor<Shape4, f32, Dev, T>;
/// A matrix `(rows, columns)`; logits are `(samples, classes)`.
pub type Matrix<T = NoneTape> = Tensor<(usize, usize), f32, Dev, T>;
/// A vector.
pub type Vector<T = NoneTape> = Tensor<(usize,), f32, Dev, T>;
/// A single number.
pub type Scalar<T = NoneTape> = Tensor<(), f32, Dev, T>;

/// The library's random numbers: a seeded generator that is passed along, never hidden.
pub type Rng = Pcg64;

/// A generator for `seed`; the same seed gives the same numbers on every machine.
///
/// ```
/// use rand::Rng as _;
/// let (mut a, mut b) = (rebit::rng(7), rebit::rng(7));
/// assert_eq!(a.random::<u64>(), b.random::<u64>());
/// ```
pub fn rng(seed: u64) -> Rng {
    Pcg64::seed_from_u64(seed)
}

/// The one device of this process.
///
/// dfdx keeps freed buffers of a device for the next tensor of that size, so the same `Dev` should serve
/// a whole session.
///
/// # Panics
/// In a build with the feature `cuda` where [`try_dev`] fails.
pub fn dev() -> Dev {
    try_dev().unwrap_or_else(|e| panic!("{e}"))
}

/// [`dev`] that returns its error.
///
/// # Errors
/// [`Error::Device`] in a build with the feature `cuda` on a machine without a usable GPU; it says what is missing
/// (see [`gpu::probe`](crate::gpu::probe)) and that a build without the feature runs on the CPU.
pub fn try_dev() -> Result<Dev> {
    found_dev()
}

#[cfg(not(feature = "cuda"))]
fn found_dev() -> Result<Dev> {
    static DEV: std::sync::OnceLock<Dev> = std::sync::OnceLock::new();
    let made = DEV.get_or_init(|| {
        crate::memory::keep_freed_memory();
        crate::ops::parallel::start_threads();
        Dev::default()
    });
    Ok(made.clone())
}

/// dfdx's handle of a GPU stays in its thread. Those of several threads share the GPU's context and stream, so that
/// buffers may change threads, and launches run in the order in which they are made.
#[cfg(feature = "cuda")]
fn found_dev() -> Result<Dev> {
    thread_local!(static DEV: std::cell::OnceCell<Dev> = const { std::cell::OnceCell::new() });
    DEV.with(|dev| match dev.get() {
        Some(dev) => Ok(dev.clone()),
        None => {
            crate::memory::keep_freed_memory();
            let made = make_dev()?;
            Ok(dev.get_or_init(|| made).clone())
        }
    })
}

#[cfg(feature = "cuda")]
fn make_dev() -> Result<Dev> {
    crate::ops::parallel::start_threads();
    let found = crate::gpu::probe().and_then(|_| Ok(Dev::try_build(0, 0)?));
    found.map_err(|e| match e {
        Error::Device(why) => Error::Device(format!(
            "{why}; this build of rebit runs on a GPU only, one without the feature `cuda` on the CPU"
        )),
        other => other,
    })
}

/// The elements of any tensor in row-major order (one copy): dfdx 0.13 keeps its slice private.
pub fn read<S: Shape, T>(x: &Tensor<S, f32, Dev, T>) -> Vec<f32> {
    // dfdx looks at a first element.
    if x.shape().num_elements() == 0 {
        return Vec::new();
    }
    elements(x.retaped::<NoneTape>())
}

/// One copy of what lies in order; dfdx's `as_vec` asks for the place of each element.
#[cfg(not(feature = "cuda"))]
fn elements<S: Shape>(x: Tensor<S, f32, Dev>) -> Vec<f32> {
    let mut elements = vec![0.0; x.shape().num_elements()];
    x.contiguous().copy_into(&mut elements);
    elements
}

#[cfg(feature = "cuda")]
fn elements<S: Shape>(x: Tensor<S, f32, Dev>) -> Vec<f32> {
    x.as_vec()
}

/// A tensor of `shape` that takes over `data`: on the CPU without a copy.
///
/// # Errors
/// [`Error::Shape`] when the number of elements differs.
pub fn from_vec<S: Shape>(data: Vec<f32>, shape: S) -> Result<Tensor<S, f32, Dev>> {
    let expected = shape.num_elements();
    if data.len() != expected {
        return Err(Error::shape(
            "from_vec",
            format!("{expected} elements for shape {:?}", shape.concrete()),
            format!("{} elements", data.len()),
        ));
    }
    Ok(dev().try_tensor_from_vec(data, shape)?)
}

/// Room for the numbers of something of these sizes, before they are made.
///
/// # Errors
/// [`Error::Invalid`] for more than there is memory for.
pub(crate) fn room(what: &str, sizes: &[usize]) -> Result<Vec<f32>> {
    let count = sizes
        .iter()
        .try_fold(1usize, |n, &size| n.checked_mul(size));
    let mut numbers = Vec::new();
    if count.is_some_and(|count| numbers.try_reserve_exact(count).is_ok()) {
        return Ok(numbers);
    }
    let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
    Err(Error::invalid(
        format!("{what} of {} numbers", sizes.join(" x ")),
        "there is not enough memory for them; look for a size that was meant otherwise",
    ))
}

/// Numbers of the standard normal distribution for a tensor of these sizes.
fn normal(what: &str, sizes: &[usize], rng: &mut Rng) -> Result<Vec<f32>> {
    use rand::Rng as _;
    let mut numbers = room(what, sizes)?;
    let count: usize = sizes.iter().product();
    numbers.extend((0..count).map(|_| rng.sample::<f32, _>(rand_distr::StandardNormal)));
    Ok(numbers)
}

/// Standard-normal matrix.
///
/// ```
/// use rebit::prelude::*;
/// let a = randn(64, 32, &mut rng(0));
/// assert_eq!(*a.shape(), (64, 32));
/// ```
///
/// # Panics
/// For more numbers than there is memory for.
#[track_caller]
pub fn randn(rows: usize, columns: usize, rng: &mut Rng) -> Matrix {
    let data = normal("a matrix", &[rows, columns], rng).unwrap_or_else(|e| panic!("{e}"));
    dev().tensor_from_vec(data, (rows, columns))
}

/// Standard-normal images `(n, c, h, w)`.
///
/// ```
/// use rebit::prelude::*;
/// assert_eq!(images(2, 3, 8, 8, &mut rng(0)).shape(), &(2, 3, 8, 8));
/// ```
///
/// # Panics
/// For more numbers than there is memory for.
#[track_caller]
pub fn images(n: usize, c: usize, h: usize, w: usize, rng: &mut Rng) -> Images {
    let data = normal("images", &[n, c, h, w], rng).unwrap_or_else(|e| panic!("{e}"));
    dev().tensor_from_vec(data, (n, c, h, w))
}

/// A vector with these numbers.
///
/// ```
/// use rebit::prelude::*;
/// assert_eq!(read(&vector(&[1.0, 2.0])), [1.0, 2.0]);
/// ```
pub fn vector(values: &[f32]) -> Vector {
    dev().tensor_from_vec(values.to_vec(), (values.len(),))
}

/// A tensor that holds one number.
pub fn scalar(value: f32) -> Scalar {
    dev().tensor_from_vec(vec![value], ())
}

/// `n` numbers from `from` to `to`, both included, evenly spaced.
///
/// ```
/// assert_eq!(rebit::linspace(-1.0, 1.0, 5), [-1.0, -0.5, 0.0, 0.5, 1.0]);
/// ```
pub fn linspace(from: f32, to: f32, n: usize) -> Vec<f32> {
    let last = n.saturating_sub(1).max(1) as f32;
    (0..n)
        .map(|i| from + (to - from) * (i as f32 / last))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_numbers_than_there_is_memory_for_are_a_panic_that_says_so() {
        for make in [
            || drop(randn(1_000, 1_000_000_000_000, &mut rng(0))),
            || drop(images(1 << 30, 3, 1 << 30, 1 << 30, &mut rng(0))),
        ] {
            let said = std::panic::catch_unwind(make).unwrap_err();
            let said = said.downcast::<String>().unwrap();
            assert!(said.contains("not enough memory"), "{said}");
        }
    }
}
