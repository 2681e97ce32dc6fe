//! Grids that are given, not read off data.

use super::{Quantise, QuantiseGrad, Quantiser, RangeKind};
use crate::ops::affine_quant::{AffineGrid, AffineQuantKernel};
use crate::{Error, Result, dev};

/// The quantiser of [`crate::ops::affine_quant`] on grids of its own: those of a file, or of another program.
///
/// ```
/// use rebit::nn::{FixedGrid, Slots};
/// use rebit::ops::{affine_quant::AffineGrid, fake_quant::Bounds};
/// use rebit::prelude::*;
/// let grid = AffineGrid::new(Bounds::new(0.0, 1.5), 2)?;
/// let net = resnet20(10, rng(0));
/// net.quantise(|_| Ok(Slots::none().inputs(FixedGrid::new(vec![grid], 2)?, Range::MinMax)))?;
/// net.predict(&images(1, 3, 32, 32, &mut rng(1)))?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FixedGrid {
    grids: Vec<AffineGrid>,
    bits: u32,
}

impl FixedGrid {
    /// One grid, or one for each output channel of a weight.
    ///
    /// # Errors
    /// [`Error::Invalid`] without a grid, and for one whose scale is no positive normal number or whose zero point is no
    /// whole number.
    pub fn new(grids: Vec<AffineGrid>, bits: u32) -> Result<Self> {
        let bad = |g: &&AffineGrid| {
            !(g.scale.is_normal() && g.scale > 0.0 && g.zero.fract() == 0.0 && g.lowest < g.highest)
        };
        if let Some(g) = grids.iter().find(bad) {
            return Err(Error::invalid(
                format!("a grid with scale {} and zero point {}", g.scale, g.zero),
                "needs a positive scale and a whole zero point",
            ));
        }
        match grids.is_empty() {
            true => Err(Error::invalid(
                "a quantiser on given grids",
                "was given none",
            )),
            false => Ok(FixedGrid { grids, bits }),
        }
    }
}

impl Quantiser for FixedGrid {
    fn bits(&self) -> u32 {
        self.bits
    }

    fn range(&self) -> RangeKind {
        RangeKind::None
    }

    fn trains_range(&self) -> bool {
        false
    }

    fn grids(&self, _range: &[f32]) -> Result<Option<Vec<AffineGrid>>> {
        Ok(Some(self.grids.clone()))
    }

    fn quantise(&mut self, cx: &mut Quantise) -> Result<()> {
        dev().affine_quant(cx.input(), &self.grids, cx.output())
    }

    fn gradient(&mut self, cx: &mut QuantiseGrad) -> Result<()> {
        cx.straight_through()
    }

    fn duplicate(&self) -> Result<Box<dyn Quantiser>> {
        Ok(Box::new(self.clone()))
    }
}
