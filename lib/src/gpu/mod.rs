//! Whether an NVIDIA GPU can be used, asked in a way that never panics.
//!
//! A build with the feature `cuda` is linked against NVIDIA's driver and cuBLAS and does not start without their
//! files; everything after that (no GPU, a driver or a GPU that is too old, a GPU whose memory is taken) is an
//! [`Error::Device`] that says so. In a build without the feature there is no GPU to be found.
//!
//! A kernel of one's own can be tried without a GPU and in any build: [`Emulated`].

mod emulate;

pub use emulate::{Argument, Emulated, Grid, Order};

use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// The GPU that the library's kernels would run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Name of the model.
    pub name: String,
    /// Compute capability, `(major, minor)`; the kernels need 7.0.
    pub capability: (i32, i32),
    /// CUDA version that the driver supports, `(major, minor)`; the kernels need 12.0.
    pub cuda: (i32, i32),
}

impl Gpu {
    /// Whether it is the emulator that stands in for a GPU in tests: results are right, times mean nothing.
    pub fn is_emulated(&self) -> bool {
        self.name == "CUDA emulator"
    }
}

/// Whether [`probe`] finds a GPU.
///
/// ```
/// if !rebit::gpu::is_available() {
///     println!("{}", rebit::gpu::probe().unwrap_err());
/// }
/// ```
pub fn is_available() -> bool {
    probe().is_ok()
}

/// The first GPU, or why there is none. A GPU that was found is remembered, and its context kept, until the process ends.
///
/// # Errors
/// [`Error::Device`] without the feature `cuda`, without a GPU, for a driver older than CUDA 12.0 (525), for a GPU older
/// than Volta, and when the GPU's memory is taken.
pub fn probe() -> Result<Gpu> {
    // What was missing may be there later, so failures are not kept.
    static FOUND: Mutex<Option<Gpu>> = Mutex::new(None);
    let mut known = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(gpu) = &*known {
        return Ok(gpu.clone());
    }
    let gpu = found()?;
    Ok(known.insert(gpu).clone())
}

#[cfg(not(feature = "cuda"))]
fn found() -> Result<Gpu> {
    Err(Error::Device(
        "this build has no GPU kernels; build rebit with the feature `cuda`".into(),
    ))
}

#[cfg(feature = "cuda")]
fn found() -> Result<Gpu> {
    use crate::ops::cuda::driver_error;
    use cudarc::driver::result;
    use cudarc::driver::sys;
    use cudarc::driver::sys::CUdevice_attribute_enum as Attribute;

    result::init().map_err(driver_error)?;
    if result::device::get_count().map_err(driver_error)? == 0 {
        return Err(Error::Device("the CUDA driver sees no GPU".into()));
    }
    let device = result::device::get(0).map_err(driver_error)?;
    let mut version = 0;
    let mut text = [0; 256];
    // SAFETY: both write into the variables they are given; the name is cut to its room.
    unsafe {
        sys::cuDriverGetVersion(&mut version)
            .result()
            .map_err(driver_error)?;
        sys::cuDeviceGetName(text.as_mut_ptr().cast(), text.len() as i32, device)
            .result()
            .map_err(driver_error)?;
    }
    let attribute = |a| {
        // SAFETY: `device` came from the driver.
        unsafe { result::device::get_attribute(device, a) }.map_err(driver_error)
    };
    let name: Vec<u8> = text.into_iter().take_while(|&b| b != 0).collect();
    let gpu = Gpu {
        name: String::from_utf8_lossy(&name).into_owned(),
        capability: (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        cuda: (version / 1000, version % 1000 / 10),
    };
    if gpu.cuda < (12, 0) {
        let (major, minor) = gpu.cuda;
        return Err(Error::Device(format!(
            "the driver supports CUDA {major}.{minor}; the kernels need 12.0, that is driver 525 or newer"
        )));
    }
    if gpu.capability < (7, 0) {
        let (major, minor) = gpu.capability;
        return Err(Error::Device(format!(
            "{} has compute capability {major}.{minor}; the kernels need 7.0 (Volta) or newer",
            gpu.name
        )));
    }
    // A context takes memory of its own: this is where a GPU that is full says so. It is kept, for making one takes a
    // GPU half a second, and the handles of threads come and go.
    // SAFETY: `device` came from the driver.
    unsafe { result::primary_ctx::retain(device) }.map_err(driver_error)?;
    keep_memory(device).map_err(driver_error)?;
    Ok(gpu)
}

/// Memory that was freed stays with the process: giving it back to the driver and asking again waits for the GPU.
#[cfg(feature = "cuda")]
fn keep_memory(device: i32) -> std::result::Result<(), cudarc::driver::DriverError> {
    use cudarc::driver::sys::CUdevice_attribute_enum as Attribute;
    use cudarc::driver::{result, sys};

    let pools = Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED;
    // SAFETY: `device` came from the driver.
    if unsafe { result::device::get_attribute(device, pools) }? == 0 {
        return Ok(());
    }
    let mut pool = std::ptr::null_mut();
    let mut all = u64::MAX;
    let threshold = sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the driver writes the pool, and reads a number of eight bytes for this attribute.
    unsafe {
        sys::cuDeviceGetDefaultMemPool(&mut pool, device).result()?;
        sys::cuMemPoolSetAttribute(pool, threshold, std::ptr::from_mut(&mut all).cast()).result()
    }
}

/// Gives back to the driver what the calling thread's ops keep for their next calls.
///
/// Memory of networks is theirs, and that of tensors is in dfdx's cache: see its `empty_cache`.
pub fn free_scratch() {
    #[cfg(feature = "cuda")]
    crate::ops::cuda::free();
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_build_without_the_feature_says_so() {
        assert!(!super::is_available());
        let error = super::probe().unwrap_err().to_string();
        assert!(error.contains("feature `cuda`"), "{error}");
    }
}
