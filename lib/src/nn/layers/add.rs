//! A sum, then an activation.

use super::{alike, arity};
use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer};
use crate::nn::param::ParamId;
use crate::ops::relu::{Activation, ActivationKernel};
use crate::{HostAccess, Result, dev};

/// `act(a + b)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Add(pub Activation);

impl Layer for Add {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        arity::<2>("add", inputs)?;
        alike("add", inputs)
    }

    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        let mut sum = cx.take(cx.input(0).elements())?;
        dev().add(cx.input(0), cx.input(1), &mut sum)?;
        dev().activate(self.0, &sum, cx.output())?;
        cx.give(sum);
        Ok(())
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        for i in 0..2 {
            cx.with_dx(i, |cx, dx, accumulate| {
                dev().activate_grad(self.0, cx.output(), cx.dy()?, dx, accumulate)
            })?;
        }
        Ok(())
    }

    fn describe(&self) -> String {
        format!("sum, {:?}", self.0)
    }
}
