//! A scale and a shift for each channel of each sample.

use super::arity;
use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer};
use crate::nn::param::ParamId;
use crate::ops::affine::AffineKernel;
use crate::ops::elementwise::ElementwiseKernel;
use crate::ops::pool::PoolKernel;
use crate::{Buffer, Error, Result, dev};

/// `y[n, p, c] = scale[n, c] x[n, p, c] + shift[n, c]`: behind a norm without scale and shift, with both read off a
/// class ([`super::Embedding`]), it is conditional batch norm.
///
/// Source: Dumoulin, Shlens and Kudlur, "A Learned Representation for Artistic Style", arXiv:1610.07629, equation 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modulate;

/// One number for each channel of each sample over all its pixels, `into` (or added to it): the gradient of a mean, times
/// the number of pixels.
fn spread(
    x: Extent,
    (batch, one): (usize, &Buffer),
    scratch: &mut Buffer,
    into: &mut Buffer,
    accumulate: bool,
) -> Result<()> {
    dev().mix(0.0, scratch, x.pixels() as f32, one)?;
    dev().global_avg_pool_grad(batch, x.pixels(), x.channels, scratch, into, accumulate)
}

/// The sum over the pixels of each channel of each sample.
fn gather(
    x: Extent,
    (batch, map): (usize, &Buffer),
    scratch: &mut Buffer,
    into: &mut Buffer,
) -> Result<()> {
    dev().global_avg_pool_forward(batch, x.pixels(), x.channels, map, scratch)?;
    dev().mix(0.0, into, x.pixels() as f32, scratch)
}

impl Layer for Modulate {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        let [x, scale, shift] = arity::<3>("modulate", inputs)?;
        let vector = Extent::vector(x.channels);
        match [scale, shift].into_iter().find(|e| **e != vector) {
            Some(other) => Err(Error::shape(
                "modulate",
                format!("scale and shift of {vector}, a number for each channel of {x}"),
                other,
            )),
            None => Ok(*x),
        }
    }

    fn parameters(&self) -> Vec<ParamId> {
        Vec::new()
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        let (e, batch) = (cx.extent(), cx.batch());
        let [x, scale, shift] = [0, 1, 2].map(|i| cx.input(i));
        let (mut small, mut wide) = (cx.take(batch * e.channels)?, cx.take(batch * e.len())?);
        spread(e, (batch, scale), &mut small, &mut wide, false)?;
        let y = cx.output();
        dev().product(x, &wide, y, false)?;
        spread(e, (batch, shift), &mut small, y, true)?;
        cx.give(small);
        cx.give(wide);
        Ok(())
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        let (e, batch) = (cx.extent(), cx.batch());
        let (mut small, mut wide) = (cx.take(batch * e.channels)?, cx.take(batch * e.len())?);
        cx.with_dx(0, |cx, dx, accumulate| {
            spread(e, (batch, cx.input(1)), &mut small, &mut wide, false)?;
            dev().product(cx.dy()?, &wide, dx, accumulate)
        })?;
        if cx.wants(1) {
            let mut dscale = cx.take(batch * e.channels)?;
            dev().product(cx.dy()?, cx.input(0), &mut wide, false)?;
            gather(e, (batch, &wide), &mut small, &mut dscale)?;
            cx.give_dx(1, dscale)?;
        }
        if cx.wants(2) {
            let mut dshift = cx.take(batch * e.channels)?;
            gather(e, (batch, cx.dy()?), &mut small, &mut dshift)?;
            cx.give_dx(2, dshift)?;
        }
        cx.give(small);
        cx.give(wide);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::layers::Embedding;
    use crate::nn::{Mode, Net, NetBuilder, Norm, check_gradients_many};
    use crate::ops::assert_close;
    use crate::ops::relu::Activation;
    use crate::{from_vec, images, read, rng};

    /// A convolution with conditional batch norm.
    fn conditional() -> Result<Net> {
        let mut b = NetBuilder::new(3, 4, 5, rng(1));
        let class = b.input_of("class", Extent::vector(1))?;
        let x = b.conv("conv", b.input(), crate::nn::Conv::new(4))?;
        let x = b.norm_with("norm", &[x], Norm::new(Activation::None).without_affine())?;
        let scale = b.embedding("scale", class, Embedding::new(3, 4).constant(1.0))?;
        let shift = b.embedding("shift", class, Embedding::new(3, 4).constant(0.0))?;
        let x = b.modulate("modulate", x, scale, shift)?;
        b.build(x)
    }

    #[test]
    fn each_sample_gets_the_scale_and_shift_of_its_class() -> Result<()> {
        let net = conditional()?;
        let x = images(2, 3, 4, 5, &mut rng(2));
        let classes = from_vec(vec![2.0, 0.0], (2, 1, 1, 1))?;
        let run = || net.predict_nodes(&[&x, &classes], &["norm", "modulate"]);
        let [plain, same]: [_; 2] = run()?.try_into().unwrap_or_else(|_| panic!("two nodes"));
        assert_close(&read(&same), &read(&plain), 1e-6);
        net.set_parameter(
            "scale.weight",
            &(0..12).map(|i| i as f32).collect::<Vec<_>>(),
        )?;
        net.set_parameter(
            "shift.weight",
            &(0..12).map(|i| -0.5 * i as f32).collect::<Vec<_>>(),
        )?;
        let [plain, moved]: [_; 2] = run()?.try_into().unwrap_or_else(|_| panic!("two nodes"));
        let plain = read(&plain);
        let expected = plain.iter().enumerate().map(|(i, v)| {
            let row = [8, 0][i / 80] + i / 20 % 4;
            row as f32 * v - 0.5 * row as f32
        });
        assert_close(&read(&moved), &expected.collect::<Vec<_>>(), 1e-5);
        Ok(())
    }

    #[test]
    fn gradients_are_those_of_finite_differences() -> Result<()> {
        let (net, x) = (conditional()?, images(3, 3, 4, 5, &mut rng(3)));
        let classes = from_vec(vec![2.0, 0.0, 2.0], (3, 1, 1, 1))?;
        let mut trace = net.run_many(&[&x, &classes], Mode::Train)?;
        assert_eq!(trace.output()?.shape(), &(3, 4, 4, 5));
        let worst = check_gradients_many(&net, &[&x, &classes])?;
        assert!(worst.error < 0.01, "{worst}");
        Ok(())
    }

    #[test]
    fn a_scale_of_other_channels_is_refused() -> Result<()> {
        let mut b = NetBuilder::new(3, 4, 5, rng(1));
        let scale = b.input_of("scale", Extent::vector(2))?;
        let error = b
            .modulate("modulate", b.input(), scale, scale)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("3x1x1") && error.contains("2x1x1"),
            "{error}"
        );
        Ok(())
    }

    use dfdx::prelude::HasShape;
}
