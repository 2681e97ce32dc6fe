//! How a layer's weights and input are fake-quantised while it runs.

use super::Mode;
use super::param::{ParamId, Role};
use crate::ops::conv2d::ActQuant;
use crate::ops::fake_quant::{
    BoundGrad, Bounds, FakeQuant, FakeQuantKernel, signed_share, unsigned_share,
};
use crate::ops::masked_grad::FreezeMask;
use crate::{Buffer, Result, dev};

/// Precision of one layer with trained bounds: the short form of [`LayerSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantSpec {
    /// Bits of weights and input activations, 1 to 16.
    pub bits: u32,
}

/// Where the levels of a tensor lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// Evenly between two trained bounds: [`FakeQuant::weight`], [`FakeQuant::activation`].
    Bounds,
    /// At multiples of one scale: [`FakeQuant::signed`], [`FakeQuant::unsigned`].
    Scale {
        /// Whether the scale is trained after the first batch has set it.
        trained: bool,
    },
}

/// Quantiser of one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Bits, 1 to 16.
    pub bits: u32,
    /// Where the levels lie.
    pub grid: Grid,
}

/// Quantisers of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerSpec {
    /// Of its weights.
    pub weight: TensorSpec,
    /// Of its input; `None` leaves that in full precision.
    pub input: Option<TensorSpec>,
}

impl From<QuantSpec> for LayerSpec {
    fn from(QuantSpec { bits }: QuantSpec) -> Self {
        let both = TensorSpec {
            bits,
            grid: Grid::Bounds,
        };
        LayerSpec {
            weight: both,
            input: Some(both),
        }
    }
}

impl TensorSpec {
    /// Suffix of the parameter's name, its role and its number of elements.
    pub(super) fn parameter(self) -> (&'static str, Role, usize) {
        match self.grid {
            Grid::Bounds => ("bounds", Role::Bound, 2),
            Grid::Scale { trained: true } => ("scale", Role::Bound, 1),
            Grid::Scale { trained: false } => ("scale", Role::Scale, 1),
        }
    }

    /// The parameter's numbers for bounds read off data.
    pub(super) fn initial(self, bounds: Bounds) -> Vec<f32> {
        match self.grid {
            Grid::Bounds => vec![bounds.lower, bounds.upper],
            Grid::Scale { .. } => vec![bounds.upper],
        }
    }

    /// The weight quantiser at these parameter values.
    pub(super) fn weight(self, values: &[f32]) -> Result<FakeQuant> {
        match (self.grid, values) {
            (Grid::Bounds, [l, u, ..]) => FakeQuant::weight(Bounds::new(*l, *u), self.bits),
            (_, values) => FakeQuant::signed(values[0], self.bits),
        }
    }

    /// The input quantiser at these parameter values; its result still lacks [`Self::factor`].
    pub(super) fn input(self, values: &[f32]) -> Result<ActQuant> {
        let f = match (self.grid, values) {
            (Grid::Bounds, [l, u, ..]) => FakeQuant::activation(Bounds::new(*l, *u), self.bits),
            (_, values) => FakeQuant::unsigned(values[0], self.bits),
        }?;
        Ok(ActQuant {
            lower: f.lower,
            upper: f.upper,
            levels: f.levels,
        })
    }

    /// What an input on levels in `[0, 1]` must be multiplied by. The weights carry it, for a convolution is
    /// linear in both.
    pub(super) fn factor(self) -> f32 {
        match self.grid {
            Grid::Bounds => 1.0,
            Grid::Scale { .. } => unsigned_share(self.bits),
        }
    }

    /// Gradient of the parameter of a weight quantiser from that of `l` and `u`.
    pub(super) fn weight_grad(self, g: BoundGrad, out: &mut [f32]) {
        match self.grid {
            Grid::Bounds => out.copy_from_slice(&[g.lower, g.upper]),
            Grid::Scale { .. } => out[0] = signed_share(self.bits) * g.upper - g.lower,
        }
    }

    /// Gradient of the parameter of an input quantiser from that of `l` and `u`.
    pub(super) fn input_grad(self, lower: f32, upper: f32, out: &mut [f32]) {
        match self.grid {
            Grid::Bounds => out.copy_from_slice(&[lower, upper]),
            Grid::Scale { .. } => out[0] = unsigned_share(self.bits) * upper,
        }
    }
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
    ///
    /// # Errors
    /// When the device refuses.
    fn after_step(&mut self, _w: &mut Buffer, _momentum: &mut Buffer) -> Result<()> {
        Ok(())
    }
}

/// The plain uniform quantiser, without state.
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

/// A layer's quantisers: bounds and scales are parameters of the network.
pub(crate) struct LayerQuant {
    pub spec: LayerSpec,
    pub weight: ParamId,
    /// Parameter of the input's quantiser, when it has one.
    pub input: Option<ParamId>,
    /// Parameters are set from the first training batch.
    pub ready: bool,
    pub quantiser: Box<dyn WeightQuantiser>,
}
