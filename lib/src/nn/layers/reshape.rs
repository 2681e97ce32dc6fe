//! The same numbers as another map, in PyTorch's order: channels, rows, columns.

use super::arity;
use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer};
use crate::nn::param::ParamId;
use crate::ops::layout::LayoutKernel;
use crate::{Buffer, Error, Result, dev};

/// A vector of all numbers of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flatten;

/// A map of `to` from as many numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reshape {
    /// The extent of the result.
    pub to: Extent,
}

/// Writes `x`, samples of extent `from`, as samples of extent `to` with the same numbers in `(C, H, W)` order; `scratch`
/// is as long.
fn reorder(
    x: &Buffer,
    from: Extent,
    to: Extent,
    scratch: &mut Buffer,
    y: &mut Buffer,
) -> Result<()> {
    dev().to_channels_first(x, from.channels, from.pixels(), scratch, false)?;
    dev().to_channels_last(scratch, to.channels, to.pixels(), y)
}

fn forward(cx: &mut ForwardPass) -> Result<()> {
    let (from, to) = (cx.extents()[0], cx.extent());
    let x = cx.input(0);
    let mut scratch = cx.take(cx.batch() * from.len())?;
    reorder(x, from, to, &mut scratch, cx.output())?;
    cx.give(scratch);
    Ok(())
}

fn backward(cx: &mut BackwardPass) -> Result<()> {
    if !cx.wants(0) {
        return Ok(());
    }
    let (from, to) = (cx.extents()[0], cx.extent());
    let len = cx.batch() * from.len();
    let (mut scratch, mut dx) = (cx.take(len)?, cx.take(len)?);
    reorder(cx.dy()?, to, from, &mut scratch, &mut dx)?;
    cx.give(scratch);
    cx.give_dx(0, dx)
}

impl Layer for Flatten {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        let [x] = arity::<1>("flatten", inputs)?;
        Ok(Extent::vector(x.len()))
    }

    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        forward(cx)
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        backward(cx)
    }
}

impl Layer for Reshape {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        let [x] = arity::<1>("reshape", inputs)?;
        // Sides may be any numbers, so their product may be none.
        let sides = [self.to.height, self.to.width];
        let len = sides
            .iter()
            .try_fold(self.to.channels, |n, side| n.checked_mul(*side));
        match len == Some(x.len()) {
            true => Ok(self.to),
            false => Err(Error::shape(
                "reshape",
                format!("an extent of {} numbers, as {x} has", x.len()),
                self.to,
            )),
        }
    }

    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        forward(cx)
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        backward(cx)
    }

    fn describe(&self) -> String {
        format!("reshape to {}", self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::layers::testing::{assert_gradients, net};
    use crate::{from_vec, read};

    #[test]
    fn numbers_keep_the_order_of_channels_rows_and_columns() -> Result<()> {
        let numbers: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let x = from_vec(numbers.clone(), (2, 3, 2, 2))?;
        let flat = net((3, 2, 2), |b, x| b.flatten(x))?;
        let y = flat.predict(&x)?;
        assert_eq!((*y.shape(), read(&y)), ((2, 12), numbers.clone()));
        for to in [(12, 1, 1), (2, 2, 3), (1, 6, 2), (6, 1, 2)] {
            let to = Extent::new(to.0, to.1, to.2);
            let y = net((3, 2, 2), |b, x| b.reshape(x, to))?.predict_images(&x)?;
            let shape = (2, to.channels, to.height, to.width);
            assert_eq!((*y.shape(), read(&y)), (shape, numbers.clone()));
        }
        Ok(())
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        assert_gradients((3, 4, 5), |b, x| b.flatten(x));
        assert_gradients((3, 4, 5), |b, x| b.reshape(x, Extent::new(5, 6, 2)));
    }

    #[test]
    fn another_number_of_numbers_is_refused() {
        for to in [Extent::vector(11), Extent::new(usize::MAX, 2, 6)] {
            let error = net((3, 2, 2), |b, x| b.reshape(x, to))
                .unwrap_err()
                .to_string();
            assert!(error.contains("12 numbers, as 3x2x2 has"), "{error}");
        }
    }

    use dfdx::prelude::HasShape;
}
