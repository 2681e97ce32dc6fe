//! Chooses between the dense gradient and that of the free entries on the CPU: their bits are the same.

use dfdx::tensor::Cpu;

use super::{FreezeMask, MaskedGradKernel};
use crate::error::Result;
use crate::ops::conv2d::cpu::{self, Input, Level, WeightGrads, check_len, slices};
use crate::ops::conv2d::{ConvInput, ConvShape};
use crate::tensors::CpuBuffer;

mod entries;
#[cfg(target_arch = "x86_64")]
mod gathered;
mod lanes;
#[cfg(target_arch = "x86_64")]
mod permute;
mod planes;
mod products;
mod remembered;
mod transpose;
mod tune;
#[cfg(target_arch = "x86_64")]
mod vectors;

/// How to compute the free entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// Everything, then zeros into the frozen entries.
    Dense,
    /// The free entries, a chunk of pixels in each lane.
    Lanes,
    /// Sixteen free entries at a time, brought together by permutations; where there are none, as [`Self::Lanes`].
    Gathered,
}

/// The masked gradient on slices.
pub(crate) fn grad_weight_masked(
    level: Level,
    method: Option<Method>,
    s: &ConvShape,
    input: Input,
    dy: &[f32],
    frozen: &FreezeMask,
    grads: WeightGrads,
) -> Result<()> {
    s.check()?;
    let s = &s.with_stride_used();
    check_len("masked gradient: freeze mask", s.weight_len(), frozen.len())?;
    if frozen.frozen() == 0 {
        return cpu::grad_weight(level, s, input, dy, grads);
    }
    check_len("masked gradient: input", s.input_len(), input.x.len())?;
    check_len("masked gradient: output gradient", s.output_len(), dy.len())?;
    check_len(
        "masked gradient: weight gradient",
        s.weight_len(),
        grads.dw.len(),
    )?;
    if let Some(b) = &grads.dbias {
        check_len("masked gradient: bias gradient", s.out_channels, b.len())?;
    }
    // A depthwise filter reuses nothing, so there is nothing to lose by the dense product, and it is vectorised.
    let depthwise = s.groups > 1 && s.groups == s.in_channels;
    let method = match method {
        _ if frozen.free() == 0 => Method::Lanes,
        _ if depthwise => Method::Dense,
        Some(method) => method,
        None => tune::choose(level, s, input, dy, frozen)?,
    };
    grad_weight_by(method, level, s, input, dy, frozen, grads)
}

/// [`grad_weight_masked`] of what was checked.
fn grad_weight_by(
    method: Method,
    level: Level,
    s: &ConvShape,
    input: Input,
    dy: &[f32],
    frozen: &FreezeMask,
    grads: WeightGrads,
) -> Result<()> {
    match method {
        Method::Dense => {
            let WeightGrads { dw, dbias } = grads;
            let all = WeightGrads {
                dw: &mut *dw,
                dbias,
            };
            cpu::grad_weight(level, s, input, dy, all)?;
            frozen.clear_frozen(dw);
        }
        #[cfg(target_arch = "x86_64")]
        Method::Gathered if gathered::available(level) => {
            gathered::run(level, s, input, dy, frozen, grads);
        }
        Method::Lanes | Method::Gathered => lanes::run(level, s, input, dy, frozen, grads),
    }
    Ok(())
}

impl MaskedGradKernel for Cpu {
    fn conv2d_grad_weight_masked(
        &self,
        s: &ConvShape,
        x: ConvInput<CpuBuffer>,
        dy: &CpuBuffer,
        frozen: &FreezeMask,
        dw: &mut CpuBuffer,
        dbias: Option<&mut CpuBuffer>,
    ) -> Result<()> {
        let dbias = dbias.map(|b| b.as_mut_slice());
        let grads = WeightGrads { dw, dbias };
        grad_weight_masked(Level::of_process(), None, s, slices(x), dy, frozen, grads)
    }
}
