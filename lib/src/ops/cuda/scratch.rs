//! Memory for the time of one call: partial sums, lists, what lies between two kernels.
//!
//! Launches and copies of a thread are in one order, so memory that an op has let go may serve the next op of the thread
//! while the GPU is still at work on the first. Each thread therefore keeps what its ops let go, by size, and after the
//! first step of a training nothing is allocated.

use std::cell::RefCell;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;
use cudarc::driver::{CudaDevice, CudaSlice, DevicePtr, DevicePtrMut, DeviceRepr, DeviceSlice};

use super::{copy_to, driver_error};
use crate::error::Result;

thread_local! {
    /// By the power of two of their bytes.
    static FREE: RefCell<HashMap<usize, Vec<CudaSlice<u8>>>> = RefCell::default();
}

/// Numbers on the GPU that nobody keeps.
pub(crate) struct Scratch<T> {
    /// `None` only while it is dropped.
    memory: Option<CudaSlice<u8>>,
    len: usize,
    of: PhantomData<T>,
}

impl<T> Scratch<T> {
    /// Room for `len` numbers, whatever they are.
    pub fn new(device: &Arc<CudaDevice>, len: usize) -> Result<Self> {
        let bytes = (len * size_of::<T>()).next_power_of_two().max(256);
        let kept = FREE.with_borrow_mut(|free| free.get_mut(&bytes).and_then(Vec::pop));
        let memory = match kept {
            Some(memory) => memory,
            // SAFETY: bytes are numbers whatever they are, and kernels write them before they read them.
            None => unsafe { device.alloc::<u8>(bytes) }.map_err(driver_error)?,
        };
        Ok(Scratch {
            memory: Some(memory),
            len,
            of: PhantomData,
        })
    }

    /// A copy of numbers.
    pub fn of(device: &Arc<CudaDevice>, values: &[T]) -> Result<Self>
    where
        T: DeviceRepr,
    {
        let mut scratch = Scratch::new(device, values.len())?;
        copy_to(device, values, &mut scratch)?;
        Ok(scratch)
    }

    fn memory(&self) -> &CudaSlice<u8> {
        self.memory.as_ref().expect("taken by drop alone")
    }
}

impl<T> Drop for Scratch<T> {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            // At the end of a thread there is nowhere to keep it: it is freed.
            let _ = FREE.try_with(|free| {
                let mut free = free.borrow_mut();
                free.entry(memory.len()).or_default().push(memory);
            });
        }
    }
}

/// Frees what the ops of this thread have let go.
pub(crate) fn free() {
    FREE.with_borrow_mut(HashMap::clear);
}

impl<T> DeviceSlice<T> for Scratch<T> {
    fn len(&self) -> usize {
        self.len
    }
}

impl<T> DevicePtr<T> for Scratch<T> {
    fn device_ptr(&self) -> &CUdeviceptr {
        self.memory().device_ptr()
    }
}

impl<T> DevicePtrMut<T> for Scratch<T> {
    fn device_ptr_mut(&mut self) -> &mut CUdeviceptr {
        let memory = self.memory.as_mut().expect("taken by drop alone");
        memory.device_ptr_mut()
    }
}

// SAFETY: a kernel is given the address, as for a slice.
unsafe impl<T> DeviceRepr for &Scratch<T> {
    fn as_kernel_param(&self) -> *mut std::ffi::c_void {
        std::ptr::from_ref(self.device_ptr()).cast_mut().cast()
    }
}

// SAFETY: as above.
unsafe impl<T> DeviceRepr for &mut Scratch<T> {
    fn as_kernel_param(&self) -> *mut std::ffi::c_void {
        std::ptr::from_ref(self.device_ptr()).cast_mut().cast()
    }
}
