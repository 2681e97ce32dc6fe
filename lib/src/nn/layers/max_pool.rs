//! The maximum over windows.

use super::arity;
use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer};
use crate::nn::param::ParamId;
use crate::ops::pool::{PoolKernel, PoolShape};
use crate::{Error, Result, dev};

/// The largest value of each `kernel` x `kernel` window; padding never wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool {
    /// Height and width of a window.
    pub kernel: usize,
    /// Step of the window.
    pub stride: usize,
    /// Border around the input, at most half a window.
    pub padding: usize,
}

impl MaxPool {
    fn shape(&self, batch: usize, x: Extent) -> PoolShape {
        PoolShape {
            batch,
            in_h: x.height,
            in_w: x.width,
            channels: x.channels,
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
        }
    }
}

impl Layer for MaxPool {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        let [x] = arity::<1>("max_pool", inputs)?;
        let MaxPool {
            kernel,
            stride,
            padding,
        } = *self;
        let out = |n: usize| {
            let padded = padding.checked_mul(2)?.checked_add(n)?;
            Some(padded.checked_sub(kernel)? / stride + 1)
        };
        let fits = kernel > 0 && stride > 0 && padding <= kernel / 2;
        let size = if fits {
            out(x.height).zip(out(x.width))
        } else {
            None
        };
        let Some((height, width)) = size else {
            return Err(Error::shape(
                "max_pool",
                format!(
                    "a {kernel}x{kernel} window that fits, padding at most half of it, stride above 0"
                ),
                format!(
                    "{}x{}, padding {padding}, stride {stride}",
                    x.height, x.width
                ),
            ));
        };
        Ok(Extent::new(x.channels, height, width))
    }

    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        let shape = self.shape(cx.batch(), cx.extents()[0]);
        dev().max_pool_forward(shape, cx.input(0), cx.output())
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        let shape = self.shape(cx.batch(), cx.extents()[0]);
        cx.with_dx(0, |cx, dx, accumulate| {
            dev().max_pool_grad(shape, cx.input(0), cx.dy()?, dx, accumulate)
        })
    }

    fn describe(&self) -> String {
        format!("max pool {0}x{0}, stride {1}", self.kernel, self.stride)
    }
}
