//! What the CUDA sides of the ops share: loading kernels, launching them, sums over blocks.
//!
//! A kernel is a `.cu` file beside its op, compiled to PTX that is committed and part of the library (`tests/cuda/ptx`
//! makes it anew); the driver translates it for the GPU at hand when it is first used. Launches go to dfdx's own
//! stream, so they are in order with dfdx's kernels. Sums are made over blocks whose number follows from the length
//! alone and are added in order: a result has the same bits every time.
//!
//! A kernel runs after its launch has returned, so what it does wrong is reported by whatever waits next. With
//! `REBIT_CUDA_SYNC=1` every launch waits for its kernel, and the error names it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cudarc::driver::{
    CudaDevice, CudaFunction, DevicePtr, DevicePtrMut, DeviceRepr, LaunchAsync, LaunchConfig,
    ValidAsZeroBits, result,
};
use cudarc::nvrtc::Ptx;
use dfdx::prelude::{Cuda, Storage};

pub(crate) use crate::error::driver_error;
use crate::error::{Error, Result};

mod host_access;
mod scratch;
#[cfg(all(test, feature = "_emu"))]
mod tests;

pub(crate) use scratch::{Scratch, free};

/// A buffer of the GPU.
pub(crate) type CudaBuffer = <Cuda as Storage<f32>>::Vec;

/// Threads of a block of an elementwise kernel, `BLOCK` of common.cuh.
const BLOCK: usize = 256;

/// The kernels of one `.cu` file.
pub(crate) struct Module {
    /// Name under which the device keeps it.
    pub name: &'static str,
    /// The compiled source.
    pub ptx: &'static str,
    /// All its kernels.
    pub kernels: &'static [&'static str],
}

impl Module {
    fn function(&self, device: &Arc<CudaDevice>, kernel: &str) -> Result<CudaFunction> {
        static LOADING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
        if !device.has_func(self.name, kernel) {
            device
                .load_ptx(Ptx::from_src(self.ptx), self.name, self.kernels)
                .map_err(driver_error)?;
        }
        device
            .get_func(self.name, kernel)
            .ok_or_else(|| Error::Device(format!("module {} has no kernel {kernel}", self.name)))
    }

    /// Starts a kernel; a grid without blocks is nothing to do.
    ///
    /// # Safety
    /// `arguments` must be those of the kernel, in number, order and layout, and all that it reads and writes
    /// for these numbers must lie in live buffers.
    pub unsafe fn launch<A>(
        &self,
        device: &Arc<CudaDevice>,
        kernel: &'static str,
        config: LaunchConfig,
        arguments: A,
    ) -> Result<()>
    where
        CudaFunction: LaunchAsync<A>,
    {
        let (x, y, z) = config.grid_dim;
        if x == 0 || y == 0 || z == 0 {
            return Ok(());
        }
        if x > LONGEST || y > DEEPEST || z > DEEPEST {
            return Err(Error::Device(format!(
                "kernel {kernel}: a grid of {x} x {y} x {z} blocks is more than a GPU has ({LONGEST} x {DEEPEST} x {DEEPEST})"
            )));
        }
        let function = self.function(device, kernel)?;
        let named = |error| of_kernel(kernel, driver_error(error));
        // SAFETY: the caller's promise.
        unsafe { function.launch(config, arguments) }.map_err(named)?;
        if waits() {
            device.synchronize().map_err(named)?;
        }
        Ok(())
    }
}

/// Whether `REBIT_CUDA_SYNC` asks every launch to wait; read once a process.
fn waits() -> bool {
    static WAITS: OnceLock<bool> = OnceLock::new();
    *WAITS.get_or_init(|| std::env::var_os("REBIT_CUDA_SYNC").is_some_and(|v| v == "1"))
}

/// An error of the launch of a kernel, which may be that of an earlier kernel unless each is waited for.
fn of_kernel(kernel: &str, error: Error) -> Error {
    let Error::Device(why) = error else {
        return error;
    };
    let hint = if waits() {
        ""
    } else {
        " (or a kernel before it: REBIT_CUDA_SYNC=1 waits for each and names it)"
    };
    Error::Device(format!("kernel {kernel}{hint}: {why}"))
}

/// Blocks along the first axis of a grid, along which everything that grows with the data is laid.
const LONGEST: u32 = i32::MAX as u32;
/// Blocks along the others.
pub(crate) const DEEPEST: u32 = 65_535;

/// Blocks for `n` pieces of work, of which a block takes one after the other.
pub(crate) fn pieces(n: usize, block: (usize, usize)) -> LaunchConfig {
    blocks((n.min(1 << 16), 1, 1), block)
}

/// Blocks for `n` elements, of which each thread takes several in a large buffer.
pub(crate) fn each(n: usize) -> LaunchConfig {
    blocks((n.div_ceil(BLOCK).min(4096), 1, 1), (BLOCK, 1))
}

/// Blocks of a kernel that sums over `n` elements; their number follows from `n` alone.
pub(crate) fn summing(n: usize) -> LaunchConfig {
    blocks((n.div_ceil(4 * BLOCK).min(512), 1, 1), (BLOCK, 1))
}

/// Blocks of 32 columns x 8 for the sums of `n` columns, `column_sum` of common.cuh.
pub(crate) fn columns(n: usize) -> LaunchConfig {
    blocks((n.div_ceil(32), 1, 1), (32, 8))
}

/// A grid and the columns and rows of its blocks.
pub(crate) fn blocks(grid: (usize, usize, usize), block: (usize, usize)) -> LaunchConfig {
    // What does not fit is refused by the launch.
    let extent = |n| u32::try_from(n).unwrap_or(u32::MAX);
    LaunchConfig {
        grid_dim: (extent(grid.0), extent(grid.1), extent(grid.2)),
        block_dim: (block.0 as u32, block.1 as u32, 1),
        shared_mem_bytes: 0,
    }
}

/// Rows of pixels in chunks for sums per channel, with blocks of 32 channels x 8 pixels.
#[derive(Clone, Copy)]
pub(crate) struct Chunks {
    pub rows: usize,
    pub count: usize,
}

impl Chunks {
    pub fn new(pixels: usize) -> Self {
        let rows = pixels.div_ceil(128).max(64);
        Chunks {
            rows,
            count: pixels.div_ceil(rows),
        }
    }

    pub fn grid(self, channels: usize, z: usize) -> LaunchConfig {
        blocks((channels.div_ceil(32), self.count, z), (32, 8))
    }
}

/// Sides of a shape as the kernels count them.
///
/// # Errors
/// [`Error::Shape`] for a side of 2^31 or more.
pub(crate) fn counts<const N: usize>(op: &'static str, sides: [usize; N]) -> Result<[u32; N]> {
    let mut counts = [0; N];
    for (count, &side) in counts.iter_mut().zip(&sides) {
        *count = i32::try_from(side).map_err(|_| {
            let expected = "sides that the GPU can count, below 2^31";
            Error::shape(op, expected, format!("{sides:?}"))
        })? as u32;
    }
    Ok(counts)
}

/// A copy of numbers on the GPU, for the time of a call.
pub(crate) fn upload<T: DeviceRepr>(device: &Arc<CudaDevice>, values: &[T]) -> Result<Scratch<T>> {
    Scratch::of(device, values)
}

/// Memory for `len` numbers for the time of a call; kernels write it before they read it.
pub(crate) fn room<T: DeviceRepr>(device: &Arc<CudaDevice>, len: usize) -> Result<Scratch<T>> {
    Scratch::new(device, len)
}

/// [`room`] that is zero.
pub(crate) fn zeros<T: DeviceRepr + ValidAsZeroBits>(
    device: &Arc<CudaDevice>,
    len: usize,
) -> Result<Scratch<T>> {
    let mut scratch = Scratch::new(device, len)?;
    device.memset_zeros(&mut scratch).map_err(driver_error)?;
    Ok(scratch)
}

/// Copies numbers to the GPU without waiting for it.
pub(crate) fn copy_to<T: DeviceRepr>(
    device: &Arc<CudaDevice>,
    values: &[T],
    to: &mut impl DevicePtrMut<T>,
) -> Result<()> {
    debug_assert!(values.len() <= to.len());
    device.bind_to_thread().map_err(driver_error)?;
    // SAFETY: the callers give room for the numbers. They lie in pageable memory, of which the driver has taken its own copy
    // when this returns, and the copy to the GPU is in order with the launches around it.
    unsafe { result::memcpy_htod_async(*to.device_ptr_mut(), values, *device.cu_stream()) }
        .map_err(driver_error)
}

/// A copy of numbers of the GPU; waits for it.
pub(crate) fn download<T: DeviceRepr + Clone + Default>(
    device: &Arc<CudaDevice>,
    values: &impl DevicePtr<T>,
) -> Result<Vec<T>> {
    let mut copy = vec![T::default(); values.len()];
    device
        .dtoh_sync_copy_into(values, &mut copy)
        .map_err(driver_error)?;
    Ok(copy)
}

/// The `N` sums of every block, added in order.
pub(crate) fn add_blocks<const N: usize>(
    device: &Arc<CudaDevice>,
    partial: &Scratch<f64>,
) -> Result<[f64; N]> {
    let mut sums = [0.0; N];
    for block in download(device, partial)?.chunks_exact(N) {
        sums.iter_mut().zip(block).for_each(|(s, b)| *s += b);
    }
    Ok(sums)
}

/// Sets a buffer to zero.
pub(crate) fn clear(buffer: &mut CudaBuffer) -> Result<()> {
    let device = buffer.device();
    device.memset_zeros(buffer).map_err(driver_error)
}

/// Address of a buffer, for arguments that are optional or part of a struct.
pub(crate) fn address<T>(buffer: &impl DevicePtr<T>) -> u64 {
    *buffer.device_ptr()
}
