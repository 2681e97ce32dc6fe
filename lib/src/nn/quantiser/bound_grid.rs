//! A grid that contains 0, between two bounds.

use super::{Operand, Quantise, QuantiseGrad, Quantiser, RangeKind};
use crate::ops::bound_quant::{BoundQuant, BoundQuantKernel};
use crate::ops::fake_quant::Bounds;
use crate::{Result, dev};

/// The quantiser of [`crate::ops::bound_quant`], de-quantised: `2^b - 1` steps between two bounds (DDTB), or `2^b - 2`
/// between a bound and its negative (PAMS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundGrid {
    bits: u32,
    symmetric: bool,
}

impl BoundGrid {
    /// `2^bits - 1` steps between two bounds.
    pub fn bits(bits: u32) -> Self {
        BoundGrid {
            bits,
            symmetric: false,
        }
    }

    /// `2^bits - 2` steps between `-bound` and `bound`.
    pub fn symmetric(bits: u32) -> Self {
        BoundGrid {
            bits,
            symmetric: true,
        }
    }

    /// The quantiser at this range.
    ///
    /// # Errors
    /// As [`BoundQuant::dual`] and [`BoundQuant::symmetric`].
    pub fn at(self, range: &[f32]) -> Result<BoundQuant> {
        match (self.symmetric, range) {
            (false, [lower, upper]) => BoundQuant::dual(Bounds::new(*lower, *upper), self.bits),
            (_, range) => BoundQuant::symmetric(range[range.len() - 1], self.bits),
        }
    }
}

impl Quantiser for BoundGrid {
    fn bits(&self) -> u32 {
        self.bits
    }

    fn range(&self) -> RangeKind {
        match self.symmetric {
            true => RangeKind::Scale,
            false => RangeKind::Bounds,
        }
    }

    fn quantise(&mut self, cx: &mut Quantise) -> Result<()> {
        let q = self.at(cx.range())?;
        dev().bound_quant_forward(cx.input(), &[q], cx.output())
    }

    fn gradient(&mut self, cx: &mut QuantiseGrad) -> Result<()> {
        let q = self.at(cx.range())?;
        let grads = dev().bound_quant_grad(cx.x, &[q], cx.dy, cx.dx, cx.accumulate)?;
        match self.symmetric {
            true => cx.set_range_grad(&[grads[0].upper - grads[0].lower]),
            false => cx.set_range_grad(&[grads[0].lower, grads[0].upper]),
        }
        debug_assert!(cx.operand() == Operand::Input || cx.factor() == 1.0);
        Ok(())
    }

    fn duplicate(&self) -> Result<Box<dyn Quantiser>> {
        Ok(Box::new(*self))
    }
}
