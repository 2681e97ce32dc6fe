//! How a layer's weights and input are fake-quantised while it runs.

use super::Mode;
use super::param::ParamId;
use crate::ops::fake_quant::{BoundGrad, FakeQuant, FakeQuantKernel};
use crate::ops::masked_grad::FreezeMask;
use crate::{Buffer, Result, dev};

/// Precision of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantSpec {
    /// Bits of weights and input activations, 1 to 8.
    pub bits: u32,
}

/// The weight quantiser of one layer: a straight-through estimator, possibly with state.
pub trait WeightQuantiser: Send {
    /// Quantises `w` into `out`; state only changes in [`Mode::Train`].
    fn forward(&mut self, w: &Buffer, f: FakeQuant, mode: Mode, out: &mut Buffer) -> Result<()>;

    /// Turns the gradient of the quantised weights into that of `w` (overwritten) and of the bounds.
    fn backward(
        &mut self,
        w: &Buffer,
        f: FakeQuant,
        dout: &Buffer,
        dw: &mut Buffer,
    ) -> Result<BoundGrad>;

    /// Weights whose gradient nobody needs: their entries of `dout` in
    /// [`WeightQuantiser::backward`] are zero, and no time is spent on them.
    fn frozen(&mut self) -> Option<&FreezeMask> {
        None
    }

    /// Whether [`WeightQuantiser::after_step`] has anything to do.
    fn freezes(&self) -> bool {
        false
    }

    /// Called after the optimiser moved `w`: the chance to put frozen entries back and clear their momentum.
    fn after_step(&mut self, _w: &mut [f32], _momentum: &mut [f32]) {}
}

/// The plain uniform quantiser with trainable bounds, without state.
#[derive(Clone, Copy, Debug, Default)]
pub struct UniformWeight;

impl WeightQuantiser for UniformWeight {
    fn forward(&mut self, w: &Buffer, f: FakeQuant, _: Mode, out: &mut Buffer) -> Result<()> {
        dev().fake_quant_forward(w, f, out)
    }

    fn backward(
        &mut self,
        w: &Buffer,
        f: FakeQuant,
        dout: &Buffer,
        dw: &mut Buffer,
    ) -> Result<BoundGrad> {
        dev().fake_quant_grad(w, f, dout, dw, false)
    }
}

/// A layer's quantisers: bounds are parameters of the network, `[lower, upper]` each.
pub(crate) struct LayerQuant {
    pub bits: u32,
    pub act: ParamId,
    pub weight: ParamId,
    /// Bounds are set from the first training batch.
    pub ready: bool,
    pub quantiser: Box<dyn WeightQuantiser>,
}
