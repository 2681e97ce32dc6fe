//! Chooses between the dense and the sampled gradient on the CPU.

use dfdx::tensor::Cpu;

use super::{FreezeMask, MaskedGradKernel, SAMPLED_SHARE};
use crate::error::Result;
use crate::ops::conv2d::cpu::{self, Level, check_len};
use crate::ops::conv2d::{ActQuant, ConvShape};

mod dots;
mod entries;
mod planes;
mod sampled;
mod turn;

/// How to compute the free entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// Everything, then zeros into the frozen entries.
    Dense,
    /// One dot product for each free entry.
    Sampled,
}

impl Method {
    /// The quicker one for this share of free entries.
    pub(crate) fn choose(s: &ConvShape, frozen: &FreezeMask) -> Self {
        // A depthwise filter reuses nothing, so there is nothing to lose by the dense product, and it is vectorised.
        let depthwise = s.groups > 1 && s.groups == s.in_channels;
        let share = frozen.free() as f64 / frozen.len().max(1) as f64;
        if depthwise || share > SAMPLED_SHARE {
            Method::Dense
        } else {
            Method::Sampled
        }
    }
}

/// The masked gradient on slices.
#[allow(clippy::too_many_arguments)]
pub(crate) fn grad_weight_masked(
    level: Level,
    method: Option<Method>,
    s: &ConvShape,
    x: &[f32],
    quant: Option<ActQuant>,
    dy: &[f32],
    frozen: &FreezeMask,
    dw: &mut [f32],
    dbias: Option<&mut [f32]>,
) -> Result<()> {
    s.check()?;
    check_len("masked gradient: freeze mask", s.weight_len(), frozen.len())?;
    if frozen.frozen() == 0 {
        return cpu::grad_weight(level, s, x, quant, dy, dw, dbias);
    }
    if frozen.free() > 0 && method.unwrap_or_else(|| Method::choose(s, frozen)) == Method::Dense {
        cpu::grad_weight(level, s, x, quant, dy, dw, dbias)?;
        frozen.clear_frozen(dw);
        return Ok(());
    }
    check_len("masked gradient: input", s.input_len(), x.len())?;
    check_len("masked gradient: output gradient", s.output_len(), dy.len())?;
    check_len("masked gradient: weight gradient", s.weight_len(), dw.len())?;
    if let Some(b) = &dbias {
        check_len("masked gradient: bias gradient", s.out_channels, b.len())?;
    }
    if frozen.free() == 0 && dbias.is_none() {
        dw.fill(0.0);
        return Ok(());
    }
    sampled::run(level, s, x, quant, dy, frozen, dw, dbias);
    Ok(())
}

impl MaskedGradKernel for Cpu {
    fn conv2d_grad_weight_masked(
        &self,
        s: &ConvShape,
        x: &Self::Vec,
        quant: Option<ActQuant>,
        dy: &Self::Vec,
        frozen: &FreezeMask,
        dw: &mut Self::Vec,
        dbias: Option<&mut Self::Vec>,
    ) -> Result<()> {
        let dbias = dbias.map(|b| b.as_mut_slice());
        grad_weight_masked(Level::Native, None, s, x, quant, dy, frozen, dw, dbias)
    }
}
