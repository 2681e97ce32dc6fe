//! Levels within what a tensor holds in each pass.

use super::{Quantise, QuantiseGrad, Quantiser, RangeKind};
use crate::ops::fake_quant::levels;
use crate::{Error, HostAccess, Result};

/// Keeps the step of a tensor whose numbers are all alike, or all 0, above 0.
const TINY: f32 = 1e-8;

/// Rounds to levels of the tensor's own extremes, anew in each pass, on a grid that contains 0; nothing is clipped.
///
/// ```text
/// bits(b)        y = round(s x) / s        s = (2^b - 1) / (max x - min x + 1e-8)
/// symmetric(b)   y = d round(x / d)        d = max(|x|, 1e-8) / (2^(b-1) - 1): three levels in two bits
/// ```
///
/// Half to even. The extremes are those of the whole tensor, of all samples of a batch. The gradient goes straight through
/// everywhere, or with [`detached`](Rounded::detached) not at all. The range is the quantiser's own, whatever
/// [`Range`](crate::quant::Range) the slot names. NaN stays NaN.
///
/// ```
/// use rebit::nn::{Rounded, Slots};
/// use rebit::prelude::*;
/// let mut b = NetBuilder::new(3, 1, 1, rng(0));
/// let x = b.linear_with("fc", b.input(), 1, false)?;
/// let net = b.build(x)?;
/// net.quantise(|_| Ok(Slots::weights(Rounded::symmetric(2), Range::MaxAbs.each_pass())))?;
/// net.set_parameter("fc.weight", &[0.8, -0.3, -0.5])?;
/// // Levels -0.8, 0 and 0.8: the weights are 0.8, 0 and -0.8.
/// let x = from_vec(vec![1.0, 10.0, 100.0], (1, 3, 1, 1))?;
/// assert!((read(&net.predict(&x)?)[0] + 79.2).abs() < 1e-4);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounded {
    bits: u32,
    symmetric: bool,
    detached: bool,
}

impl Rounded {
    /// `2^bits - 1` steps between the smallest and the largest number.
    pub fn bits(bits: u32) -> Self {
        Rounded {
            bits,
            symmetric: false,
            detached: false,
        }
    }

    /// `2^(bits-1) - 1` levels on either side of 0, the outermost at the largest magnitude.
    pub fn symmetric(bits: u32) -> Self {
        Rounded {
            symmetric: true,
            ..Rounded::bits(bits)
        }
    }

    /// Cuts the gradient off: what lies before the tensor is not trained through it.
    pub fn detached(mut self) -> Self {
        self.detached = true;
        self
    }

    /// What turns a number of such a tensor into its level.
    fn rounding(self, values: &[f32]) -> Result<impl Fn(f32) -> f32 + use<>> {
        let n = levels(self.bits)?;
        if self.symmetric && n < 3 {
            let why = "needs at least 2: zero and a level on either side";
            return Err(Error::invalid("a symmetric grid of 1 bit", why));
        }
        let start = (f32::INFINITY, f32::NEG_INFINITY);
        let ends = values.iter();
        let (low, high) = ends.fold(start, |(l, h), &v| (l.min(v), h.max(v)));
        let (d, s) = match self.symmetric {
            true => (TINY.max(-low).max(high) / (n / 2) as f32, None),
            false => (1.0, Some(n as f32 / (high - low + TINY))),
        };
        Ok(move |x: f32| match s {
            Some(s) => (s * x).round_ties_even() / s,
            None => d * (x / d).round_ties_even(),
        })
    }
}

impl Quantiser for Rounded {
    fn bits(&self) -> u32 {
        self.bits
    }

    fn range(&self) -> RangeKind {
        RangeKind::None
    }

    fn trains_range(&self) -> bool {
        false
    }

    fn passes_gradient(&self) -> bool {
        !self.detached
    }

    fn quantise(&mut self, cx: &mut Quantise) -> Result<()> {
        let level = self.rounding(&cx.input().view()?)?;
        cx.map(level)
    }

    fn gradient(&mut self, cx: &mut QuantiseGrad) -> Result<()> {
        match self.detached {
            true => cx.map(|_, _| 0.0),
            false => cx.straight_through(),
        }
    }

    fn duplicate(&self) -> Result<Box<dyn Quantiser>> {
        Ok(Box::new(*self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::layers::testing::net;
    use crate::nn::{Mode, Net, Wants};
    use crate::ops::assert_close;
    use crate::quant::Range;
    use crate::{from_vec, read};

    /// Two linear layers without bias, `2 -> 2 -> 1`, the second with a quantiser before its input.
    fn two_layers(levels: Rounded) -> Result<Net> {
        let net = net((2, 1, 1), |b, x| {
            let x = b.linear_with("first", x, 2, false)?;
            b.linear_with("second", x, 1, false)
        })?;
        net.set_parameter("first.weight", &[1.0, 0.0, 0.0, 1.0])?;
        net.set_parameter("second.weight", &[1.0, 10.0])?;
        net.quantise_input("second", levels, Range::MinMax)?;
        Ok(net)
    }

    #[test]
    fn literal_levels_of_a_batch_and_of_a_weight() -> Result<()> {
        // -1..2 in two bits: a step of 1 from 0, the batch's extremes and not the sample's.
        let net = two_layers(Rounded::bits(2))?;
        let x = from_vec(vec![-1.0, 0.4, 0.6, 2.0], (2, 2, 1, 1))?;
        assert_close(&read(&net.predict(&x)?), &[-1.0, 21.0], 1e-5);
        // Three bits on either side of 0: steps of 2 / 3, -1.5 of them is -2 and 0.6 is 1.
        let net = two_layers(Rounded::symmetric(3))?;
        assert_close(&read(&net.predict(&x)?), &[16.0 / 3.0, 62.0 / 3.0], 1e-4);
        // Numbers that are all alike stay what they are, zeros too.
        for alike in [0.0, 3.5] {
            let x = from_vec(vec![alike; 4], (2, 2, 1, 1))?;
            for levels in [Rounded::bits(2), Rounded::symmetric(2)] {
                let y = read(&two_layers(levels)?.predict(&x)?);
                assert_close(&y, &[11.0 * alike; 2], 1e-4);
            }
        }
        let error = two_layers(Rounded::symmetric(1))?.predict(&x).unwrap_err();
        assert!(error.to_string().contains("layer second"), "{error}");
        Ok(())
    }

    #[test]
    fn the_gradient_goes_straight_through_or_nowhere() -> Result<()> {
        let x = from_vec(vec![-1.0, 0.4, 0.6, 2.0], (2, 2, 1, 1))?;
        let dy = from_vec(vec![1.0, 2.0], (2, 1, 1, 1))?;
        for (levels, first) in [
            // dW = dh^T x with dh = dy (1, 10): straight through, at the extremes too.
            (Rounded::bits(2), [0.2, 4.4, 2.0, 44.0]),
            (Rounded::bits(2).detached(), [0.0; 4]),
        ] {
            let net = two_layers(levels)?;
            let trace = net.trace(&x, Mode::Train)?;
            let mut grads = trace.backward(&[("second", &dy)], Wants::ALL)?;
            let of = |name: &str| net.parameter(name).map(|p| p.value);
            let dw = grads.get_or_alloc_mut(&of("first.weight")?)?;
            assert_close(&dw.view()?, &first, 1e-5);
            // The layer itself learns in both: dW = dy^T h with h on its levels.
            assert_close(&read(&grads.get(&of("second.weight")?)), &[1.0, 4.0], 1e-5);
        }
        Ok(())
    }
}
