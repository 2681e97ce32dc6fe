//! Channels become pixels.

use super::arity;
use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer};
use crate::nn::param::ParamId;
use crate::ops::pixel_shuffle::{PixelShuffleKernel, ShuffleShape};
use crate::{Error, Result, dev};

/// `factor * factor` channels become a square of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelShuffle {
    /// How much height and width grow.
    pub factor: usize,
}

impl PixelShuffle {
    fn shape(&self, batch: usize, x: Extent) -> ShuffleShape {
        ShuffleShape {
            batch,
            height: x.height,
            width: x.width,
            channels: x.channels / (self.factor * self.factor),
            factor: self.factor,
        }
    }
}

impl Layer for PixelShuffle {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        let [x] = arity::<1>("pixel_shuffle", inputs)?;
        let factor = self.factor;
        match factor.checked_mul(factor) {
            Some(square) if square > 0 && x.channels.is_multiple_of(square) => Ok(Extent::new(
                x.channels / square,
                x.height * factor,
                x.width * factor,
            )),
            _ => Err(Error::shape(
                "pixel_shuffle",
                format!("channels divisible by {factor} x {factor}"),
                format!("{} channels", x.channels),
            )),
        }
    }

    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        let shape = self.shape(cx.batch(), cx.extents()[0]);
        dev().pixel_shuffle(shape, cx.input(0), cx.output())
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        let shape = self.shape(cx.batch(), cx.extents()[0]);
        cx.with_dx(0, |cx, dx, accumulate| {
            dev().pixel_shuffle_grad(shape, cx.dy()?, dx, accumulate)
        })
    }

    fn describe(&self) -> String {
        format!("pixel shuffle by {}", self.factor)
    }
}
