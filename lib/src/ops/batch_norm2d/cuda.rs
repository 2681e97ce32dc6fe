//! Batch normalisation on the GPU: sums over chunks of rows, then one pass over memory.

use cudarc::driver::{CudaSlice, DeviceRepr, DeviceSlice};
use dfdx::prelude::Cuda;

use super::cpu::check;
use super::{BatchNormKernel, NormShape};
use crate::error::Result;
use crate::ops::cuda::{Chunks, CudaBuffer, Module, address, each, zeros};
use crate::ops::relu::Activation;

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
struct NormGrad {
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
unsafe impl DeviceRepr for NormGrad {}

/// Two sums for each channel and chunk.
fn partial_sums(s: NormShape, chunks: Chunks, of: &CudaBuffer) -> Result<CudaSlice<f64>> {
    zeros(&of.device(), 2 * chunks.count * s.channels)
}

#[allow(clippy::too_many_arguments)]
fn gradient(
    s: NormShape,
    batch_statistics: bool,
    z: &CudaBuffer,
    y: &CudaBuffer,
    gamma: &CudaBuffer,
    mean: &CudaBuffer,
    var: &CudaBuffer,
    eps: f32,
    act: Activation,
    dy: &mut CudaBuffer,
    dz: &mut CudaBuffer,
    dgamma: &mut CudaBuffer,
    dbeta: &mut CudaBuffer,
) -> Result<()> {
    check(
        s,
        &[
            ("z", z.len()),
            ("y", y.len()),
            ("dy", dy.len()),
            ("dz", dz.len()),
        ],
        &[
            ("gamma", gamma.len()),
            ("mean", mean.len()),
            ("var", var.len()),
            ("dgamma", dgamma.len()),
            ("dbeta", dbeta.len()),
        ],
    )?;
    let (device, channels) = (z.device(), s.channels as u32);
    let chunks = Chunks::new(s.pixels);
    let mut partial = partial_sums(s, chunks, z)?;
    // Corners that are NaN hide nothing: without an activation an infinite output has a gradient too.
    let (low, high) = match act {
        Activation::None => (f32::NAN, f32::NAN),
        act => act.bounds(),
    };
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
    unsafe { MODULE.launch(&device, "rebit_norm_sums_end", each(s.channels), arguments)? };
    let all = NormGrad {
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

impl BatchNormKernel for Cuda {
    fn batch_norm_train(
        &self,
        s: NormShape,
        z: &CudaBuffer,
        gamma: &CudaBuffer,
        beta: &CudaBuffer,
        eps: f32,
        residual: Option<&CudaBuffer>,
        act: Activation,
        y: &mut CudaBuffer,
        mean: &mut CudaBuffer,
        var: &mut CudaBuffer,
    ) -> Result<()> {
        check(
            s,
            &[("z", z.len())],
            &[("mean", mean.len()), ("var", var.len())],
        )?;
        let (device, channels) = (z.device(), s.channels as u32);
        let chunks = Chunks::new(s.pixels);
        let mut partial = partial_sums(s, chunks, z)?;
        let arguments = (s.pixels, channels, chunks.rows, z, &mut partial);
        let grid = chunks.grid(s.channels, 1);
        // SAFETY: the kernel's arguments; `check` compared the lengths, `partial` has two numbers a channel and chunk.
        unsafe { MODULE.launch(&device, "rebit_moments", grid, arguments)? };
        let count = chunks.count as u32;
        let arguments = (
            s.pixels, channels, count, z, &partial, &mut *mean, &mut *var,
        );
        // SAFETY: as above.
        unsafe { MODULE.launch(&device, "rebit_moments_end", each(s.channels), arguments)? };
        self.batch_norm_infer(s, z, gamma, beta, mean, var, eps, residual, act, y)
    }

    fn batch_norm_infer(
        &self,
        s: NormShape,
        z: &CudaBuffer,
        gamma: &CudaBuffer,
        beta: &CudaBuffer,
        mean: &CudaBuffer,
        var: &CudaBuffer,
        eps: f32,
        residual: Option<&CudaBuffer>,
        act: Activation,
        y: &mut CudaBuffer,
    ) -> Result<()> {
        let residual_len = residual.map_or(z.len(), |r| r.len());
        check(
            s,
            &[("z", z.len()), ("y", y.len()), ("residual", residual_len)],
            &[
                ("gamma", gamma.len()),
                ("beta", beta.len()),
                ("mean", mean.len()),
                ("var", var.len()),
            ],
        )?;
        let n = s.pixels * s.channels;
        let (low, high) = act.bounds();
        let residual = residual.map_or(0, address);
        let channels = s.channels as u32;
        let arguments = (
            n, channels, z, gamma, beta, mean, var, eps, residual, low, high, y,
        );
        // SAFETY: the kernel's arguments; `check` compared the lengths.
        unsafe { MODULE.launch(&z.device(), "rebit_normalise", each(n), arguments) }
    }

    fn batch_norm_grad(
        &self,
        s: NormShape,
        z: &CudaBuffer,
        y: &CudaBuffer,
        gamma: &CudaBuffer,
        mean: &CudaBuffer,
        var: &CudaBuffer,
        eps: f32,
        act: Activation,
        dy: &mut CudaBuffer,
        dz: &mut CudaBuffer,
        dgamma: &mut CudaBuffer,
        dbeta: &mut CudaBuffer,
    ) -> Result<()> {
        gradient(
            s, true, z, y, gamma, mean, var, eps, act, dy, dz, dgamma, dbeta,
        )
    }

    fn batch_norm_infer_grad(
        &self,
        s: NormShape,
        z: &CudaBuffer,
        y: &CudaBuffer,
        gamma: &CudaBuffer,
        mean: &CudaBuffer,
        var: &CudaBuffer,
        eps: f32,
        act: Activation,
        dy: &mut CudaBuffer,
        dz: &mut CudaBuffer,
        dgamma: &mut CudaBuffer,
        dbeta: &mut CudaBuffer,
    ) -> Result<()> {
        gradient(
            s, false, z, y, gamma, mean, var, eps, act, dy, dz, dgamma, dbeta,
        )
    }
}
