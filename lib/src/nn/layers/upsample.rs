//! Maps enlarged by whole factors.

use super::arity;
use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer};
use crate::nn::param::ParamId;
use crate::ops::upsample::{self, UpsampleKernel, UpsampleShape};
use crate::{Result, dev};

/// Pixels repeated, or twice the size by straight lines, see [`crate::ops::upsample`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upsample(pub upsample::Upsample);

impl Upsample {
    fn shape(self, batch: usize, x: Extent) -> UpsampleShape {
        UpsampleShape {
            batch,
            map: (x.height, x.width),
            channels: x.channels,
            how: self.0,
        }
    }
}

impl Layer for Upsample {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        let [x] = arity::<1>("upsample", inputs)?;
        let (height, width) = self.shape(1, *x).out()?;
        Ok(Extent::new(x.channels, height, width))
    }

    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        let shape = self.shape(cx.batch(), cx.extents()[0]);
        dev().upsample(shape, cx.input(0), cx.output())
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        let shape = self.shape(cx.batch(), cx.extents()[0]);
        cx.with_dx(0, |cx, dx, accumulate| {
            dev().upsample_grad(shape, cx.dy()?, dx, accumulate)
        })
    }

    fn describe(&self) -> String {
        format!("upsample, {:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::layers::testing::{assert_gradients, net};
    use crate::{from_vec, read};

    #[test]
    fn literal_pixels_and_gradients_of_each_way() {
        for (how, expected) in [
            (upsample::Upsample::Nearest(3), vec![1.0; 9]),
            (upsample::Upsample::Bilinear, vec![1.0; 4]),
            (upsample::Upsample::BilinearAligned, vec![1.0; 4]),
        ] {
            let net = net((1, 1, 1), |b, x| b.upsample(x, how)).unwrap();
            let y = net.predict_images(&from_vec(vec![1.0], (1, 1, 1, 1)).unwrap());
            assert_eq!(read(&y.unwrap()), expected, "{how:?}");
            assert_gradients((3, 4, 5), |b, x| b.upsample(x, how));
        }
        let row = net((1, 1, 2), |b, x| {
            b.upsample(x, upsample::Upsample::Bilinear)
        })
        .unwrap();
        let y = row.predict_images(&from_vec(vec![0.0, 4.0], (1, 1, 1, 2)).unwrap());
        assert_eq!(read(&y.unwrap())[..4], [0.0, 1.0, 3.0, 4.0]);
    }

    #[test]
    fn a_factor_of_nothing_is_refused_with_the_name() {
        let refused = net((1, 2, 2), |b, x| {
            b.upsample(x, upsample::Upsample::Nearest(0))
        });
        let error = refused.unwrap_err().to_string();
        assert!(
            error.contains("layer upsample") && error.contains("at least 1"),
            "{error}"
        );
    }
}
