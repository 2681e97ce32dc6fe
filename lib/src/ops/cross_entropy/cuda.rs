//! Cross entropy on the GPU.

use cudarc::driver::DeviceSlice;
use dfdx::prelude::Cuda;

use super::CrossEntropyKernel;
use super::cpu::check;
use crate::error::Result;
use crate::ops::cuda::{CudaBuffer, Module, address, blocks, download, room, upload};

const MODULE: Module = Module {
    name: "rebit_cross_entropy",
    ptx: include_str!("cross_entropy.ptx"),
    kernels: &["rebit_cross_entropy"],
};

/// Samples of a block: one for each of its warps.
const SAMPLES: usize = 4;

impl CrossEntropyKernel for Cuda {
    fn cross_entropy(
        &self,
        samples: usize,
        classes: usize,
        logits: &CudaBuffer,
        labels: &[u32],
        smoothing: f32,
        dlogits: Option<&mut CudaBuffer>,
    ) -> Result<f32> {
        let gradient_len = dlogits.as_ref().map(|d| d.len());
        check(
            samples,
            classes,
            logits.len(),
            labels,
            smoothing,
            gradient_len,
        )?;
        let device = logits.device();
        let labels = upload(&device, labels)?;
        let mut losses = room::<f64>(&device, samples)?;
        let dlogits = dlogits.map_or(0, |d| address(d));
        let arguments = (
            samples,
            classes,
            logits,
            &labels,
            smoothing,
            1.0 / samples as f32,
            dlogits,
            &mut losses,
        );
        let grid = blocks((samples.div_ceil(SAMPLES), 1, 1), (32 * SAMPLES, 1));
        // SAFETY: the kernel's arguments; `check` compared all lengths and labels with samples and classes.
        unsafe { MODULE.launch(&device, "rebit_cross_entropy", grid, arguments)? };
        let sum: f64 = download(&device, &losses)?.iter().sum();
        Ok((sum / samples as f64) as f32)
    }
}
