//! Biases that make up for what quantising moved, by the calibration images' means.

use super::calibration::Calibration;
use super::graph::Wiring;
use crate::nn::{LayerInfo, Net};
use crate::{Error, Images, Result};

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
    let mut corrected = Vec::new();
    for layer in &wiring.layers {
        if correct_layer(q, layer, &targets, &calibration)? {
            corrected.push(layer.name.clone());
        }
    }
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
}

/// Corrects one layer; whether there was anything to correct.
pub(super) fn correct_layer(
    q: &Net,
    layer: &LayerInfo,
    targets: &Targets,
    calibration: &Calibration,
) -> Result<bool> {
    let at = targets.names.iter().position(|n| *n == layer.name);
    let (Some(at), true) = (at, layer.bias.is_some()) else {
        return Ok(false);
    };
    let found = calibration.channel_means(q, &[&layer.name])?;
    let moved = targets.means[at]
        .iter()
        .zip(&found[0])
        .map(|(y, yq)| y - yq);
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
    use crate::nn::{Affine, Conv, NetBuilder, Slots};
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
}
