//! Chooses between the dense, the gathered and the sampled gradient on the CPU.

use dfdx::tensor::Cpu;

use super::{FreezeMask, MaskedGradKernel, SAMPLED_SHARE, SAMPLED_SHARE_POINTWISE};
use crate::error::Result;
use crate::ops::conv2d::cpu::plan::Plan;
#[cfg(target_arch = "x86_64")]
use crate::ops::conv2d::cpu::source::BLOCK;
use crate::ops::conv2d::cpu::{self, Input, Level, WeightGrads, check_len, slices};
use crate::ops::conv2d::{ConvInput, ConvShape};
use crate::tensors::CpuBuffer;

mod dots;
mod entries;
#[cfg(target_arch = "x86_64")]
mod gathered;
#[cfg(target_arch = "x86_64")]
mod permute;
mod planes;
mod sampled;
mod turn;
#[cfg(target_arch = "x86_64")]
mod vectors;

use turn::Geometry;

/// How to compute the free entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// Everything, then zeros into the frozen entries.
    Dense,
    /// Sixteen free entries at a time, brought together by permutations: chosen by its cost, named by tests.
    #[cfg_attr(not(test), allow(dead_code))]
    Gathered,
    /// One dot product for each free entry.
    Sampled,
}

/// Share of free entries above which nothing but the dense product is considered: packing would not pay, and costs time.
const GATHERED_SHARE: f64 = 0.6;
/// Time of a straight vector (see [`vectors`]), in multiply-adds of the dense product; measured.
const STRAIGHT: f64 = 1.4;

impl Method {
    /// The quicker one where no permutations are to be had.
    fn without_permutations(s: &ConvShape, frozen: &FreezeMask) -> Self {
        let share = frozen.free() as f64 / frozen.len() as f64;
        let limit = if s.kernel == (1, 1) {
            SAMPLED_SHARE_POINTWISE
        } else {
            SAMPLED_SHARE
        };
        if share > limit {
            Method::Dense
        } else {
            Method::Sampled
        }
    }
}

/// The free entries packed for [`Method::Gathered`], if that is asked for or the quickest.
#[cfg(target_arch = "x86_64")]
fn packed(
    level: Level,
    method: Option<Method>,
    s: &ConvShape,
    plan: &Plan,
    frozen: &FreezeMask,
) -> Option<vectors::Vectors> {
    if !gathered::available(level) || !matches!(method, None | Some(Method::Gathered)) {
        return None;
    }
    let asked = method.is_some();
    let share = frozen.free() as f64 / frozen.len() as f64;
    if !asked && share > GATHERED_SHARE {
        return None;
    }
    let vectors = vectors::Vectors::new(plan, frozen);
    let dense = s.groups * plan.out_per_group.div_ceil(BLOCK) * plan.src_per_group;
    let dense = (dense * s.kernel.0 * s.kernel.1) as f64;
    (asked || STRAIGHT * vectors.cost as f64 <= dense).then_some(vectors)
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
    if frozen.free() == 0 && grads.dbias.is_none() {
        grads.dw.fill(0.0);
        return Ok(());
    }
    // A depthwise filter reuses nothing, so there is nothing to lose by the dense product, and it is vectorised.
    let depthwise = s.groups > 1 && s.groups == s.in_channels;
    let method = method.or((depthwise && frozen.free() > 0).then_some(Method::Dense));
    // The packed orders know no depthwise one: a filter for each group is the general case.
    let plan = Plan::forward_grouped(s);
    #[cfg(target_arch = "x86_64")]
    if let Some(vectors) = packed(level, method, s, &plan, frozen) {
        gathered::run(&plan, &vectors, input, dy, grads);
        return Ok(());
    }
    if method.unwrap_or_else(|| Method::without_permutations(s, frozen)) == Method::Dense {
        let WeightGrads { dw, dbias } = grads;
        let all = WeightGrads {
            dw: &mut *dw,
            dbias,
        };
        cpu::grad_weight(level, s, input, dy, all)?;
        frozen.clear_frozen(dw);
    } else {
        let geometry = Geometry::new(s, &plan);
        sampled::run(level, &plan, &geometry, input, dy, frozen, grads);
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
        grad_weight_masked(Level::Native, None, s, slices(x), dy, frozen, grads)
    }
}
