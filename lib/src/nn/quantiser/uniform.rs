//! Evenly spaced levels: between two bounds, or at multiples of a scale.

use super::{Fused, Operand, Quantise, QuantiseGrad, Quantiser, RangeKind};
use crate::ops::conv2d::{ActQuant, ActQuantGrad};
use crate::ops::fake_quant::{Bounds, FakeQuant, FakeQuantKernel, signed_share, unsigned_share};
use crate::{Result, dev};

/// `2^bits` levels between two bounds, see [`crate::ops::fake_quant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uniform {
    bits: u32,
    normalised: bool,
}

impl Uniform {
    /// Levels where the values are: the lowest at the lower bound, the highest at the upper.
    pub fn bits(bits: u32) -> Self {
        Uniform {
            bits,
            normalised: false,
        }
    }

    /// Levels that are not de-quantised: weights in `[-1, 1]`, inputs in `[0, 1]`, as in the LTS code. The batch norm
    /// behind the layer makes up for the scale.
    pub fn normalised(bits: u32) -> Self {
        Uniform {
            bits,
            normalised: true,
        }
    }

    /// The quantiser at these bounds, of a weight or an input; `factor` multiplies its result.
    ///
    /// # Errors
    /// As [`FakeQuant::weight`].
    pub fn at(self, operand: Operand, range: &[f32], factor: f32) -> Result<FakeQuant> {
        let bounds = Bounds::new(range[0], range[1]);
        let mut f = match (self.normalised, operand) {
            (false, _) => FakeQuant::dequantising(bounds, self.bits),
            (true, Operand::Weight) => FakeQuant::weight(bounds, self.bits),
            (true, Operand::Input) => FakeQuant::activation(bounds, self.bits),
        }?;
        f.scale *= factor;
        f.offset *= factor;
        Ok(f)
    }
}

fn act_quant(f: FakeQuant) -> ActQuant {
    ActQuant {
        lower: f.lower,
        upper: f.upper,
        levels: f.levels,
    }
}

impl Quantiser for Uniform {
    fn bits(&self) -> u32 {
        self.bits
    }

    fn quantise(&mut self, cx: &mut Quantise) -> Result<()> {
        let f = self.at(cx.operand(), cx.range(), cx.factor())?;
        dev().fake_quant_forward(cx.input(), f, cx.output())
    }

    fn gradient(&mut self, cx: &mut QuantiseGrad) -> Result<()> {
        let f = self.at(cx.operand(), cx.range(), cx.factor())?;
        let bounds = dev().fake_quant_grad(cx.x, f, cx.dy, cx.dx, cx.accumulate)?;
        // The level of a de-quantised value moves with the bounds that give its scale and offset.
        let own = match self.normalised {
            true => [bounds.lower, bounds.upper],
            false => dequantised(bounds.lower, bounds.upper, f, cx)?,
        };
        cx.set_range_grad(&own);
        Ok(())
    }

    fn fused(&self, range: &[f32]) -> Result<Option<Fused>> {
        // Zero padding is added behind the quantiser: a de-quantised input cannot be read on `[0, 1]`.
        if !self.normalised {
            return Ok(None);
        }
        let f = FakeQuant::activation(Bounds::new(range[0], range[1]), self.bits)?;
        Ok(Some(Fused {
            quant: act_quant(f),
            factor: 1.0,
        }))
    }

    fn carries_factor(&self) -> bool {
        true
    }

    fn duplicate(&self) -> Result<Box<dyn Quantiser>> {
        Ok(Box::new(*self))
    }
}

/// Gradients of bounds that are also the scale and offset of the output: `y = (u - l) q + l` has
/// `dy/du = q - n` inside, 1 above and 0 below, `dy/dl = n - q` inside, 0 above and 1 below.
fn dequantised(lower: f32, upper: f32, f: FakeQuant, cx: &QuantiseGrad) -> Result<[f32; 2]> {
    // Inside, the kernel gives -n and n - 1 per unit of gradient; what is missing is q and 1 - q everywhere.
    let share = |x: f32| f.round(f.normalise(x).clamp(0.0, 1.0));
    let du = cx.sum(|x, dy| share(x) * dy)?;
    let dl = cx.sum(|x, dy| (1.0 - share(x)) * dy)?;
    Ok([lower + cx.factor() * dl, upper + cx.factor() * du])
}

/// Levels at multiples of one scale: weights on a signed grid with one level more below 0 than above, inputs from 0
/// ([`FakeQuant::signed`], [`FakeQuant::unsigned`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaled {
    bits: u32,
}

impl Scaled {
    /// `2^bits` levels.
    pub fn bits(bits: u32) -> Self {
        Scaled { bits }
    }

    /// The quantiser at this scale, of a weight or an input; `factor` multiplies its result.
    ///
    /// # Errors
    /// As [`FakeQuant::signed`].
    pub fn at(self, operand: Operand, range: &[f32], factor: f32) -> Result<FakeQuant> {
        let mut f = match operand {
            Operand::Weight => FakeQuant::signed(range[0], self.bits),
            Operand::Input => FakeQuant::unsigned(range[0], self.bits),
        }?;
        f.scale *= factor;
        f.offset *= factor;
        Ok(f)
    }

    /// Gradient of the scale from those of the bounds it stands for.
    pub fn scale_grad(self, operand: Operand, lower: f32, upper: f32) -> f32 {
        match operand {
            Operand::Weight => signed_share(self.bits) * upper - lower,
            Operand::Input => unsigned_share(self.bits) * upper,
        }
    }
}

impl Quantiser for Scaled {
    fn bits(&self) -> u32 {
        self.bits
    }

    fn range(&self) -> RangeKind {
        RangeKind::Scale
    }

    fn quantise(&mut self, cx: &mut Quantise) -> Result<()> {
        let f = self.at(cx.operand(), cx.range(), cx.factor())?;
        dev().fake_quant_forward(cx.input(), f, cx.output())
    }

    fn gradient(&mut self, cx: &mut QuantiseGrad) -> Result<()> {
        let f = self.at(cx.operand(), cx.range(), cx.factor())?;
        let bounds = dev().fake_quant_grad(cx.x, f, cx.dy, cx.dx, cx.accumulate)?;
        let scale = self.scale_grad(cx.operand(), bounds.lower, bounds.upper);
        cx.set_range_grad(&[scale]);
        Ok(())
    }

    fn fused(&self, range: &[f32]) -> Result<Option<Fused>> {
        let f = FakeQuant::unsigned(range[0], self.bits)?;
        Ok(Some(Fused {
            quant: act_quant(f),
            factor: unsigned_share(self.bits),
        }))
    }

    fn fused_gradient(&self, gradient: ActQuantGrad) -> Vec<f32> {
        vec![self.scale_grad(Operand::Input, gradient.lower, gradient.upper)]
    }

    fn carries_factor(&self) -> bool {
        true
    }

    fn duplicate(&self) -> Result<Box<dyn Quantiser>> {
        Ok(Box::new(*self))
    }
}
