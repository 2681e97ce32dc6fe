//! Rectifiers: `relu(x) = max(x, 0)` and `relu6(x) = min(max(x, 0), 6)`, and the plain sums around them.

use dfdx::prelude::Storage;

use crate::error::Result;

mod cpu;

pub(crate) use cpu::{clamp, pass};

/// What follows a sum or a normalisation inside a fused kernel.
///
/// | | `y` | `dy/dx` |
/// |---|---|---|
/// | `None` | `x` | 1 |
/// | `Relu` | `max(x, 0)` | 1 where `y > 0` |
/// | `Relu6` | `min(max(x, 0), 6)` | 1 where `0 < y < 6` |
///
/// The derivative at the corners is 0, as in PyTorch. NaN goes through, and so does its gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Activation {
    /// The identity.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
}

impl Activation {
    /// All three are a clamp: `(lowest, highest)` output, infinite where there is no corner.
    pub fn bounds(self) -> (f32, f32) {
        match self {
            Activation::None => (f32::NEG_INFINITY, f32::INFINITY),
            Activation::Relu => (0.0, f32::INFINITY),
            Activation::Relu6 => (0.0, 6.0),
        }
    }
}

/// Elementwise kernels; buffers of one call have one length, their layout does not matter.
pub trait ActivationKernel: Storage<f32> {
    /// `y = act(x)`.
    fn activate(&self, act: Activation, x: &Self::Vec, y: &mut Self::Vec) -> Result<()>;

    /// `dx = dy * act'(x)`, read off the output `y`; with `accumulate` it is added to `dx`.
    fn activate_grad(
        &self,
        act: Activation,
        y: &Self::Vec,
        dy: &Self::Vec,
        dx: &mut Self::Vec,
        accumulate: bool,
    ) -> Result<()>;

    /// `y = a + b`.
    fn add(&self, a: &Self::Vec, b: &Self::Vec, y: &mut Self::Vec) -> Result<()>;

    /// `into += from`.
    fn accumulate(&self, from: &Self::Vec, into: &mut Self::Vec) -> Result<()>;
}
