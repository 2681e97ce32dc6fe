//! A grid with a whole-number zero point, of a tensor or of each output channel of a weight.

use super::{Quantise, QuantiseGrad, Quantiser, RangeKind};
use crate::ops::affine_quant::{AffineGrid, AffineQuantKernel};
use crate::ops::fake_quant::Bounds;
use crate::{Result, dev};

/// The quantiser of [`crate::ops::affine_quant`]: `2^bits` levels with 0 among them, straight through everywhere, its
/// range a constant that is taken from the data.
///
/// ```
/// use rebit::nn::{Affine, Slots};
/// use rebit::prelude::*;
/// let net = resnet20(10, rng(0));
/// net.quantise(|_| Ok(Slots::weights(Affine::bits(4).per_channel(), Range::MinMax.each_pass())
///     .inputs(Affine::bits(4), Range::MinMax.ema(0.99))))?;
/// net.calibrate(&images(2, 3, 32, 32, &mut rng(1)))?;
/// # Ok::<(), Error>(())
/// ```
///
/// Source: Zhong et al., "IntraQ", arXiv:2111.09136, §4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affine {
    bits: u32,
    per_channel: bool,
}

impl Affine {
    /// `2^bits` levels of one range.
    pub fn bits(bits: u32) -> Self {
        Affine {
            bits,
            per_channel: false,
        }
    }

    /// A range of its own for each output channel of a weight; an input cannot have them.
    pub fn per_channel(mut self) -> Self {
        self.per_channel = true;
        self
    }

    /// The grids of a range, `[lower, upper]` of each part.
    ///
    /// # Errors
    /// As [`AffineGrid::new`].
    pub fn at(self, range: &[f32]) -> Result<Vec<AffineGrid>> {
        let pairs = range.as_chunks::<2>().0.iter();
        let grid =
            |[lower, upper]: &[f32; 2]| AffineGrid::new(Bounds::new(*lower, *upper), self.bits);
        pairs.map(grid).collect()
    }
}

impl Quantiser for Affine {
    fn bits(&self) -> u32 {
        self.bits
    }

    fn range(&self) -> RangeKind {
        match self.per_channel {
            true => RangeKind::ChannelBounds,
            false => RangeKind::Bounds,
        }
    }

    fn trains_range(&self) -> bool {
        false
    }

    fn grids(&self, range: &[f32]) -> Result<Option<Vec<AffineGrid>>> {
        self.at(range).map(Some)
    }

    fn quantise(&mut self, cx: &mut Quantise) -> Result<()> {
        let grids = self.at(cx.range())?;
        dev().affine_quant(cx.input(), &grids, cx.output())
    }

    fn gradient(&mut self, cx: &mut QuantiseGrad) -> Result<()> {
        cx.straight_through()
    }

    fn duplicate(&self) -> Result<Box<dyn Quantiser>> {
        Ok(Box::new(*self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::layers::testing::net;
    use crate::nn::{Conv, Mode, Net, Role, Slots, Wants};
    use crate::ops::assert_close;
    use crate::quant::Range;
    use crate::{Images, from_vec, read};

    /// A 1x1 convolution of one channel to two, whose weights are set; another behind it.
    fn two_layers() -> Result<Net> {
        let net = net((1, 1, 4), |b, x| {
            let x = b.conv("first", x, Conv::new(2).kernel(1))?;
            b.conv("second", x, Conv::new(2).kernel(1))
        })?;
        net.set_parameter("first.weight", &[0.5, -1.0])?;
        net.set_parameter("second.weight", &[0.0, 0.4, -20.0, 10.0])?;
        Ok(net)
    }

    fn row(values: &[f32]) -> Images {
        from_vec(values.to_vec(), (1, 1, 1, values.len())).expect("a row")
    }

    #[test]
    fn literal_levels_of_each_output_channel() -> Result<()> {
        let net = two_layers()?;
        let slot = |range: crate::quant::RangeFrom| {
            move |layer: &crate::nn::LayerInfo| {
                Ok(match layer.name.as_str() {
                    "second" => Slots::weights(Affine::bits(1).per_channel(), range),
                    _ => Slots::none(),
                })
            }
        };
        net.quantise(slot(Range::MinMax.into()))?;
        let x = row(&[1.0, 0.0, -1.0, 2.0]);
        assert!(net.predict_images(&x).is_err(), "no range yet");
        net.calibrate(&x)?;
        let bounds = net.parameter("second.weight_bounds")?;
        assert_eq!(
            (bounds.dims.clone(), bounds.role),
            (vec![2, 2], Role::Scale)
        );
        assert_eq!(bounds.to_vec(), [0.0, 0.4, -20.0, 10.0]);
        // [0, 0.4]: levels 0 and 0.4. [-20, 10]: s = 1/30, z = round(-2/3) + 1 = 0, levels -30 and 0.
        let y = read(&net.predict_images(&x)?);
        let quantised = [[0.0, 0.4], [-30.0, 0.0]];
        let expected = quantised.map(|w| [1.0, 0.0, -1.0, 2.0].map(|x| w[0] * 0.5 * x - w[1] * x));
        assert_close(&y, &expected.concat(), 1e-5);
        // A range that is read once stays; one that is read in each pass follows the weights.
        net.set_parameter("second.weight", &[0.0, 0.8, -20.0, 10.0])?;
        let [once, ..] = read(&net.predict_images(&x)?)[..] else {
            panic!("eight numbers")
        };
        assert_close(&[once], &[-0.4], 1e-5);
        let follows = two_layers()?;
        follows.quantise(slot(Range::MinMax.each_pass()))?;
        follows.set_parameter("second.weight", &[0.0, 0.8, -20.0, 10.0])?;
        assert_close(&read(&follows.predict_images(&x)?)[..1], &[-0.8], 1e-5);
        Ok(())
    }

    #[test]
    fn a_channel_of_one_value_has_a_grid_and_nan_has_none() -> Result<()> {
        let net = two_layers()?;
        net.quantise(|_| {
            Ok(Slots::weights(
                Affine::bits(4).per_channel(),
                Range::MinMax.each_pass(),
            ))
        })?;
        net.set_parameter("second.weight", &[0.25, 0.25, 0.0, 0.0])?;
        let y = read(&net.predict_images(&row(&[1.0, 0.0, 0.0, 0.0]))?);
        // The one weight of a channel of the first layer is a range of one value too.
        assert_close(&[y[0], y[4]], &[-0.125, 0.0], 1e-5);
        net.set_parameter("second.weight", &[f32::NAN, 0.25, 0.0, 0.0])?;
        let error = net.predict_images(&row(&[1.0; 4])).unwrap_err().to_string();
        assert!(
            error.contains("layer second") && error.contains("not finite"),
            "{error}"
        );
        Ok(())
    }

    #[test]
    fn the_range_of_an_input_is_a_moving_average_while_it_trains() -> Result<()> {
        let net = two_layers()?;
        net.quantise(|layer| {
            Ok(match layer.name.as_str() {
                "first" => Slots::none().inputs(Affine::bits(8), Range::MinMax.ema(0.75)),
                _ => Slots::none(),
            })
        })?;
        let bounds = || net.parameter("first.act_bounds").map(|p| p.to_vec());
        net.run(&row(&[0.0, 1.0, 2.0, 4.0]), Mode::Train)?;
        assert_eq!(bounds()?, [0.0, 4.0], "the first batch is the range");
        net.run(&row(&[-4.0, 1.0, 2.0, 0.0]), Mode::Train)?;
        assert_eq!(bounds()?, [-1.0, 3.5]);
        net.predict_images(&row(&[-100.0, 0.0, 0.0, 100.0]))?;
        assert_eq!(bounds()?, [-1.0, 3.5], "inference leaves it alone");
        Ok(())
    }

    #[test]
    fn the_gradient_goes_straight_through_weight_and_input() -> Result<()> {
        let net = two_layers()?;
        net.quantise(|_| {
            let weights = Slots::weights(Affine::bits(8).per_channel(), Range::MinMax);
            Ok(weights.inputs(Affine::bits(8), Range::MinMax))
        })?;
        // One sample to set the ranges, another that is clipped.
        net.calibrate(&row(&[0.0, 0.5, 1.0, 0.25]))?;
        let x = row(&[3.0, 0.5, 1.0, 0.25]);
        let dy = from_vec(vec![1.0; 8], (1, 2, 1, 4))?;
        let grads = net
            .trace(&x, Mode::Train)?
            .backward(&[("second", &dy)], Wants::ALL)?;
        // dx = W1^T W2^T 1 with the weights on their levels, near [-20 * 0.5 - 10.4].
        for dx in read(&grads.get(&x)) {
            assert!((dx + 20.4).abs() < 0.2, "{dx}");
        }
        let dw = read(&grads.get(&net.parameter("first.weight")?.value));
        // What the input is on its levels, clipped at 1: 2.75 in sum, times -20 and 10.4.
        assert!(
            (dw[0] + 55.0).abs() < 1.0 && (dw[1] - 28.6).abs() < 1.0,
            "{dw:?}"
        );
        Ok(())
    }

    #[test]
    fn what_an_affine_range_cannot_be_is_refused() -> Result<()> {
        let refuse = |slots: fn() -> Slots| {
            let net = two_layers().expect("a network");
            net.quantise(|_| Ok(slots())).unwrap_err().to_string()
        };
        let error = refuse(|| Slots::weights(Affine::bits(4), Range::MinMax.trained()));
        assert!(
            error.contains("layer first") && error.contains("not trained"),
            "{error}"
        );
        let error = refuse(|| Slots::none().inputs(Affine::bits(4).per_channel(), Range::MinMax));
        assert!(error.contains("weights alone"), "{error}");
        let error = refuse(|| Slots::none().inputs(Affine::bits(4), Range::MinMax.ema(1.5)));
        assert!(error.contains("from 0 to below 1"), "{error}");
        Ok(())
    }
}
