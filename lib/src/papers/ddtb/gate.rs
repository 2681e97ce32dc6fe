//! The gate: two factors for a site's bounds from the image itself, by a small network in two bits.
//!
//! ```text
//! p = Q(mean over pixels of x)          C numbers a sample, x without gradient
//! h = Q(relu(batch_norm(W1 p)))         32 numbers
//! c = W2 h                              2 logits
//! beta = 2 sigmoid(c)                   factors of the upper and of the lower bound, in (0, 2)
//! ```
//!
//! `Q` rounds to four levels between the smallest and the largest value of the whole batch; `W1` and `W2` are
//! ternary, `round(w / max|w|) max|w|`. As published `Q` cuts the gradient off, so that only `W2` is trained and the
//! rest stays a random projection; [`GateGradient::StraightThrough`] trains all of it.

use super::GateGradient;
use crate::nn::{Net, NetBuilder, Rounded, Slots};
use crate::ops::relu::Activation;
use crate::quant::Range;
use crate::{Result, Rng};

/// Channels between the two layers.
pub(super) const HIDDEN: usize = 32;
/// Bits of a gate's weights and of what its layers read.
pub(super) const BITS: u32 = 2;

/// From the mean of each of `channels` to the two logits.
pub(super) fn network(channels: usize, gradient: GateGradient, rng: Rng) -> Result<Net> {
    let mut b = NetBuilder::new(channels, 1, 1, rng);
    let x = b.linear_with("conv1", b.input(), HIDDEN, false)?;
    let x = b.norm("bn", x, Activation::Relu)?;
    let x = b.linear_with("conv2", x, 2, false)?;
    let net = b.build(x)?;
    let levels = match gradient {
        GateGradient::Detached => Rounded::bits(BITS).detached(),
        GateGradient::StraightThrough => Rounded::bits(BITS),
    };
    net.quantise(|_| {
        let slots = Slots::weights(Rounded::symmetric(BITS), Range::MaxAbs.each_pass());
        Ok(slots.inputs(levels, Range::MinMax.each_pass()))
    })?;
    Ok(net)
}

/// `2 sigmoid(c)`.
pub(super) fn factor(c: f32) -> f32 {
    2.0 / (1.0 + (-c).exp())
}
