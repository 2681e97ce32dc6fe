//! Biases corrected without an image: the batch norms say what a layer reads.

use super::correct::shift_bias;
use super::place::{grids, on_grids};
use crate::nn::layers::{Act, Add, AvgPool, BatchNorm, GlobalAvgPool, Identity};
use crate::nn::{Net, NodeInfo, Operand, Param};
use crate::ops::relu::Activation;
use crate::{Error, Result};

/// Mean and variance of each channel.
type Moments = Vec<(f64, f64)>;

/// By layer, the mean of each input channel as the batch norms tell it, of the layers of which they tell it: the output of a
/// norm is taken for normal with mean `b` and deviation `|g|`, a sum of two for normal with the sums of means and variances,
/// and for an activation that clips to `[l, u]`, with `a = (l - m) / s`, `c = (u - m) / s` and the normal density
/// and distribution `f`, `F`:
///
/// ```text
/// E = l F(a) + u (1 - F(c)) + m (F(c) - F(a)) + s (f(a) - f(c))
/// ```
///
/// which for a ReLU is `m F(m / s) + s f(m / s)`.
///
/// ```
/// use rebit::prelude::*;
/// // A norm that starts with b = 0 and g = 1: the mean of a rectified standard normal is 1 / sqrt(2 pi).
/// let means = rebit::ptq::input_means(&resnet20(10, rng(0)));
/// assert_eq!(means[0].0, "layer1.0.conv1");
/// assert!((means[0].1[0] - 0.39894).abs() < 1e-4);
/// ```
///
/// Source: Nagel et al., arXiv:1906.04721, section 4.2.2 and appendix C.
pub fn input_means(net: &Net) -> Vec<(String, Vec<f64>)> {
    let (nodes, params) = (net.nodes(), net.parameters());
    let mut known: Vec<Option<Moments>> = Vec::with_capacity(nodes.len());
    for node in &nodes {
        let found = moments(node, &params, &known);
        known.push(found);
    }
    let of = |layer: crate::nn::LayerInfo| {
        let moments = known[nodes[layer.node].reads[0]].as_ref()?;
        Some((layer.name, moments.iter().map(|m| m.0).collect()))
    };
    net.layers().into_iter().filter_map(of).collect()
}

fn moments(node: &NodeInfo, params: &[Param], known: &[Option<Moments>]) -> Option<Moments> {
    let read = |i: usize| known[*node.reads.get(i)?].clone();
    let sum = |a: Moments, b: Moments| -> Moments {
        let pairs = a.into_iter().zip(b);
        pairs.map(|(a, b)| (a.0 + b.0, a.1 + b.1)).collect()
    };
    if let Some(norm) = node.layer_as::<BatchNorm>() {
        let own = match norm.scale_shift() {
            Some((gamma, beta)) => {
                let pairs = params[gamma]
                    .to_vec()
                    .into_iter()
                    .zip(params[beta].to_vec());
                pairs
                    .map(|(g, b)| (f64::from(b), f64::from(g).powi(2)))
                    .collect()
            }
            None => vec![(0.0, 1.0); node.extent.channels],
        };
        let all = match node.reads.len() {
            1 => own,
            _ => sum(own, read(1)?),
        };
        return Some(clipped(all, norm.settings().act));
    }
    if let Some(act) = node.layer_as::<Act>() {
        return Some(clipped(read(0)?, act.0));
    }
    if let Some(add) = node.layer_as::<Add>() {
        return Some(clipped(sum(read(0)?, read(1)?), add.0));
    }
    let keeps = node.layer_as::<Identity>().is_some()
        || node.layer_as::<AvgPool>().is_some()
        || node.layer_as::<GlobalAvgPool>().is_some();
    if keeps { read(0) } else { None }
}

fn clipped(moments: Moments, act: Activation) -> Moments {
    match act {
        Activation::None => moments,
        _ => moments.into_iter().map(|(m, v)| clip(m, v, act)).collect(),
    }
}

/// Mean and variance of a normal variable that an activation clips.
fn clip(mean: f64, var: f64, act: Activation) -> (f64, f64) {
    let (low, high) = act.bounds();
    let (low, high) = (f64::from(low), f64::from(high));
    let s = var.sqrt();
    if s < 1e-12 {
        return (mean.clamp(low, high), 0.0);
    }
    // Weight, density and density times place at a corner; nothing lies beyond one at infinity.
    let corner = |at: f64| match (at - mean) / s {
        z if z.is_finite() => (distribution(z), density(z), z * density(z)),
        z => (if z > 0.0 { 1.0 } else { 0.0 }, 0.0, 0.0),
    };
    let ((fa, pa, za), (fc, pc, zc)) = (corner(low), corner(high));
    let beyond = |value: f64, weight: f64| if weight == 0.0 { 0.0 } else { value * weight };
    let first = beyond(low, fa) + beyond(high, 1.0 - fc) + mean * (fc - fa) + s * (pa - pc);
    let second = beyond(low * low, fa)
        + beyond(high * high, 1.0 - fc)
        + (mean * mean + var) * (fc - fa)
        + 2.0 * mean * s * (pa - pc)
        + var * (za - zc);
    (first, (second - first * first).max(0.0))
}

fn density(z: f64) -> f64 {
    (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// The normal distribution, to 1.5e-7: Abramowitz and Stegun, 7.1.26.
fn distribution(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let terms = [
        1.061_405_429,
        -1.453_152_027,
        1.421_413_741,
        -0.284_496_736,
        0.254_829_592,
    ];
    let poly = terms.iter().fold(0.0, |sum, a| (sum + a) * t);
    let erf = 1.0 - poly * (-x * x).exp();
    0.5 * (1.0 + erf.copysign(z))
}

/// Corrects the biases of a quantised network, in place, for the means that quantising its weights moved, without an
/// image. With `W` the weight of `float`, which has the same layers, `Wq` that of the quantised network on its levels,
/// and the means `E[x]` of the layer's input ([`input_means`] of the network before its batch norms were folded):
///
/// ```text
/// b[o] -= sum_{c, u, v} (Wq - W)[o, c, u, v] E[x[c]]
/// ```
///
/// Padding is left out of account. Layers that `means` does not name, or that have no bias, stay; the names of the
/// others are returned.
///
/// ```
/// use rebit::prelude::*;
/// let net = resnet20(10, rng(0));
/// let float = net.folded()?;
/// let q = float.duplicate()?;
/// q.quantise(|_| Ok(Slots::weights(Affine::bits(3).per_channel(), Range::MinMax.each_pass())))?;
/// let means = rebit::ptq::input_means(&net);
/// assert_eq!(rebit::ptq::correct_bias_analytically(&q, &float, &means)?.len(), means.len());
/// # Ok::<(), Error>(())
/// ```
///
/// Source: Nagel et al., arXiv:1906.04721, section 4.2.
///
/// # Errors
/// [`Error::Shape`] for means of another number of channels, [`Error::Invalid`] for networks of other layers.
pub fn correct_bias_analytically(
    q: &Net,
    float: &Net,
    means: &[(String, Vec<f64>)],
) -> Result<Vec<String>> {
    let quantisers = q.quantisers();
    let (params, reference) = (q.parameters(), float.layers());
    let floats = float.parameters();
    let mut corrected = Vec::new();
    for layer in q.layers() {
        let Some((_, means)) = means.iter().find(|(name, _)| *name == layer.name) else {
            continue;
        };
        let Some(grids) = grids(&quantisers, &layer, Operand::Weight) else {
            continue;
        };
        if layer.bias.is_none() {
            continue;
        }
        let other = reference.iter().find(|l| l.name == layer.name);
        let Some(other) = other.filter(|l| l.weights == layer.weights) else {
            let why = "is another one in the network at full precision";
            return Err(Error::invalid(format!("layer {}", layer.name), why));
        };
        let dims = &params[layer.weight].dims;
        let (rows, inputs) = (dims[0], dims[1]);
        let groups = means.len() / inputs.max(1);
        if groups * inputs != means.len() || groups == 0 || !rows.is_multiple_of(groups) {
            let expected = format!("{}: means of a multiple of {inputs} channels", layer.name);
            return Err(Error::shape("bias correction", expected, means.len()));
        }
        let wq = on_grids(&params[layer.weight].to_vec(), &grids);
        let w = floats[other.weight].to_vec();
        let (row, taps) = (w.len() / rows, w.len() / (rows * inputs));
        let moved = (0..rows).map(|o| {
            let channel = |i: usize| o / (rows / groups) * inputs + i / taps;
            let entries = (0..row).map(|i| {
                let error = f64::from(wq[o * row + i]) - f64::from(w[o * row + i]);
                error * means[channel(i)]
            });
            -entries.sum::<f64>()
        });
        shift_bias(q, &layer, moved)?;
        corrected.push(layer.name);
    }
    Ok(corrected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Affine, Conv, NetBuilder, Slots};
    use crate::quant::Range;
    use crate::rng;
    use rand::Rng as _;
    use rand_distr::StandardNormal;

    #[test]
    fn clipped_moments_are_those_of_many_draws() {
        for (mean, var, act) in [
            (0.3, 1.7, Activation::Relu),
            (-2.0, 0.5, Activation::Relu),
            (4.0, 9.0, Activation::Relu6),
            (1.0, 0.0, Activation::Relu),
        ] {
            let (found, spread) = clip(mean, var, act);
            let (low, high) = act.bounds();
            let mut rng = rng(1);
            let n = 400_000;
            let draws = (0..n).map(|_| {
                let z: f64 = rng.sample(StandardNormal);
                (mean + var.sqrt() * z).clamp(f64::from(low), f64::from(high))
            });
            let draws: Vec<f64> = draws.collect();
            let m = draws.iter().sum::<f64>() / n as f64;
            let v = draws.iter().map(|d| (d - m).powi(2)).sum::<f64>() / n as f64;
            assert!((found - m).abs() < 0.01, "{act:?}: {found}, not {m}");
            assert!(
                (spread - v).abs() < 0.02 * v.max(0.1),
                "{act:?}: {spread}, not {v}"
            );
        }
        // F(1) from a table.
        assert!((distribution(1.0) - 0.841_344_746).abs() < 2e-7);
        assert!((distribution(-1.0) - 0.158_655_254).abs() < 2e-7);
    }

    #[test]
    fn literal_shift_by_the_mean_of_a_rectified_normal() -> Result<()> {
        let mut b = NetBuilder::new(1, 1, 1, rng(0));
        let x = b.conv("a", b.input(), Conv::new(1).kernel(1))?;
        let x = b.norm("bn", x, Activation::Relu)?;
        let x = b.conv("b", x, Conv::new(1).kernel(1).with_bias())?;
        let net = b.build(x)?;
        net.set_parameter("bn.weight", &[2.0])?;
        net.set_parameter("b.weight", &[0.4])?;
        let means = input_means(&net);
        assert_eq!(means.len(), 1);
        let expected = 2.0 / (2.0 * std::f64::consts::PI).sqrt();
        assert!((means[0].1[0] - expected).abs() < 1e-6);
        let float = net.folded()?;
        let q = float.duplicate()?;
        q.quantise(|_| Ok(Slots::weights(Affine::bits(1), Range::MinMax)))?;
        q.set_range("a", Operand::Weight, &[0.0, 1.0])?;
        q.set_range("b", Operand::Weight, &[0.0, 1.0])?;
        assert_eq!(correct_bias_analytically(&q, &float, &means)?, ["b"]);
        // 0.4 became 0.
        let bias = q.parameter("b.bias")?.to_vec()[0];
        assert!((f64::from(bias) - 0.4 * expected).abs() < 1e-6, "{bias}");
        let wrong = [("b".to_string(), Vec::new())];
        assert!(correct_bias_analytically(&q, &float, &wrong).is_err());
        Ok(())
    }
}
