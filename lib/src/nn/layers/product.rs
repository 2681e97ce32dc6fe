//! The product of two maps.

use super::{alike, arity};
use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer};
use crate::nn::param::ParamId;
use crate::ops::elementwise::ElementwiseKernel;
use crate::{Result, dev};

/// `a b`, element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product;

impl Layer for Product {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        arity::<2>("product", inputs)?;
        alike("product", inputs)
    }

    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        dev().product(cx.input(0), cx.input(1), cx.output(), false)
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        for i in 0..2 {
            cx.with_dx(i, |cx, dx, accumulate| {
                dev().product(cx.dy()?, cx.input(1 - i), dx, accumulate)
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::layers::testing::{assert_gradients, net};
    use crate::{from_vec, read};

    #[test]
    fn a_node_times_itself_is_its_square() -> Result<()> {
        let x = from_vec(vec![2.0, -3.0], (1, 1, 1, 2))?;
        let square = net((1, 1, 2), |b, x| b.product("square", x, x))?;
        assert_eq!(read(&square.predict_images(&x)?), [4.0, 9.0]);
        let grads = crate::nn::layers::testing::sum_gradient(&square, &x)?;
        assert_eq!(grads, [4.0, -6.0]);
        Ok(())
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        assert_gradients((3, 4, 5), |b, x| {
            let gate = b.sigmoid("gate", x)?;
            b.product("gated", x, gate)
        });
    }

    #[test]
    fn maps_of_different_sizes_are_refused() {
        let refused = net((2, 2, 2), |b, x| {
            let y = b.global_avg_pool(x)?;
            b.product("gated", x, y)
        });
        let error = refused.unwrap_err().to_string();
        assert!(
            error.contains("2x2x2") && error.contains("2x1x1"),
            "{error}"
        );
    }
}
