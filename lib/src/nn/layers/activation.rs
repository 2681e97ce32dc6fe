//! An activation alone.

use super::arity;
use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer};
use crate::nn::param::ParamId;
use crate::ops::relu::{Activation, ActivationKernel};
use crate::{Result, dev};

/// `act(x)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Act(pub Activation);

impl Layer for Act {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        arity::<1>("activation", inputs).map(|[x]| *x)
    }

    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        dev().activate(self.0, cx.input(0), cx.output())
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        cx.with_dx(0, |cx, dx, accumulate| {
            dev().activate_grad(self.0, cx.output(), cx.dy()?, dx, accumulate)
        })
    }

    fn describe(&self) -> String {
        format!("{:?}", self.0)
    }
}
