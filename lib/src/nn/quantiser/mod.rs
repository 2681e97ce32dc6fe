//! Quantisers of tensors: one trait for weights and inputs, one slot a tensor.
//!
//! Where the range comes from is the slot's ([`RangeFrom`]); what lies between its ends is the quantiser's. Built-in are
//! [`Uniform`] (levels between two bounds), [`Scaled`] (multiples of a scale), [`BoundGrid`] (a grid that contains 0),
//! [`Affine`] (a grid with a whole-number zero point, also by output channel), [`FixedGrid`] (such grids as given) and
//! [`Rounded`] (levels within what the tensor holds, nothing clipped).

mod affine;
mod bound_grid;
mod contexts;
mod fixed;
mod rounded;
mod uniform;

pub use affine::Affine;
pub use bound_grid::BoundGrid;
pub(crate) use contexts::Lent;
pub use contexts::{Quantise, QuantiseGrad};
pub use fixed::FixedGrid;
pub use rounded::Rounded;
pub use uniform::{Scaled, Uniform};

use super::param::ParamId;
use crate::ops::affine_quant::AffineGrid;
use crate::ops::conv2d::{ActQuant, ActQuantGrad};
use crate::ops::masked_grad::FreezeMask;
use crate::quant::{Bounds, Range, RangeFrom};
use crate::{Buffer, Error, Result};

/// Which tensor of a layer a quantiser stands before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// The weight.
    Weight,
    /// The first input.
    Input,
}

/// What the numbers of a range are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeKind {
    /// `[lower, upper]`.
    Bounds,
    /// `[scale]`: the upper bound alone.
    Scale,
    /// `[lower, upper]` of each output channel of a weight, one pair after the other.
    ChannelBounds,
    /// The quantiser has a range of its own, or none.
    None,
}

impl RangeKind {
    /// Suffix of the parameter's name, its dimensions for a weight of `rows` output channels, and its numbers before
    /// anything is known.
    pub(super) fn parameter(self, rows: usize) -> Option<(&'static str, Vec<usize>, Vec<f32>)> {
        match self {
            RangeKind::Bounds => Some(("bounds", vec![2], vec![-1.0, 1.0])),
            RangeKind::Scale => Some(("scale", vec![1], vec![1.0])),
            RangeKind::ChannelBounds => Some(("bounds", vec![rows, 2], [-1.0, 1.0].repeat(rows))),
            RangeKind::None => None,
        }
    }

    /// The numbers that `range` says of `rows` equal parts of `values`.
    pub(super) fn read(
        self,
        range: Range,
        bits: u32,
        values: &[f32],
        rows: usize,
    ) -> Result<Vec<f32>> {
        match self {
            RangeKind::Bounds => {
                let Bounds { lower, upper } = range.bounds_for(bits, values)?.check()?;
                Ok(vec![lower, upper])
            }
            RangeKind::Scale => Ok(vec![range.bounds_for(bits, values)?.check()?.upper]),
            RangeKind::ChannelBounds => {
                let mut found = Vec::with_capacity(2 * rows);
                for part in values.chunks_exact((values.len() / rows.max(1)).max(1)) {
                    let Bounds { lower, upper } = range.bounds_for(bits, part)?;
                    found.extend([lower, upper]);
                }
                Ok(found)
            }
            RangeKind::None => Ok(Vec::new()),
        }
    }
}

/// A quantiser that a convolution can apply while it reads its input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fused {
    /// Levels in `[0, 1]`.
    pub quant: ActQuant,
    /// What they must still be multiplied by; the weights carry it, for a convolution is linear in both.
    pub factor: f32,
}

/// A fake quantiser with its gradient, possibly with state.
///
/// ```
/// use rebit::nn::{Operand, Place, Quantise, QuantiseGrad, Quantiser, Slots};
/// use rebit::prelude::*;
///
/// /// Weights on `{-1, -1/2, -1/4, 0, 1/4, 1/2, 1}` times a scale, straight through inside.
/// #[derive(Clone)]
/// struct PowersOfTwo;
///
/// impl Quantiser for PowersOfTwo {
///     fn bits(&self) -> u32 {
///         3
///     }
///     fn quantise(&mut self, cx: &mut Quantise) -> Result<()> {
///         let s = cx.upper();
///         let nearest = |w: f32| match w.abs() {
///             a if a < 0.125 => 0.0,
///             a => a.log2().round().clamp(-2.0, 0.0).exp2() * w.signum(),
///         };
///         cx.map(|w| s * nearest(w / s))
///     }
///     fn gradient(&mut self, cx: &mut QuantiseGrad) -> Result<()> {
///         let s = cx.upper();
///         cx.map(|w, d| if w.abs() <= s { d } else { 0.0 })
///     }
/// }
///
/// let net = resnet20(10, rng(0));
/// net.quantise(|layer| Ok(match layer.place {
///     Place::Inner => Slots::weights(PowersOfTwo, Range::LtsWeight),
///     _ => Slots::none(),
/// }))?;
/// net.calibrate(&images(2, 3, 32, 32, &mut rng(1)))?;
/// # Ok::<(), Error>(())
/// ```
pub trait Quantiser: Send + 'static {
    /// Bits of a number.
    fn bits(&self) -> u32;

    /// Fills the output with the input on its levels. State only changes while the network trains.
    ///
    /// # Errors
    /// Whatever makes the result meaningless; the network adds the layer's name.
    fn quantise(&mut self, cx: &mut Quantise) -> Result<()>;

    /// The gradient of the input, and of the range where that is trained.
    ///
    /// # Errors
    /// As [`quantise`](Self::quantise).
    fn gradient(&mut self, cx: &mut QuantiseGrad) -> Result<()>;

    /// What the range is.
    fn range(&self) -> RangeKind {
        RangeKind::Bounds
    }

    /// Whether [`gradient`](Self::gradient) gives one for the range: without, a range that is to be trained is refused.
    fn trains_range(&self) -> bool {
        true
    }

    /// Whether the gradient of an input goes on to what computed it. Where it does not, nothing that lies before the
    /// quantiser alone is trained, and no time is spent on its gradients.
    fn passes_gradient(&self) -> bool {
        true
    }

    /// The grids of a range, of a quantiser whose levels have a whole-number zero point: what integer kernels and files
    /// need. One for the tensor, or one for each output channel.
    ///
    /// # Errors
    /// For a range that has no levels.
    fn grids(&self, _range: &[f32]) -> Result<Option<Vec<AffineGrid>>> {
        Ok(None)
    }

    /// Parameters besides the range.
    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }

    /// How a layer may apply this quantiser of an input itself. Only a hint: where the layer cannot,
    /// [`quantise`](Self::quantise) is called.
    ///
    /// # Errors
    /// For a range that has no levels.
    fn fused(&self, _range: &[f32]) -> Result<Option<Fused>> {
        Ok(None)
    }

    /// The gradient of the range from that of a fused quantiser's bounds.
    fn fused_gradient(&self, gradient: ActQuantGrad) -> Vec<f32> {
        vec![gradient.lower, gradient.upper]
    }

    /// Whether [`quantise`](Self::quantise) of a weight multiplies by [`Quantise::factor`] itself.
    fn carries_factor(&self) -> bool {
        false
    }

    /// Entries of a weight whose gradient nobody needs: their entries of the gradient that comes in are zero, and no
    /// time is spent on them.
    fn frozen(&mut self) -> Option<&FreezeMask> {
        None
    }

    /// Called by every optimiser after it moved the weight, with its moving averages of that weight's gradients: the
    /// chance to put entries back and clear their momentum.
    ///
    /// # Errors
    /// When the device refuses.
    fn after_step(&mut self, _weight: &mut Buffer, _averages: &mut [&mut Buffer]) -> Result<()> {
        Ok(())
    }

    /// Whether [`after_step`](Self::after_step) has anything to do.
    fn acts_after_step(&self) -> bool {
        false
    }

    /// The same quantiser with state of its own, for [`super::Net::duplicate`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for a quantiser that cannot be had twice.
    fn duplicate(&self) -> Result<Box<dyn Quantiser>> {
        Err(Error::invalid(
            format!("a quantiser of {} bits", self.bits()),
            "cannot be duplicated; implement Quantiser::duplicate, or build the network again",
        ))
    }
}

/// A quantiser and where its range comes from.
pub struct Slot {
    pub(crate) quantiser: Box<dyn Quantiser>,
    pub(crate) from: RangeFrom,
}

/// The quantisers of one layer.
#[derive(Default)]
pub struct Slots {
    pub(crate) weight: Option<Slot>,
    pub(crate) input: Option<Slot>,
}

impl Slots {
    /// No quantiser: full precision.
    pub fn none() -> Self {
        Slots::default()
    }

    /// A quantiser of the weights.
    pub fn weights(quantiser: impl Quantiser, range: impl Into<RangeFrom>) -> Self {
        Slots::none().and_weights(quantiser, range)
    }

    /// A quantiser of the weights too.
    pub fn and_weights(mut self, quantiser: impl Quantiser, range: impl Into<RangeFrom>) -> Self {
        self.weight = Some(Slot {
            quantiser: Box::new(quantiser),
            from: range.into(),
        });
        self
    }

    /// A quantiser of the input too.
    pub fn inputs(mut self, quantiser: impl Quantiser, range: impl Into<RangeFrom>) -> Self {
        self.input = Some(Slot {
            quantiser: Box::new(quantiser),
            from: range.into(),
        });
        self
    }

    /// The quantisers of LTS and LSQ+ for weights and input: levels between trained bounds of three standard
    /// deviations ([`Uniform`]).
    ///
    /// ```
    /// use rebit::nn::Slots;
    /// use rebit::prelude::*;
    /// let net = resnet20(10, rng(0));
    /// net.quantise(|_| Ok(Slots::bits(2)))?;
    /// assert_eq!(net.layers()[3].bits, Some(2));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn bits(bits: u32) -> Self {
        Slots::weights(Uniform::normalised(bits), Range::LtsWeight.trained())
            .inputs(Uniform::normalised(bits), Range::LtsActivation.trained())
    }
}
