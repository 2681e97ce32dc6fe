//! A constant scale, and a constant offset for each channel.

use std::sync::Arc;

use super::arity;
use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer};
use crate::nn::param::ParamId;
use crate::ops::affine::AffineKernel;
use crate::{Error, Result, dev};

/// `scale x + offset[channel]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// Factor of all channels.
    pub scale: f32,
    /// One offset a channel.
    pub offset: Arc<[f32]>,
}

impl Layer for Affine {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        let [x] = arity::<1>("affine", inputs)?;
        if self.offset.len() == x.channels {
            return Ok(*x);
        }
        let expected = format!("{} offsets, one for each channel", x.channels);
        Err(Error::shape("affine", expected, self.offset.len()))
    }

    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        dev().affine(self.scale, &self.offset, cx.input(0), cx.output())
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        cx.with_dx(0, |cx, dx, accumulate| {
            let keep = if accumulate { 1.0 } else { 0.0 };
            dev().mix(keep, dx, self.scale, cx.dy()?)
        })
    }

    fn describe(&self) -> String {
        format!("{} x + offset", self.scale)
    }
}
