//! Channels of zeros around those of a map.

use super::arity;
use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer};
use crate::nn::param::ParamId;
use crate::ops::channels::{ChannelsKernel, Part};
use crate::ops::tape::zeros;
use crate::{Error, HostAccess, Result, dev};

/// `before` channels of zeros, the input's channels, `after` channels of zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PadChannels {
    /// Channels of zeros before those of the input.
    pub before: usize,
    /// Channels of zeros behind them.
    pub after: usize,
}

impl PadChannels {
    /// The input as a whole, and as a part of a pixel of the output.
    fn parts(self, channels: usize) -> (Part, Part) {
        let whole = Part {
            of: channels,
            start: 0,
        };
        let part = Part {
            of: self.before + channels + self.after,
            start: self.before,
        };
        (whole, part)
    }
}

impl Layer for PadChannels {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        let [x] = arity::<1>("pad_channels", inputs)?;
        let all = self.before.checked_add(self.after);
        let Some(all) = all.and_then(|n| n.checked_add(x.channels)) else {
            let found = format!("{} before and {} after", self.before, self.after);
            return Err(Error::shape(
                "pad_channels",
                "channels that memory holds",
                found,
            ));
        };
        Ok(x.with_channels(all))
    }

    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        let (whole, part) = self.parts(cx.extents()[0].channels);
        let x = cx.input(0);
        let y = cx.output();
        y.copy_from(&zeros(y.elements())?)?;
        dev().copy_channels(whole.of, whole, x, part, y)
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        let (whole, part) = self.parts(cx.extents()[0].channels);
        cx.with_dx(0, |cx, dx, accumulate| match accumulate {
            true => dev().add_channels(whole.of, part, cx.dy()?, whole, dx),
            false => dev().copy_channels(whole.of, part, cx.dy()?, whole, dx),
        })
    }

    fn describe(&self) -> String {
        format!("{} + {} channels of zeros", self.before, self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::layers::testing::{assert_gradients, net};
    use crate::{from_vec, read};

    #[test]
    fn literal_zeros_on_both_sides() -> Result<()> {
        let pad = PadChannels {
            before: 1,
            after: 2,
        };
        let net = net((2, 1, 2), |b, x| b.layer("pad", &[x], pad))?;
        let x = from_vec(vec![1.0, 2.0, 3.0, 4.0], (1, 2, 1, 2))?;
        let y = read(&net.predict_images(&x)?);
        assert_eq!(y, [0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0]);
        Ok(())
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let pad = PadChannels {
            before: 2,
            after: 1,
        };
        assert_gradients((3, 4, 5), |b, x| b.layer("pad", &[x], pad));
        // A second reader: the gradient is added.
        assert_gradients((3, 4, 5), |b, x| {
            let wide = b.layer("pad", &[x], pad)?;
            b.concat("both", &[wide, x])
        });
    }

    #[test]
    fn more_channels_than_can_be_are_refused() {
        let pad = PadChannels {
            before: usize::MAX,
            after: 1,
        };
        assert!(net((1, 1, 1), |b, x| b.layer("pad", &[x], pad)).is_err());
    }
}
