//! Convolution on the GPU: implicit matrix products by tiles, and direct kernels where every group has one channel.

use std::sync::Arc;

use cudarc::driver::{CudaDevice, DeviceRepr, DeviceSlice, LaunchConfig};
use dfdx::prelude::{Cuda, Storage};

use super::cpu::check_len;
use super::{ActQuant, ActQuantGrad, Conv2dKernel, ConvInput, ConvShape, GradTo};
use crate::error::{Error, Result};
use crate::ops::cuda::{
    Chunks, CudaBuffer, DEEPEST, Module, Scratch, add_blocks, address, blocks, clear, columns,
    each, room, summing, upload,
};
use crate::ops::masked_grad::FreezeMask;

const MODULE: Module = Module {
    name: "rebit_conv2d",
    ptx: include_str!("conv2d.ptx"),
    kernels: &[
        "rebit_conv_wide",
        "rebit_conv_medium",
        "rebit_conv_narrow",
        "rebit_conv_grad_input_wide",
        "rebit_conv_grad_input_medium",
        "rebit_conv_grad_input_narrow",
        "rebit_conv_grad_weight_wide",
        "rebit_conv_grad_weight_flat",
        "rebit_conv_add_chunks",
        "rebit_conv_bias",
        "rebit_conv_bias_end",
        "rebit_conv_depthwise",
        "rebit_conv_depthwise_grad_input",
        "rebit_conv_depthwise_grad_weight",
    ],
};

/// A tile of pixels times channels, as in conv2d.cu; all have 128 threads.
struct PixelTile {
    /// End of the kernels' names.
    kind: usize,
    pixels: usize,
    channels: usize,
}

impl PixelTile {
    const THREADS: usize = 128;

    /// The smallest that holds `channels`.
    fn of(channels: usize) -> Self {
        let (kind, pixels, channels) = match channels {
            0..=16 => (0, 128, 16),
            17..=32 => (1, 128, 32),
            _ => (2, 64, 64),
        };
        PixelTile {
            kind,
            pixels,
            channels,
        }
    }

    fn grid(&self, pixels: usize, channels: usize, groups: usize) -> LaunchConfig {
        let tiles = (
            pixels.div_ceil(self.pixels),
            channels.div_ceil(self.channels),
        );
        blocks((tiles.0, tiles.1, groups), (Self::THREADS, 1))
    }
}

/// `Conv` of conv.cuh.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Conv {
    batch: u32,
    in_h: u32,
    in_w: u32,
    in_c: u32,
    out_h: u32,
    out_w: u32,
    out_c: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride: u32,
    padding: u32,
    dilation: u32,
    groups: u32,
}

// SAFETY: thirteen numbers in the order of the struct in conv.cuh.
unsafe impl DeviceRepr for Conv {}

impl Conv {
    /// # Errors
    /// As [`ConvShape::check`]; [`Error::Invalid`] for more groups than a grid reaches.
    pub(crate) fn new(s: &ConvShape) -> Result<Self> {
        s.check()?;
        let s = &s.with_stride_used();
        let (h, w) = (s.in_h + 2 * s.padding, s.in_w + 2 * s.padding);
        if h.max(w).saturating_add(s.stride) > i32::MAX as usize {
            return Err(Error::invalid(
                format!("conv2d of a padded image of {h}x{w}"),
                "the GPU counts pixels of a row up to 2^31",
            ));
        }
        // Groups and taps are extents of grids; neither grows with the data.
        let most = DEEPEST as usize;
        if s.groups > most && !depthwise(s) {
            return Err(Error::invalid(
                format!("conv2d groups = {}", s.groups),
                "the GPU computes at most 65535 groups of more than one channel",
            ));
        }
        let pixels = (s.batch * s.in_h * s.in_w).max(out_pixels(s));
        if pixels > i32::MAX as usize {
            return Err(Error::invalid(
                format!("conv2d of {pixels} pixels"),
                "the GPU counts pixels up to 2^31; take smaller batches",
            ));
        }
        if s.kernel.0 * s.kernel.1 > most && depthwise(s) {
            return Err(Error::invalid(
                format!("conv2d kernel = {:?}", s.kernel),
                "the GPU computes depthwise kernels of at most 65535 taps",
            ));
        }
        Ok(Conv {
            batch: s.batch as u32,
            in_h: s.in_h as u32,
            in_w: s.in_w as u32,
            in_c: s.in_channels as u32,
            out_h: s.out_h() as u32,
            out_w: s.out_w() as u32,
            out_c: s.out_channels as u32,
            kernel_h: s.kernel.0 as u32,
            kernel_w: s.kernel.1 as u32,
            stride: s.stride as u32,
            padding: s.padding as u32,
            dilation: s.dilation as u32,
            groups: s.groups as u32,
        })
    }
}

/// `ActQuant` of conv.cuh.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Quantiser {
    lower: f32,
    scale: f32,
    levels: f32,
    step: f32,
    on: u32,
}

// SAFETY: the fields of the struct in conv.cuh, in its order.
unsafe impl DeviceRepr for Quantiser {}

impl From<Option<ActQuant>> for Quantiser {
    fn from(quant: Option<ActQuant>) -> Self {
        quant.map_or(Quantiser::default(), |q| Quantiser {
            lower: q.lower,
            scale: 1.0 / (q.upper - q.lower),
            levels: q.levels as f32,
            step: 1.0 / q.levels as f32,
            on: 1,
        })
    }
}

/// `Into` of conv2d.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Into {
    x: u64,
    quant: Quantiser,
    dx: u64,
    accumulate: bool,
}

// SAFETY: the fields of the struct in conv2d.cu, in its order and layout.
unsafe impl DeviceRepr for Into {}

fn depthwise(s: &ConvShape) -> bool {
    s.groups > 1 && s.groups == s.in_channels && s.groups == s.out_channels
}

/// Tiles of a weight's gradient within the groups: rows are output channels, columns taps and input channels.
struct Tiles {
    kernel: &'static str,
    threads: usize,
    rows: usize,
    side: usize,
    columns: usize,
    /// Blocks to spread a gradient over, by cutting its pixels into chunks: so many run at once on a large GPU.
    blocks: usize,
}

impl Tiles {
    fn new(s: &ConvShape) -> Self {
        let outs = s.out_channels / s.groups;
        let (kernel, threads, side, blocks) = match outs {
            ..=32 => ("rebit_conv_grad_weight_flat", 64, 16, 1536),
            _ => ("rebit_conv_grad_weight_wide", 128, 64, 768),
        };
        Tiles {
            kernel,
            threads,
            rows: outs.div_ceil(side),
            side,
            columns: filter_len(s).div_ceil(64),
            blocks,
        }
    }

    fn count(&self, s: &ConvShape) -> usize {
        s.groups * self.rows * self.columns
    }

    /// The tile of entry `k` of the weight.
    fn of(&self, s: &ConvShape, k: usize) -> usize {
        let (outs, per_group) = (s.out_channels / s.groups, s.in_channels / s.groups);
        let taps = s.kernel.0 * s.kernel.1;
        let (o, within) = (k / filter_len(s), k % filter_len(s));
        let column = within % taps * per_group + within / taps;
        (o / outs * self.rows + o % outs / self.side) * self.columns + column / 64
    }

    /// All tiles with a free entry.
    fn active(&self, s: &ConvShape, frozen: &FreezeMask) -> Vec<u32> {
        let count = self.count(s);
        let mut used = vec![false; count];
        frozen.for_each_free(|k| used[self.of(s, k)] = true);
        (0..count as u32).filter(|t| used[*t as usize]).collect()
    }
}

fn filter_len(s: &ConvShape) -> usize {
    s.weight_len() / s.out_channels
}

fn out_pixels(s: &ConvShape) -> usize {
    s.batch * s.out_h() * s.out_w()
}

/// `dbias = sum over pixels of dy`.
pub(crate) fn grad_bias(s: &ConvShape, dy: &CudaBuffer, dbias: &mut CudaBuffer) -> Result<()> {
    check_len("conv2d bias gradient", s.out_channels, dbias.len())?;
    let (device, pixels, channels) = (dy.device(), out_pixels(s), s.out_channels);
    let chunks = Chunks::new(pixels);
    let mut partial = room::<f64>(&device, chunks.count * channels)?;
    let arguments = (pixels, channels as u32, chunks.rows, dy, &mut partial);
    // SAFETY: the kernel's arguments; `dy` has the output's elements, `partial` one number a channel and chunk.
    unsafe {
        MODULE.launch(
            &device,
            "rebit_conv_bias",
            chunks.grid(channels, 1),
            arguments,
        )?
    };
    let arguments = (channels as u32, chunks.count as u32, &partial, dbias);
    let grid = columns(channels);
    // SAFETY: as above.
    unsafe { MODULE.launch(&device, "rebit_conv_bias_end", grid, arguments) }
}

/// The gradient of the weight; with a mask, zero in frozen entries, and tiles without a free entry are not computed.
pub(crate) fn grad_weight(
    s: &ConvShape,
    ConvInput { x, quant }: ConvInput<CudaBuffer>,
    dy: &CudaBuffer,
    frozen: Option<&FreezeMask>,
    dw: &mut CudaBuffer,
) -> Result<()> {
    let (conv, q) = (Conv::new(s)?, Quantiser::from(quant));
    check_len("conv2d input", s.input_len(), x.len())?;
    check_len("conv2d output gradient", s.output_len(), dy.len())?;
    check_len("conv2d weight gradient", s.weight_len(), dw.len())?;
    let (device, pixels) = (x.device(), out_pixels(s));
    let (chunks, partial) = if depthwise(s) {
        let chunks = Chunks::new(pixels);
        let partial = room::<f32>(&device, chunks.count * s.weight_len())?;
        let grid = chunks.grid(s.out_channels, s.kernel.0 * s.kernel.1);
        let kernel = "rebit_conv_depthwise_grad_weight";
        let arguments = (conv, q, x, dy, chunks.rows, &partial);
        // SAFETY: the kernel's arguments; the lengths were checked, `partial` has a weight for each chunk.
        unsafe { MODULE.launch(&device, kernel, grid, arguments)? };
        (chunks.count, partial)
    } else {
        let tiles = Tiles::new(s);
        let active = frozen.map(|f| tiles.active(s, f));
        if active.as_ref().is_some_and(|a| a.is_empty()) {
            return clear(dw);
        }
        // By the shape alone: the bits of a gradient do not depend on the mask.
        let wanted = (tiles.blocks / tiles.count(s)).clamp(1, 256);
        let chunk = pixels.div_ceil(wanted).max(256).next_multiple_of(16);
        let count = pixels.div_ceil(chunk);
        let partial = room::<f32>(&device, count * s.weight_len())?;
        let list = active.as_ref().map(|a| upload(&device, a)).transpose()?;
        let computed = active.map_or(tiles.count(s), |a| a.len());
        let list = list.as_ref().map_or(0, address);
        let grid = blocks((computed, count, 1), (tiles.threads, 1));
        let arguments = (conv, q, x, dy, list, chunk, &partial);
        // SAFETY: as above; the list names tiles of this weight, and without one all are computed.
        unsafe { MODULE.launch(&device, tiles.kernel, grid, arguments)? };
        (count, partial)
    };
    let mask = frozen.map(|f| frozen_bytes(&device, f)).transpose()?;
    let n = s.weight_len();
    let mask = mask.as_ref().map_or(0, address);
    let arguments = (n, chunks as u32, &partial, mask, dw);
    // SAFETY: as above; the mask has the weight's length.
    unsafe { MODULE.launch(&device, "rebit_conv_add_chunks", columns(n), arguments) }
}

/// A byte for each entry: 1 where it is frozen.
fn frozen_bytes(device: &Arc<CudaDevice>, frozen: &FreezeMask) -> Result<Scratch<u8>> {
    let mut bytes = vec![1; frozen.len()];
    frozen.for_each_free(|k| bytes[k] = 0);
    upload(device, &bytes)
}

impl Conv2dKernel for Cuda {
    fn conv2d_forward(
        &self,
        s: &ConvShape,
        ConvInput { x, quant }: ConvInput<CudaBuffer>,
        w: &CudaBuffer,
        bias: Option<&CudaBuffer>,
        y: &mut CudaBuffer,
    ) -> Result<()> {
        let (conv, q) = (Conv::new(s)?, Quantiser::from(quant));
        check_len("conv2d input", s.input_len(), x.len())?;
        check_len("conv2d weight", s.weight_len(), w.len())?;
        check_len("conv2d output", s.output_len(), y.len())?;
        if let Some(b) = bias {
            check_len("conv2d bias", s.out_channels, b.len())?;
        }
        let (device, bias) = (x.device(), bias.map_or(0, address));
        if depthwise(s) {
            let n = s.output_len();
            let arguments = (n, conv, q, x, w, bias, y);
            // SAFETY: the kernel's arguments; the lengths were checked.
            return unsafe { MODULE.launch(&device, "rebit_conv_depthwise", each(n), arguments) };
        }
        let outs = s.out_channels / s.groups;
        let tile = PixelTile::of(outs);
        let kernel = ["rebit_conv_narrow", "rebit_conv_medium", "rebit_conv_wide"][tile.kind];
        let grid = tile.grid(out_pixels(s), outs, s.groups);
        // SAFETY: as above.
        unsafe { MODULE.launch(&device, kernel, grid, (conv, q, x, w, bias, y)) }
    }

    fn conv2d_grad_input(
        &self,
        s: &ConvShape,
        dy: &CudaBuffer,
        w: &CudaBuffer,
        ConvInput { x, quant }: ConvInput<CudaBuffer>,
        dx: GradTo<CudaBuffer>,
    ) -> Result<Option<ActQuantGrad>> {
        let (conv, q) = (Conv::new(s)?, Quantiser::from(quant));
        check_len("conv2d output gradient", s.output_len(), dy.len())?;
        check_len("conv2d weight", s.weight_len(), w.len())?;
        if quant.is_some() {
            check_len("conv2d input", s.input_len(), x.len())?;
        }
        // Where the bounds alone are wanted, the gradient that nobody keeps is that of a first layer's small input.
        let mut unkept = None;
        let (dx, accumulate) = match dx {
            GradTo::Overwrite(dx) => (dx, false),
            GradTo::Add(dx) => (dx, true),
            GradTo::Nowhere if quant.is_none() => return Ok(None),
            GradTo::Nowhere => {
                let dx = <Cuda as Storage<f32>>::try_alloc_len(self, s.input_len())?;
                (unkept.insert(dx), false)
            }
        };
        check_len("conv2d input gradient", s.input_len(), dx.len())?;
        let device = dy.device();
        let into = Into {
            x: address(x),
            quant: q,
            dx: address(dx),
            accumulate,
        };
        let channels = s.in_channels / s.groups;
        let pixels = s.batch * s.in_h * s.in_w;
        let n = s.input_len();
        let (kernel, grid) = if depthwise(s) {
            ("rebit_conv_depthwise_grad_input", summing(n))
        } else {
            let tile = PixelTile::of(channels);
            let kernels = [
                "rebit_conv_grad_input_narrow",
                "rebit_conv_grad_input_medium",
                "rebit_conv_grad_input_wide",
            ];
            (kernels[tile.kind], tile.grid(pixels, channels, s.groups))
        };
        let (gx, gy, gz) = grid.grid_dim;
        let sums = 2 * gx as usize * gy as usize * gz as usize;
        let partial = quant.map(|_| room::<f64>(&device, sums)).transpose()?;
        let sums = partial.as_ref().map_or(0, address);
        // SAFETY: the kernels' arguments; the lengths were checked. With a quantiser there are two sums for each block,
        // and without one neither they nor `x` are looked at.
        unsafe {
            if depthwise(s) {
                MODULE.launch(&device, kernel, grid, (n, conv, dy, w, into, sums))?;
            } else {
                MODULE.launch(&device, kernel, grid, (conv, dy, w, into, sums))?;
            }
        }
        let Some(partial) = partial else {
            return Ok(None);
        };
        let [lower, upper] = add_blocks(&device, &partial)?;
        Ok(Some(ActQuantGrad {
            lower: lower as f32,
            upper: upper as f32,
        }))
    }

    fn conv2d_grad_weight(
        &self,
        s: &ConvShape,
        x: ConvInput<CudaBuffer>,
        dy: &CudaBuffer,
        dw: &mut CudaBuffer,
        dbias: Option<&mut CudaBuffer>,
    ) -> Result<()> {
        grad_weight(s, x, dy, None, dw)?;
        dbias.map_or(Ok(()), |db| grad_bias(s, dy, db))
    }
}
