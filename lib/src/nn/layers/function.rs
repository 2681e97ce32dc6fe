//! Functions of each element: leaky rectifier, hyperbolic tangent, sigmoid.

use super::arity;
use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer};
use crate::nn::param::ParamId;
use crate::ops::elementwise::{ElementwiseKernel, Function};
use crate::{Result, dev};

/// `f(x)`, see [`crate::ops::elementwise`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Elementwise(pub Function);

impl Layer for Elementwise {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        self.0.check()?;
        arity::<1>("function", inputs).map(|[x]| *x)
    }

    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        dev().function(self.0, cx.input(0), cx.output())
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        cx.with_dx(0, |cx, dx, accumulate| {
            dev().function_grad(self.0, cx.output(), cx.dy()?, dx, accumulate)
        })
    }

    fn describe(&self) -> String {
        format!("{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::layers::testing::{assert_gradients, net};
    use crate::{from_vec, read};

    #[test]
    fn literal_values_of_each() -> Result<()> {
        let x = from_vec(vec![-2.0, 0.0, 40.0], (1, 1, 1, 3))?;
        let value = |net: crate::nn::Net| net.predict_images(&x).map(|y| read(&y));
        let leaky = net((1, 1, 3), |b, x| b.leaky_relu("leaky", x, 0.25))?;
        assert_eq!(value(leaky)?, [-0.5, 0.0, 40.0]);
        let tanh = net((1, 1, 3), |b, x| b.tanh("tanh", x))?;
        assert_eq!(value(tanh)?[1..], [0.0, 1.0]);
        let sigmoid = net((1, 1, 3), |b, x| b.sigmoid("sigmoid", x))?;
        assert_eq!(value(sigmoid)?[1..], [0.5, 1.0]);
        Ok(())
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        assert_gradients((3, 4, 5), |b, x| b.leaky_relu("f", x, 0.2));
        assert_gradients((3, 4, 5), |b, x| b.tanh("f", x));
        assert_gradients((3, 4, 5), |b, x| b.sigmoid("f", x));
    }

    #[test]
    fn a_slope_that_hides_the_sign_is_refused() {
        let error = net((1, 1, 3), |b, x| b.leaky_relu("leaky", x, -0.5)).unwrap_err();
        assert!(error.to_string().contains("lies in 0..=1"), "{error}");
    }
}
