//! The mean over windows.

use super::arity;
use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer};
use crate::nn::param::ParamId;
use crate::ops::avg_pool::{AvgPoolKernel, AvgPoolShape};
use crate::{Result, dev};

/// The mean of each window, without padding; pairs are (rows, columns).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPool {
    /// Height and width of a window.
    pub kernel: (usize, usize),
    /// Steps of the window.
    pub stride: (usize, usize),
}

impl AvgPool {
    fn shape(self, batch: usize, x: Extent) -> AvgPoolShape {
        AvgPoolShape {
            batch,
            map: (x.height, x.width),
            channels: x.channels,
            kernel: self.kernel,
            stride: self.stride,
        }
    }
}

impl Layer for AvgPool {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        let [x] = arity::<1>("avg_pool", inputs)?;
        let (height, width) = self.shape(1, *x).out()?;
        Ok(Extent::new(x.channels, height, width))
    }

    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        let shape = self.shape(cx.batch(), cx.extents()[0]);
        dev().avg_pool_forward(shape, cx.input(0), cx.output())
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        let shape = self.shape(cx.batch(), cx.extents()[0]);
        cx.with_dx(0, |cx, dx, accumulate| {
            dev().avg_pool_grad(shape, cx.dy()?, dx, accumulate)
        })
    }

    fn describe(&self) -> String {
        let AvgPool { kernel, stride } = self;
        format!(
            "average pool {}x{}, stride {}x{}",
            kernel.0, kernel.1, stride.0, stride.1
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::layers::testing::{assert_gradients, net};
    use crate::{from_vec, read};

    #[test]
    fn literal_means_of_windows_of_two_sides() -> Result<()> {
        let x = from_vec((0..8).map(|i| i as f32).collect(), (1, 1, 2, 4))?;
        let net = net((1, 2, 4), |b, x| b.avg_pool(x, (2, 1), (1, 2)))?;
        assert_eq!(read(&net.predict_images(&x)?), [2.0, 4.0]);
        Ok(())
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        assert_gradients((3, 6, 5), |b, x| b.avg_pool(x, (3, 2), (2, 1)));
    }

    #[test]
    fn a_window_that_does_not_fit_is_refused_with_the_name() {
        let refused = net((1, 2, 4), |b, x| b.avg_pool(x, (3, 1), (1, 1)));
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("avg_pool: a map of at least 3x1"), "{error}");
        assert!(net((1, 2, 4), |b, x| b.avg_pool(x, (1, 1), (0, 1))).is_err());
    }
}
