//! Biases that make up for what quantising moved, by the calibration images' means.

use super::calibration::{Calibration, ChannelSums};
use super::graph::Wiring;
use crate::nn::{LayerInfo, Net};
use crate::{Error, Images, Result};

/// Numbers of activations that correcting in one pass may keep at once: 256 MB.
const AT_ONCE: usize = 64 << 20;

/// Corrects the biases of a quantised network, layer after layer and in place, so that the mean of each output channel over
/// the images is that of `float`, which has the same layers:
///
/// ```text
/// b[o] += mean(y[o]) - mean(yq[o])
/// ```
///
/// where `yq` is computed with everything before it quantised and corrected already. Layers without a bias, and those
/// that nothing quantises, stay. Returns the names of the corrected ones.
///
/// It takes two passes of the images, in the second of which each corrected layer runs twice; where the activations of all
/// images at once need more than 256 MB, a pass up to each layer, with the same numbers.
///
/// ```
/// use rebit::prelude::*;
/// let float = resnet20(10, rng(0)).folded()?;
/// let q = float.duplicate()?;
/// q.quantise(|_| Ok(Slots::weights(Affine::bits(3).per_channel(), Range::MinMax.each_pass())))?;
/// let x = images(8, 3, 32, 32, &mut rng(1));
/// assert_eq!(rebit::ptq::correct_bias(&q, &float, &x)?.len(), 22);
/// # Ok::<(), Error>(())
/// ```
///
/// Source: Nagel et al., arXiv:1906.04721, appendix D.
///
/// # Errors
/// [`Error::Invalid`] for networks of other layers, and for images as in
/// [`post_training`](super::post_training()).
pub fn correct_bias(q: &Net, float: &Net, images: &Images) -> Result<Vec<String>> {
    let calibration = Calibration::new(q, images, 64)?;
    let wiring = Wiring::of(q);
    let targets = Targets::of(float, &wiring.layers, &calibration)?;
    correct_layers(q, &wiring.layers, &targets, &calibration)
}

/// Corrects layer after layer; the names of those that had something to correct.
pub(super) fn correct_layers(
    q: &Net,
    layers: &[LayerInfo],
    targets: &Targets,
    calibration: &Calibration,
) -> Result<Vec<String>> {
    if q.walk_peak(calibration.count()) <= AT_ONCE {
        return correct_in_a_pass(q, layers, targets, calibration);
    }
    let mut corrected = Vec::new();
    for layer in layers {
        if correct_layer(q, layer, targets, calibration)? {
            corrected.push(layer.name.clone());
        }
    }
    Ok(corrected)
}

/// [`correct_layer`] of each, where the batches go through the network side by side.
fn correct_in_a_pass(
    q: &Net,
    layers: &[LayerInfo],
    targets: &Targets,
    calibration: &Calibration,
) -> Result<Vec<String>> {
    let of = |layer: &&LayerInfo| layer.bias.is_some() && targets.of_layer(layer).is_some();
    let layers: Vec<&LayerInfo> = layers.iter().filter(of).collect();
    let names: Vec<&str> = layers.iter().map(|l| l.name.as_str()).collect();
    let mut corrected = Vec::new();
    q.walk(calibration.batches(), &names, |at, seen| {
        let layer = layers[at];
        let Some(means) = targets.of_layer(layer) else {
            return Ok(false);
        };
        let mut sums = ChannelSums::default();
        seen.iter().for_each(|batch| sums.add(batch));
        let pairs = means.iter().zip(sums.means());
        shift_bias(q, layer, pairs.map(|(y, yq)| y - yq))?;
        corrected.push(layer.name.clone());
        Ok(true)
    })?;
    Ok(corrected)
}

/// The means of each layer's output at full precision.
pub(super) struct Targets {
    names: Vec<String>,
    means: Vec<Vec<f64>>,
}

impl Targets {
    pub fn of(float: &Net, layers: &[LayerInfo], calibration: &Calibration) -> Result<Self> {
        let names: Vec<String> = layers.iter().map(|l| l.name.clone()).collect();
        let theirs = float.layers();
        if theirs.len() != names.len() || theirs.iter().zip(&names).any(|(a, b)| a.name != *b) {
            return Err(Error::invalid(
                "bias correction",
                "the network at full precision has other layers; quantise a duplicate of it",
            ));
        }
        let asked: Vec<&str> = names.iter().map(String::as_str).collect();
        let means = calibration.channel_means(float, &asked)?;
        Ok(Targets { names, means })
    }

    fn of_layer(&self, layer: &LayerInfo) -> Option<&[f64]> {
        let at = self.names.iter().position(|n| *n == layer.name)?;
        Some(&self.means[at])
    }
}

/// Corrects one layer; whether there was anything to correct.
pub(super) fn correct_layer(
    q: &Net,
    layer: &LayerInfo,
    targets: &Targets,
    calibration: &Calibration,
) -> Result<bool> {
    let (Some(means), true) = (targets.of_layer(layer), layer.bias.is_some()) else {
        return Ok(false);
    };
    let found = calibration.channel_means(q, &[&layer.name])?;
    let moved = means.iter().zip(&found[0]).map(|(y, yq)| y - yq);
    shift_bias(q, layer, moved)?;
    Ok(true)
}

/// Adds to the bias of a layer that has one.
pub(super) fn shift_bias(
    net: &Net,
    layer: &LayerInfo,
    by: impl Iterator<Item = f64>,
) -> Result<()> {
    let Some(id) = layer.bias else {
        return Ok(());
    };
    let bias = net.parameters().swap_remove(id);
    let moved = bias.to_vec().into_iter().zip(by);
    let moved: Vec<f32> = moved.map(|(b, d)| (f64::from(b) + d) as f32).collect();
    net.set_parameter(&bias.name, &moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Affine, Conv, MobilenetConfig, NetBuilder, Slots, mobilenet_v2_with, resnet8};
    use crate::ops::relu::Activation;
    use crate::quant::Range;
    use crate::{from_vec, images, rng};

    #[test]
    fn literal_shift_of_one_layer() -> Result<()> {
        let mut b = NetBuilder::new(1, 1, 2, rng(0));
        let x = b.conv("conv", b.input(), Conv::new(1).kernel(1).with_bias())?;
        let float = b.build(x)?;
        float.set_parameter("conv.weight", &[0.4])?;
        float.set_parameter("conv.bias", &[1.0])?;
        let q = float.duplicate()?;
        q.quantise(|_| Ok(Slots::weights(Affine::bits(1), Range::MinMax)))?;
        // Levels 0 and 1: 0.4 becomes 0, and the mean of 0.4 x over [1, 4] is missing.
        q.set_range("conv", crate::nn::Operand::Weight, &[0.0, 1.0])?;
        let x = from_vec(vec![1.0, 4.0], (1, 1, 1, 2))?;
        assert_eq!(correct_bias(&q, &float, &x)?, ["conv"]);
        assert!((q.parameter("conv.bias")?.to_vec()[0] - 2.0).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn later_layers_see_corrected_ones() -> Result<()> {
        let mut b = NetBuilder::new(2, 6, 6, rng(3));
        let x = b.conv("a", b.input(), Conv::new(8).with_bias())?;
        let x = b.activation("relu", x, Activation::Relu)?;
        let x = b.conv("b", x, Conv::new(4).with_bias())?;
        let float = b.build(x)?;
        let q = float.duplicate()?;
        q.quantise(|_| {
            let weights = Affine::bits(2).per_channel();
            Ok(Slots::weights(weights, Range::MinMax.each_pass()))
        })?;
        let x = images(16, 2, 6, 6, &mut rng(4));
        correct_bias(&q, &float, &x)?;
        let calibration = Calibration::new(&q, &x, 16)?;
        for name in ["a", "b"] {
            let ours = calibration.channel_means(&q, &[name])?;
            let theirs = calibration.channel_means(&float, &[name])?;
            for (a, b) in ours[0].iter().zip(&theirs[0]) {
                assert!((a - b).abs() < 1e-5, "{name}: {a} and {b}");
            }
        }
        let other = crate::nn::resnet20(10, rng(0));
        assert!(correct_bias(&q, &other, &x).is_err());
        Ok(())
    }

    #[test]
    fn one_pass_finds_the_biases_of_a_pass_for_each_layer() -> Result<()> {
        let config = MobilenetConfig {
            width: 0.1,
            ..MobilenetConfig::cifar()
        };
        for net in [resnet8(10, rng(0)), mobilenet_v2_with(&config, rng(2))?] {
            let side = net.input_extent().height;
            net.calibrate(&images(8, 3, side, side, &mut rng(3)))?;
            let float = net.folded()?;
            let q = || -> Result<Net> {
                let q = float.duplicate()?;
                q.quantise(|_| {
                    let weights = Affine::bits(3).per_channel();
                    let slots = Slots::weights(weights, Range::MinMax.each_pass());
                    Ok(slots.inputs(Affine::bits(8), Range::MinMax))
                })?;
                q.observe_ranges(&images(4, 3, side, side, &mut rng(4)))?;
                Ok(q)
            };
            // Batches of unequal size.
            let x = images(10, 3, side, side, &mut rng(5));
            let calibration = Calibration::new(&float, &x, 4)?;
            let layers = float.layers();
            let targets = Targets::of(&float, &layers, &calibration)?;
            let (one, each) = (q()?, q()?);
            let corrected = correct_in_a_pass(&one, &layers, &targets, &calibration)?;
            assert_eq!(corrected.len(), layers.len());
            for layer in &layers {
                assert!(correct_layer(&each, layer, &targets, &calibration)?);
            }
            for (a, b) in one.parameters().iter().zip(each.parameters()) {
                assert_eq!(a.to_vec(), b.to_vec(), "{}", a.name);
            }
            let moved = layers.iter().filter_map(|l| l.bias);
            let (before, after) = (float.parameters(), one.parameters());
            assert!(
                moved
                    .into_iter()
                    .any(|b| before[b].to_vec() != after[b].to_vec())
            );
        }
        Ok(())
    }
}
