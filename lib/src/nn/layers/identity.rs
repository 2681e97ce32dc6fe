//! A place of its own for a quantiser.

use super::arity;
use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer};
use crate::nn::param::ParamId;
use crate::ops::relu::ActivationKernel;
use crate::{HostAccess, Result, dev};

/// `x` itself: a site, where an activation can be quantised that no convolution reads first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity;

impl Layer for Identity {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        arity::<1>("identity", inputs).map(|[x]| *x)
    }

    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }

    fn is_identity(&self) -> bool {
        true
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        let x = cx.input(0);
        cx.output().copy_from(x)
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        cx.with_dx(0, |cx, dx, accumulate| match accumulate {
            true => dev().accumulate(cx.dy()?, dx),
            false => dx.copy_from(cx.dy()?),
        })
    }
}
