//! A rectifier with a trained slope below zero.

use std::sync::Arc;

use super::arity;
use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer};
use crate::nn::param::ParamId;
use crate::ops::prelu::PreluKernel;
use crate::{Result, dev};

/// `x` above 0, `slope x` below; one slope for all channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prelu {
    /// The slope: a parameter of one number.
    pub slope: ParamId,
}

impl Layer for Prelu {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        arity::<1>("prelu", inputs).map(|[x]| *x)
    }

    fn parameters(&self) -> Vec<ParamId> {
        vec![self.slope]
    }

    fn with_parameters(&self, ids: &[ParamId]) -> Option<Arc<dyn Layer>> {
        let &[slope] = ids else { return None };
        Some(Arc::new(Prelu { slope }))
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        let slope = cx.params().one(self.slope)?;
        dev().prelu_forward(slope, cx.input(0), cx.output())
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        let slope = cx.params().one(self.slope)?;
        let (mut dx, accumulate) = match cx.take_dx(0)? {
            Some(wanted) => wanted,
            None => (cx.take(cx.extent().len() * cx.batch())?, false),
        };
        let da = dev().prelu_grad(slope, cx.input(0), cx.dy()?, &mut dx, accumulate)?;
        cx.put_dx(0, dx);
        cx.add_param_grad(self.slope, &[da])
    }
}
