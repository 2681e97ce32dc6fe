//! The mean over height and width.

use super::arity;
use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer};
use crate::nn::param::ParamId;
use crate::ops::pool::PoolKernel;
use crate::{Result, dev};

/// One number a channel: the mean over its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalAvgPool;

impl Layer for GlobalAvgPool {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        let [x] = arity::<1>("global_avg_pool", inputs)?;
        Ok(Extent::vector(x.channels))
    }

    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        let (x, batch) = (cx.extents()[0], cx.batch());
        dev().global_avg_pool_forward(batch, x.pixels(), x.channels, cx.input(0), cx.output())
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        let x = cx.extents()[0];
        cx.with_dx(0, |cx, dx, accumulate| {
            let (batch, dy) = (cx.batch(), cx.dy()?);
            dev().global_avg_pool_grad(batch, x.pixels(), x.channels, dy, dx, accumulate)
        })
    }
}
