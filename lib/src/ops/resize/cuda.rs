//! Resizing on the GPU: one pass along each axis.

use std::sync::Arc;

use cudarc::driver::{CudaDevice, DevicePtr, DeviceSlice};
use dfdx::prelude::Cuda;

use super::{ResizeKernel, ResizeShape, Taps};
use crate::error::Result;
use crate::ops::cuda::{CudaBuffer, Module, address, each, room, upload};
use crate::ops::parallel::expect_len;

const MODULE: Module = Module {
    name: "rebit_resize",
    ptx: include_str!("resize.ptx"),
    kernels: &["rebit_resize_axis"],
};

/// For each output of an axis the inputs it reads and their weights.
struct Lists {
    start: Vec<u32>,
    index: Vec<u32>,
    weight: Vec<f32>,
}

impl Lists {
    fn new(of: impl Iterator<Item = Vec<(usize, f32)>>) -> Self {
        let (mut start, mut index, mut weight) = (vec![0], Vec::new(), Vec::new());
        for pairs in of {
            index.extend(pairs.iter().map(|(i, _)| *i as u32));
            weight.extend(pairs.iter().map(|(_, w)| *w));
            start.push(index.len() as u32);
        }
        Lists {
            start,
            index,
            weight,
        }
    }

    fn forward(taps: &Taps, to: usize) -> Self {
        Lists::new((0..to).map(|i| taps.of(i).collect()))
    }

    /// The same pairs sorted by input, for the gradient; within one in the order in which the CPU adds them.
    fn backward(taps: &Taps, (from, to): (usize, usize)) -> Self {
        let mut turned = vec![Vec::new(); from];
        for output in 0..to {
            for (input, weight) in taps.of(output) {
                turned[input].push((output, weight));
            }
        }
        Lists::new(turned.into_iter())
    }

    /// `y` (outer, to, inner) from `x` (outer, from, inner).
    fn apply(
        &self,
        device: &Arc<CudaDevice>,
        (outer, from, inner): (usize, usize, usize),
        x: &impl DevicePtr<f32>,
        y: &impl DevicePtr<f32>,
    ) -> Result<()> {
        let to = self.start.len() - 1;
        let n = outer * to * inner;
        let (start, index) = (upload(device, &self.start)?, upload(device, &self.index)?);
        let weight = upload(device, &self.weight)?;
        let (from, to, inner) = (from as u32, to as u32, inner as u32);
        let (x, y) = (address(x), address(y));
        let arguments = (n, from, to, inner, &start, &index, &weight, x, y);
        // SAFETY: the kernel's arguments; indices lie below `from`, and the callers checked the lengths.
        unsafe { MODULE.launch(device, "rebit_resize_axis", each(n), arguments) }
    }
}

impl ResizeKernel for Cuda {
    fn resize_forward(&self, s: ResizeShape, x: &CudaBuffer, y: &mut CudaBuffer) -> Result<()> {
        s.check()?;
        expect_len("resize", "x", s.in_len(), x.len())?;
        expect_len("resize", "y", s.out_len(), y.len())?;
        if s.batch * s.channels == 0 {
            return Ok(());
        }
        let (device, [h, w]) = (x.device(), [(s.from.0, s.to.0), (s.from.1, s.to.1)]);
        let middle = room::<f32>(&device, s.batch * h.1 * w.0 * s.channels)?;
        let rows = (s.batch, h.0, w.0 * s.channels);
        let (by_row, by_column) = s.taps();
        Lists::forward(&by_row, h.1).apply(&device, rows, x, &middle)?;
        Lists::forward(&by_column, w.1).apply(&device, (s.batch * h.1, w.0, s.channels), &middle, y)
    }

    fn resize_grad(&self, s: ResizeShape, dy: &CudaBuffer, dx: &mut CudaBuffer) -> Result<()> {
        s.check()?;
        expect_len("resize_grad", "dy", s.out_len(), dy.len())?;
        expect_len("resize_grad", "dx", s.in_len(), dx.len())?;
        if s.batch * s.channels == 0 {
            return Ok(());
        }
        let (device, [h, w]) = (dy.device(), [(s.from.0, s.to.0), (s.from.1, s.to.1)]);
        let middle = room::<f32>(&device, s.batch * h.1 * w.0 * s.channels)?;
        let columns = (s.batch * h.1, w.1, s.channels);
        let (by_row, by_column) = s.taps();
        Lists::backward(&by_column, w).apply(&device, columns, dy, &middle)?;
        let rows = (s.batch, h.1, w.0 * s.channels);
        Lists::backward(&by_row, h).apply(&device, rows, &middle, dx)
    }
}
