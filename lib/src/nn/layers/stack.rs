//! The pixels of a map behind each other.

use super::arity;
use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer};
use crate::nn::param::ParamId;
use crate::ops::relu::ActivationKernel;
use crate::{HostAccess, Result, dev};

/// A vector of all numbers of a sample, pixel by pixel (rows, columns, channels), so that the channels of one pixel are
/// neighbours and can be a group of a convolution. [`Flatten`](super::Flatten) is the same in PyTorch's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stack;

impl Layer for Stack {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        let [x] = arity::<1>("stack", inputs)?;
        Ok(Extent::vector(x.len()))
    }

    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }

    // Buffers are pixel by pixel already.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::layers::testing::{assert_gradients, net};
    use crate::{from_vec, read};

    #[test]
    fn pixels_follow_each_other() -> Result<()> {
        let x = from_vec((0..6).map(|i| i as f32).collect(), (1, 2, 3, 1))?;
        let stacked = net((2, 3, 1), |b, x| b.stack(x))?;
        assert_eq!(read(&stacked.predict(&x)?), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        Ok(())
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        assert_gradients((3, 2, 2), |b, x| {
            let x = b.stack(x)?;
            b.reshape(x, Extent::new(3, 2, 2))
        });
    }
}
