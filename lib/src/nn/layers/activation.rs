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
        if let Some((mut dx, accumulate)) = cx.take_dx(0)? {
            dev().activate_grad(self.0, cx.output(), cx.dy()?, &mut dx, accumulate)?;
            cx.put_dx(0, dx);
        }
        Ok(())
    }

    fn describe(&self) -> String {
        format!("{:?}", self.0)
    }
}
