//! Batch normalisation on the GPU: sums over chunks of rows, then one pass over memory.

use cudarc::driver::{DeviceRepr, DeviceSlice};
use dfdx::prelude::Cuda;

use super::cpu::{check_forward, check_grad};
use super::{BatchNormKernel, NormGrads, NormInput, NormSaved, NormShape};
use crate::error::Result;
use crate::ops::cuda::{Chunks, CudaBuffer, Module, Scratch, address, columns, each, room};

const MODULE: Module = Module {
    name: "rebit_batch_norm2d",
    ptx: include_str!("batch_norm2d.ptx"),
    kernels: &[
        "rebit_moments",
        "rebit_moments_end",
        "rebit_normalise",
        "rebit_norm_sums",
        "rebit_norm_sums_end",
        "rebit_norm_grad",
    ],
};

/// `NormGrad` of batch_norm2d.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Passed {
    z: u64,
    g: u64,
    gamma: u64,
    mean: u64,
    var: u64,
    dgamma: u64,
    dbeta: u64,
    eps: f32,
    pixels: f32,
    batch_statistics: bool,
}

// SAFETY: the fields of the struct in batch_norm2d.cu, in its order and layout.
unsafe impl DeviceRepr for Passed {}

/// Two sums for each channel and chunk.
fn partial_sums(s: NormShape, chunks: Chunks, of: &CudaBuffer) -> Result<Scratch<f64>> {
    room(&of.device(), 2 * chunks.count * s.channels)
}

fn gradient(
    s: NormShape,
    batch_statistics: bool,
    saved: NormSaved<CudaBuffer>,
    grads: NormGrads<CudaBuffer>,
) -> Result<()> {
    check_grad(s, &saved, &grads, |b| b.len())?;
    let NormSaved {
        z,
        y,
        gamma,
        mean,
        var,
        eps,
        act,
    } = saved;
    let NormGrads {
        dy,
        dz,
        dgamma,
        dbeta,
    } = grads;
    let (device, channels) = (z.device(), s.channels as u32);
    let chunks = Chunks::new(s.pixels);
    let mut partial = partial_sums(s, chunks, z)?;
    let (low, high) = act.corners();
    let arguments = (
        s.pixels,
        channels,
        chunks.rows,
        z,
        y,
        mean,
        var,
        eps,
        low,
        high,
        &mut *dy,
        &mut partial,
    );
    let grid = chunks.grid(s.channels, 1);
    // SAFETY: the kernel's arguments; `check` compared the lengths, `partial` has two numbers a channel and chunk.
    unsafe { MODULE.launch(&device, "rebit_norm_sums", grid, arguments)? };
    let count = chunks.count as u32;
    let arguments = (channels, count, &partial, &mut *dgamma, &mut *dbeta);
    // SAFETY: as above.
    unsafe {
        MODULE.launch(
            &device,
            "rebit_norm_sums_end",
            columns(s.channels),
            arguments,
        )?
    };
    let all = Passed {
        z: address(z),
        g: address(dy),
        gamma: address(gamma),
        mean: address(mean),
        var: address(var),
        dgamma: address(dgamma),
        dbeta: address(dbeta),
        eps,
        pixels: s.pixels as f32,
        batch_statistics,
    };
    let n = s.pixels * s.channels;
    // SAFETY: as above.
    unsafe { MODULE.launch(&device, "rebit_norm_grad", each(n), (n, channels, all, dz)) }
}

/// Mean and biased variance of each channel; the lengths were checked.
pub(crate) fn moments(
    s: NormShape,
    z: &CudaBuffer,
    mean: &mut CudaBuffer,
    var: &mut CudaBuffer,
) -> Result<()> {
    let (device, channels) = (z.device(), s.channels as u32);
    let chunks = Chunks::new(s.pixels);
    let mut partial = partial_sums(s, chunks, z)?;
    let arguments = (s.pixels, channels, chunks.rows, z, &mut partial);
    let grid = chunks.grid(s.channels, 1);
    // SAFETY: the kernel's arguments; the callers compared the lengths, `partial` has two numbers a channel and chunk.
    unsafe { MODULE.launch(&device, "rebit_moments", grid, arguments)? };
    let count = chunks.count as u32;
    let arguments = (s.pixels, channels, count, z, &partial, mean, var);
    // SAFETY: as above.
    unsafe { MODULE.launch(&device, "rebit_moments_end", columns(s.channels), arguments) }
}

/// `y` from statistics; the lengths were checked.
fn normalise(
    s: NormShape,
    input: NormInput<CudaBuffer>,
    mean: &CudaBuffer,
    var: &CudaBuffer,
    y: &mut CudaBuffer,
) -> Result<()> {
    let NormInput {
        z,
        gamma,
        beta,
        eps,
        residual,
        act,
    } = input;
    let n = s.pixels * s.channels;
    let (low, high) = act.bounds();
    let residual = residual.map_or(0, address);
    let channels = s.channels as u32;
    let arguments = (
        n, channels, z, gamma, beta, mean, var, eps, residual, low, high, y,
    );
    // SAFETY: the kernel's arguments; the callers compared the lengths.
    unsafe { MODULE.launch(&z.device(), "rebit_normalise", each(n), arguments) }
}

impl BatchNormKernel for Cuda {
    fn batch_norm_train(
        &self,
        s: NormShape,
        input: NormInput<CudaBuffer>,
        y: &mut CudaBuffer,
        mean: &mut CudaBuffer,
        var: &mut CudaBuffer,
    ) -> Result<()> {
        check_forward(s, input, (mean, var), y, |b| b.len())?;
        moments(s, input.z, mean, var)?;
        normalise(s, input, mean, var, y)
    }

    fn batch_norm_infer(
        &self,
        s: NormShape,
        input: NormInput<CudaBuffer>,
        mean: &CudaBuffer,
        var: &CudaBuffer,
        y: &mut CudaBuffer,
    ) -> Result<()> {
        check_forward(s, input, (mean, var), y, |b| b.len())?;
        normalise(s, input, mean, var, y)
    }

    fn batch_norm_grad(
        &self,
        s: NormShape,
        saved: NormSaved<CudaBuffer>,
        grads: NormGrads<CudaBuffer>,
    ) -> Result<()> {
        gradient(s, true, saved, grads)
    }

    fn batch_norm_infer_grad(
        &self,
        s: NormShape,
        saved: NormSaved<CudaBuffer>,
        grads: NormGrads<CudaBuffer>,
    ) -> Result<()> {
        gradient(s, false, saved, grads)
    }
}
