//! The LTS weight quantiser on the GPU: one pass over the weight and its state each way.
//!
//! The frozen bits of a layer live on the host, where other rules of freezing set them too: they cross the bus with every
//! call, one byte an entry.

use cudarc::driver::DeviceSlice;
use dfdx::prelude::{Cuda, Storage};

use super::{LtsCounts, LtsState, LtsStep, LtsWeightKernel};
use crate::error::Result;
use crate::ops::cuda::{
    CudaBuffer, Module, add_blocks, address, copy_to, download, driver_error, each, room, summing,
    upload, zeros,
};
use crate::ops::fake_quant::cuda::Quantiser;
use crate::ops::fake_quant::{BoundGrad, FakeQuant};
use crate::ops::parallel::expect_len;

const MODULE: Module = Module {
    name: "rebit_lts_weight",
    ptx: include_str!("lts_weight.ptx"),
    kernels: &[
        "rebit_lts_train",
        "rebit_lts_evaluate",
        "rebit_lts_grad",
        "rebit_lts_restore",
    ],
};

fn check(op: &'static str, f: FakeQuant, state: &LtsState<CudaBuffer>, len: usize) -> Result<()> {
    f.check()?;
    expect_len(op, "state.distance", len, state.distance.len())?;
    expect_len(op, "state.previous", len, state.previous.len())?;
    expect_len(op, "state.frozen", len, state.frozen.len())?;
    expect_len(op, "state.saved", len, state.saved.len())
}

impl LtsWeightKernel for Cuda {
    fn lts_state(&self, len: usize) -> Result<LtsState<CudaBuffer>> {
        let mut previous = <Cuda as Storage<f32>>::try_alloc_len(self, len)?;
        if len > 0 {
            let device = previous.device();
            device
                .htod_sync_copy_into(&vec![f32::NAN; len], &mut previous)
                .map_err(driver_error)?;
        }
        Ok(LtsState {
            distance: <Cuda as Storage<f32>>::try_alloc_len(self, len)?,
            previous,
            frozen: vec![false; len],
            saved: <Cuda as Storage<f32>>::try_alloc_len(self, len)?,
        })
    }

    fn lts_weight_forward(
        &self,
        w: &CudaBuffer,
        f: FakeQuant,
        step: Option<LtsStep>,
        state: &mut LtsState<CudaBuffer>,
        y: &mut CudaBuffer,
    ) -> Result<LtsCounts> {
        let n = w.len();
        check("lts_weight", f, state, n)?;
        expect_len("lts_weight", "y", n, y.len())?;
        if let Some(step) = step {
            step.check()?;
        }
        if n == 0 {
            return Ok(LtsCounts::default());
        }
        let (device, q) = (w.device(), Quantiser::from(f));
        let Some(step) = step else {
            let frozen = upload(&device, &state.frozen)?;
            let arguments = (n, w, q, &frozen, &state.saved, y);
            // SAFETY: the kernel's arguments; all buffers have `n` elements.
            unsafe { MODULE.launch(&device, "rebit_lts_evaluate", each(n), arguments)? };
            return Ok(LtsCounts {
                frozen: state.frozen.iter().filter(|f| **f).count(),
                ..LtsCounts::default()
            });
        };
        // The counts lie behind the frozen bytes, so that one copy brings both back.
        let behind = n.next_multiple_of(size_of::<u32>());
        let mut result = zeros::<u8>(&device, behind + 3 * size_of::<u32>())?;
        let bytes: Vec<u8> = state.frozen.iter().map(|f| u8::from(*f)).collect();
        copy_to(&device, &bytes, &mut result)?;
        let (frozen, counts) = (address(&result), address(&result) + behind as u64);
        // Distances are at least 0: a negative limit is never met.
        let limit = step.threshold.map_or(-1.0, |rate| rate * f.step());
        let arguments = (
            n,
            w,
            q,
            step.momentum,
            f.step(),
            limit,
            &mut state.distance,
            &mut state.previous,
            frozen,
            &mut state.saved,
            y,
            counts,
        );
        // SAFETY: the kernel's arguments; the buffers have `n` elements, `result` as many bytes and three counts.
        unsafe { MODULE.launch(&device, "rebit_lts_train", each(n), arguments)? };
        let result = download(&device, &result)?;
        for (frozen, byte) in state.frozen.iter_mut().zip(&result) {
            *frozen = *byte != 0;
        }
        let mut counts = result[behind..].chunks_exact(size_of::<u32>()).map(|c| {
            let bytes = c.try_into().expect("chunks of four");
            u32::from_ne_bytes(bytes) as usize
        });
        let mut count = || counts.next().unwrap_or_default();
        Ok(LtsCounts {
            frozen: count(),
            newly_frozen: count(),
            flipped: count(),
        })
    }

    fn lts_weight_grad(
        &self,
        w: &CudaBuffer,
        f: FakeQuant,
        state: &LtsState<CudaBuffer>,
        dy: &CudaBuffer,
        dw: &mut CudaBuffer,
        accumulate: bool,
    ) -> Result<BoundGrad> {
        let n = w.len();
        check("lts_weight_grad", f, state, n)?;
        expect_len("lts_weight_grad", "dy", n, dy.len())?;
        expect_len("lts_weight_grad", "dw", n, dw.len())?;
        if n == 0 {
            return Ok(f.bound_grad([]));
        }
        let (device, grid, q) = (w.device(), summing(n), Quantiser::from(f));
        let frozen = upload(&device, &state.frozen)?;
        let mut partial = room::<f64>(&device, 2 * grid.grid_dim.0 as usize)?;
        let saved = &state.saved;
        let arguments = (n, w, q, &frozen, saved, dy, dw, accumulate, &mut partial);
        // SAFETY: the kernel's arguments; the buffers have `n` elements, `partial` two for each block.
        unsafe { MODULE.launch(&device, "rebit_lts_grad", grid, arguments)? };
        let [sum, sum_n] = add_blocks(&device, &partial)?;
        Ok(f.bound_grad([(sum, sum_n)]))
    }

    fn lts_restore(&self, state: &LtsState<CudaBuffer>, w: &mut CudaBuffer) -> Result<()> {
        let n = w.len();
        expect_len("lts_restore", "state.frozen", n, state.frozen.len())?;
        expect_len("lts_restore", "state.saved", n, state.saved.len())?;
        if n == 0 {
            return Ok(());
        }
        let device = w.device();
        let frozen = upload(&device, &state.frozen)?;
        let arguments = (n, &frozen, &state.saved, w);
        // SAFETY: the kernel's arguments; all buffers have `n` elements.
        unsafe { MODULE.launch(&device, "rebit_lts_restore", each(n), arguments) }
    }
}
