//! Some of the channels.

use std::ops::Range;

use super::arity;
use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer};
use crate::nn::param::ParamId;
use crate::ops::channels::{ChannelsKernel, Part};
use crate::ops::tape::zeros;
use crate::{Error, HostAccess, Result, dev};

/// The channels `range`; the others get no gradient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Neighbouring channels.
    pub range: Range<usize>,
}

impl Slice {
    /// The result as a whole, and as a part of a pixel of `channels`.
    fn parts(&self, channels: usize) -> (Part, Part) {
        let whole = Part {
            of: self.range.len(),
            start: 0,
        };
        let part = Part {
            of: channels,
            start: self.range.start,
        };
        (whole, part)
    }
}

impl Layer for Slice {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        let [x] = arity::<1>("slice", inputs)?;
        if self.range.is_empty() || self.range.end > x.channels {
            return Err(Error::shape(
                "slice",
                format!("a range of channels in 0..{}, not empty", x.channels),
                format!("{:?}", self.range),
            ));
        }
        Ok(x.with_channels(self.range.len()))
    }

    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        let (whole, part) = self.parts(cx.extents()[0].channels);
        let x = cx.input(0);
        dev().copy_channels(whole.of, part, x, whole, cx.output())
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        let (whole, part) = self.parts(cx.extents()[0].channels);
        cx.with_dx(0, |cx, dx, accumulate| {
            if !accumulate {
                dx.copy_from(&zeros(dx.elements())?)?;
            }
            dev().add_channels(whole.of, whole, cx.dy()?, part, dx)
        })
    }

    fn describe(&self) -> String {
        format!("channels {:?}", self.range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::layers::testing::{assert_gradients, net, sum_gradient};
    use crate::{from_vec, read};

    #[test]
    fn literal_channels_and_their_gradients() -> Result<()> {
        let x = from_vec((0..8).map(|i| i as f32).collect(), (2, 4, 1, 1))?;
        let part = net((4, 1, 1), |b, x| b.slice("part", x, 1..3))?;
        assert_eq!(read(&part.predict_images(&x)?), [1.0, 2.0, 5.0, 6.0]);
        let ones = [0.0, 1.0, 1.0, 0.0];
        assert_eq!(sum_gradient(&part, &x)?, [ones, ones].concat());
        Ok(())
    }

    #[test]
    fn parts_that_overlap_add_their_gradients() {
        assert_gradients((5, 3, 2), |b, x| {
            let (left, right) = (b.slice("left", x, 0..3)?, b.slice("right", x, 2..5)?);
            b.product("product", left, right)
        });
    }

    #[test]
    fn a_range_beyond_the_channels_is_refused() {
        for range in [3..5, 2..2, 4..usize::MAX] {
            let error = net((4, 1, 1), |b, x| b.slice("part", x, range.clone())).unwrap_err();
            assert!(error.to_string().contains("channels in 0..4"), "{error}");
        }
    }
}
