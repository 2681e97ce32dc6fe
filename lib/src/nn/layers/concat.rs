//! The channels of several inputs behind each other.

use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer};
use crate::nn::param::ParamId;
use crate::ops::channels::{ChannelsKernel, Part};
use crate::{Error, HostAccess, Result, dev};

/// The first input's channels, then those of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concat;

/// A map of `channels` as a whole, and as a part of the pixels it is joined to.
fn parts(channels: usize, all: usize, start: usize) -> (Part, Part) {
    let whole = Part {
        of: channels,
        start: 0,
    };
    (whole, Part { of: all, start })
}

impl Layer for Concat {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        let Some(first) = inputs.first() else {
            return Err(Error::shape("concat", "at least one input", "none"));
        };
        let size = |e: &Extent| (e.height, e.width);
        if let Some(other) = inputs.iter().find(|e| size(e) != size(first)) {
            let expected = format!("inputs of {}x{}", first.height, first.width);
            let found = format!("{}x{}", other.height, other.width);
            return Err(Error::shape("concat", expected, found));
        }
        Ok(first.with_channels(inputs.iter().map(|e| e.channels).sum()))
    }

    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        let all = cx.extent().channels;
        let mut start = 0;
        for (i, Extent { channels, .. }) in cx.extents().iter().enumerate() {
            let (whole, part) = parts(*channels, all, start);
            dev().copy_channels(*channels, whole, cx.input(i), part, cx.output())?;
            start += channels;
        }
        Ok(())
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        let all = cx.extent().channels;
        let pixels = cx.dy()?.elements() / all;
        let mut start = 0;
        for (i, Extent { channels, .. }) in cx.extents().iter().enumerate() {
            if cx.wants(i) {
                let mut dx = cx.take(pixels * channels)?;
                let (whole, part) = parts(*channels, all, start);
                dev().copy_channels(*channels, part, cx.dy()?, whole, &mut dx)?;
                cx.give_dx(i, dx)?;
            }
            start += channels;
        }
        Ok(())
    }
}
