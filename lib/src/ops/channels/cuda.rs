//! Copies of channels on the GPU.

use cudarc::driver::DeviceSlice;
use dfdx::prelude::Cuda;

use super::{ChannelsKernel, Part, check};
use crate::error::Result;
use crate::ops::cuda::{CudaBuffer, Module, each};

const MODULE: Module = Module {
    name: "rebit_channels",
    ptx: include_str!("channels.ptx"),
    kernels: &["rebit_copy_channels"],
};

impl ChannelsKernel for Cuda {
    fn copy_channels(
        &self,
        channels: usize,
        from: Part,
        x: &CudaBuffer,
        to: Part,
        y: &mut CudaBuffer,
    ) -> Result<()> {
        launch(channels, (from, x), (to, y), false)
    }

    fn add_channels(
        &self,
        channels: usize,
        from: Part,
        x: &CudaBuffer,
        to: Part,
        y: &mut CudaBuffer,
    ) -> Result<()> {
        launch(channels, (from, x), (to, y), true)
    }
}

fn launch(
    channels: usize,
    (from, x): (Part, &CudaBuffer),
    (to, y): (Part, &mut CudaBuffer),
    add: bool,
) -> Result<()> {
    let n = check(channels, from, x.len(), to, y.len())? * channels;
    let [from, to] = [from, to].map(|p| (p.of as u32, p.start as u32));
    let arguments = (n, channels as u32, from.0, from.1, x, to.0, to.1, y, add);
    // SAFETY: the kernel's arguments; `check` found both parts inside the pixels of their buffers.
    unsafe { MODULE.launch(&x.device(), "rebit_copy_channels", each(n), arguments) }
}
