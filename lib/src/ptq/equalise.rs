//! Ranges of neighbouring layers evened out.

use std::collections::BTreeMap;

use super::graph::Wiring;
use crate::nn::{Net, NodeId};
use crate::ops::relu::Activation;
use crate::{Error, Result};

/// Rounds over all pairs; a chain of depthwise and pointwise layers needs some before its ranges settle.
const ROUNDS: usize = 40;
/// A round that moves no channel by more than this share is the last.
const SETTLED: f64 = 1e-4;

/// Two layers whose ranges were evened out.
#[derive(Clone, Debug, PartialEq)]
pub struct Equalised {
    /// The layer that gives the channels.
    pub first: String,
    /// The layer that reads them.
    pub second: String,
    /// By channel, what the first layer's rows were divided by and the second's columns multiplied by.
    pub scales: Vec<f32>,
}

/// Evens out the ranges of neighbouring layers, in place, where only a ReLU (or nothing) lies between them: the network
/// computes what it did, and ranges of whole tensors lose less.
///
/// With `r1[i]` the largest magnitude of row `i` of the first weight and `r2[i]` that of column `i` of the second:
///
/// ```text
/// s[i] = sqrt(r1[i] r2[i]) / r2[i]
/// W1[i, :] /= s[i]        b1[i] /= s[i]        W2[:, i] *= s[i]
/// ```
///
/// since `relu(s x) = s relu(x)` for `s > 0`; after it both ranges are `sqrt(r1[i] r2[i])`. A depthwise layer's channel is row
/// and column at once, and it takes part on both sides; pairs are gone through until nothing moves. A channel that is 0 on
/// either side stays as it is. Pairs with several readers, ReLU6 or a norm between them are left alone.
///
/// ```
/// use rebit::prelude::*;
/// let net = resnet20(10, rng(0)).folded()?;
/// let pairs = rebit::ptq::equalise(&net)?;
/// assert_eq!((pairs[0].first.as_str(), pairs[0].second.as_str()), ("layer1.0.conv1", "layer1.0.conv2"));
/// # Ok::<(), Error>(())
/// ```
///
/// Source: Nagel et al., "Data-free quantization through weight equalization and bias correction", arXiv:1906.04721,
/// section 4.1.
///
/// # Errors
/// [`Error::Invalid`] for a network that has batch norms or quantisers, and for weights that are not finite.
pub fn equalise(net: &Net) -> Result<Vec<Equalised>> {
    if let Some(norm) = net.norms().first() {
        return Err(Error::invalid(
            format!("equalisation across batch norm {}", norm.name),
            "needs the norms in the weights: take Net::folded first",
        ));
    }
    if let Some(quantiser) = net.quantisers().first() {
        return Err(Error::invalid(
            format!("equalisation of quantised layer {}", quantiser.layer),
            "moves the weights under their ranges: equalise first, then quantise",
        ));
    }
    let mut pairs = pairs(&Wiring::of(net))?;
    let params = net.parameters();
    let ids = pairs.iter().flat_map(Pair::ids);
    let mut values: Values = ids.map(|id| (id, params[id].to_vec())).collect();
    for pair in &pairs {
        pair.check(&values)?;
    }
    for _ in 0..ROUNDS {
        let rounds = pairs.iter_mut().map(|pair| pair.even_out(&mut values));
        if rounds.fold(0.0, f64::max) <= SETTLED {
            break;
        }
    }
    for (id, values) in &values {
        net.set_parameter(&params[*id].name, values)?;
    }
    let finished = pairs.into_iter().map(|pair| Equalised {
        first: pair.first.name,
        second: pair.second.name,
        scales: pair.scales.iter().map(|s| *s as f32).collect(),
    });
    Ok(finished.collect())
}

/// Weights and biases, by their places among the parameters.
type Values = BTreeMap<usize, Vec<f32>>;

/// One side of a pair.
struct Side {
    name: String,
    weight: usize,
    bias: Option<usize>,
    /// Rows (output channels) and groups of the weight.
    rows: usize,
    groups: usize,
}

struct Pair {
    first: Side,
    second: Side,
    scales: Vec<f64>,
}

fn side(wiring: &Wiring, node: NodeId) -> Option<Side> {
    let conv = wiring.convolution(node)?.settings();
    let layer = wiring.layers.iter().find(|l| l.node == node)?;
    Some(Side {
        name: layer.name.clone(),
        weight: layer.weight,
        bias: layer.bias,
        rows: conv.channels,
        groups: conv.groups,
    })
}

fn pairs(wiring: &Wiring) -> Result<Vec<Pair>> {
    let mut found = Vec::new();
    for layer in &wiring.layers {
        let Some(first) = side(wiring, layer.node) else {
            continue;
        };
        let (act, behind) = wiring.activation(wiring.past_sites(layer.node));
        if !matches!(act, Activation::None | Activation::Relu) {
            continue;
        }
        let Some(reader) = wiring.only_reader(wiring.past_sites(behind)) else {
            continue;
        };
        if let Some(second) = side(wiring, reader.node) {
            let scales = vec![1.0; first.rows];
            found.push(Pair {
                first,
                second,
                scales,
            });
        }
    }
    Ok(found)
}

impl Pair {
    /// The parameters that are scaled.
    fn ids(&self) -> impl Iterator<Item = usize> {
        let weights = [self.first.weight, self.second.weight];
        weights.into_iter().chain(self.first.bias)
    }

    fn check(&self, values: &Values) -> Result<()> {
        let (w1, w2) = (&values[&self.first.weight], &values[&self.second.weight]);
        if w1.iter().chain(w2).any(|w| !w.is_finite()) {
            return Err(Error::invalid(
                format!("layers {} and {}", self.first.name, self.second.name),
                "have weights that are not finite",
            ));
        }
        Ok(())
    }

    /// Scales the channels; how far the furthest moved.
    fn even_out(&mut self, values: &mut Values) -> f64 {
        let channels = self.scales.len();
        let (w1, w2) = (&values[&self.first.weight], &values[&self.second.weight]);
        let row = w1.len() / channels;
        // Channel of each entry of the second weight: (out, in/groups, kh, kw).
        let Side { rows, groups, .. } = self.second;
        let (inputs, group_rows) = (channels / groups, rows / groups);
        let taps = w2.len() / (rows * inputs);
        let channel = |i: usize| {
            let (o, c) = (i / (inputs * taps), i / taps % inputs);
            o / group_rows * inputs + c
        };
        let mut largest = vec![(0.0f64, 0.0f64); channels];
        for (i, w) in w1.iter().enumerate() {
            let r = &mut largest[i / row].0;
            *r = r.max(f64::from(w.abs()));
        }
        for (i, w) in w2.iter().enumerate() {
            let r = &mut largest[channel(i)].1;
            *r = r.max(f64::from(w.abs()));
        }
        let scale = |&(r1, r2): &(f64, f64)| match (r1 * r2).sqrt() / r2 {
            s if r1 > 0.0 && r2 > 0.0 && s.is_finite() && s > 0.0 => s,
            _ => 1.0,
        };
        let scales: Vec<f64> = largest.iter().map(scale).collect();
        let mut scale = |id: usize, scaled: &dyn Fn(usize, f64) -> f64| {
            let values = values.get_mut(&id).into_iter().flatten().enumerate();
            values.for_each(|(i, v)| *v = scaled(i, f64::from(*v)) as f32);
        };
        scale(self.first.weight, &|i, w| w / scales[i / row]);
        scale(self.second.weight, &|i, w| w * scales[channel(i)]);
        if let Some(bias) = self.first.bias {
            scale(bias, &|i, b| b / scales[i]);
        }
        let mut moved: f64 = 0.0;
        for (total, s) in self.scales.iter_mut().zip(&scales) {
            *total *= s;
            moved = moved.max((s - 1.0).abs());
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Conv, MobilenetConfig, NetBuilder, mobilenet_v2_with};
    use crate::ops::assert_close;
    use crate::{images, read, rng};

    #[test]
    fn literal_scales_of_two_layers() -> Result<()> {
        let mut b = NetBuilder::new(1, 1, 1, rng(0));
        let x = b.conv("a", b.input(), Conv::new(2).kernel(1).with_bias())?;
        let x = b.activation("relu", x, Activation::Relu)?;
        let x = b.conv("b", x, Conv::new(1).kernel(1))?;
        let net = b.build(x)?;
        net.set_parameter("a.weight", &[-8.0, 3.0])?;
        net.set_parameter("a.bias", &[4.0, 1.0])?;
        net.set_parameter("b.weight", &[2.0, 0.0])?;
        let found = equalise(&net)?;
        // s = sqrt(8 * 2) / 2 = 2; the second channel is dead behind.
        assert_eq!(found[0].scales, [2.0, 1.0]);
        assert_eq!(net.parameter("a.weight")?.to_vec(), [-4.0, 3.0]);
        assert_eq!(net.parameter("a.bias")?.to_vec(), [2.0, 1.0]);
        assert_eq!(net.parameter("b.weight")?.to_vec(), [4.0, 0.0]);
        Ok(())
    }

    #[test]
    fn depthwise_chains_compute_the_same_on_even_ranges() -> Result<()> {
        let config = MobilenetConfig {
            size: 32,
            classes: 10,
            width: 0.35,
            stem_stride: 1,
            sites: true,
        };
        let net = mobilenet_v2_with(&config, rng(2))?;
        net.calibrate(&images(8, 3, 32, 32, &mut rng(3)))?;
        let net = net.folded()?;
        let first = net.parameter("features.2.conv.0.0.weight")?;
        let uneven: Vec<f32> = first
            .to_vec()
            .iter()
            .enumerate()
            .map(|(i, w)| w * (1.0 + (i * first.dims[0] / first.len()) as f32))
            .collect();
        net.set_parameter(&first.name, &uneven)?;
        let x = images(2, 3, 32, 32, &mut rng(4));
        let before = read(&net.predict(&x)?);
        let found = equalise(&net)?;
        let largest = before.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert_close(&read(&net.predict(&x)?), &before, 1e-4 * largest);
        let pair = |a: &str, b: &str| found.iter().any(|p| p.first == a && p.second == b);
        assert!(pair("features.2.conv.0.0", "features.2.conv.1.0"));
        assert!(pair("features.2.conv.1.0", "features.2.conv.2"));
        // A block's end is read by the sum as well.
        assert!(!found.iter().any(|p| p.first == "features.3.conv.2"));
        let w = net.parameter("features.2.conv.0.0.weight")?.to_vec();
        let d = net.parameter("features.2.conv.1.0.weight")?.to_vec();
        let most = |part: &[f32]| part.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let rows = d.len() / 9;
        for (w, d) in w.chunks_exact(w.len() / rows).zip(d.chunks_exact(9)) {
            assert!(
                (most(w) - most(d)).abs() < 1e-2 * most(w),
                "{} and {}",
                most(w),
                most(d)
            );
        }
        Ok(())
    }

    #[test]
    fn norms_and_quantisers_are_in_the_way() -> Result<()> {
        let net = crate::nn::resnet20(10, rng(0));
        let error = equalise(&net).unwrap_err().to_string();
        assert!(
            error.contains("bn1") && error.contains("Net::folded"),
            "{error}"
        );
        Ok(())
    }
}
