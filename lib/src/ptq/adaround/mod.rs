//! Rounding that is learned.

mod learn;
mod samples;
mod state;

use std::path::PathBuf;

pub(super) use state::Resumed;
#[cfg(test)]
pub(super) use state::forget_all_but;

use super::calibration::Calibration;
use super::graph::Wiring;
use super::place::grids;
use crate::nn::{Net, Operand};
use crate::show::Progress;
use crate::{Error, Images, Result, rng};
use learn::Rounding;
use samples::{Samples, Wanted};

/// How rounding is learned; see [`round_adaptively`].
#[derive(Clone, Debug, PartialEq)]
pub struct AdaRoundConfig {
    /// Steps of each layer.
    pub iterations: usize,
    /// Output pixels of a step.
    pub rows: usize,
    /// Output pixels, drawn from all images, that the steps of a layer go through in turn.
    pub samples: usize,
    /// Learning rate of Adam.
    pub lr: f32,
    /// Weight of the regulariser.
    pub regularisation: f32,
    /// Share of the steps without the regulariser.
    pub warm_up: f32,
    /// The regulariser's exponent after the warm-up and at the end.
    pub beta: (f32, f32),
    /// Of the draws.
    pub seed: u64,
    /// Where finished layers are kept: a run that was stopped goes on at the layer it was in, and comes to the same numbers.
    pub checkpoint: Option<PathBuf>,
}

impl Default for AdaRoundConfig {
    /// The paper's settings, with fewer steps on more pixels.
    fn default() -> Self {
        AdaRoundConfig {
            iterations: 1000,
            rows: 1024,
            samples: 32 * 1024,
            lr: 1e-2,
            regularisation: 0.01,
            warm_up: 0.2,
            beta: (20.0, 2.0),
            seed: 0,
            checkpoint: None,
        }
    }
}

impl AdaRoundConfig {
    /// Whether it can be followed.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the setting.
    pub fn check(&self) -> Result<()> {
        let refuse =
            |what: String, why: &str| Err(Error::invalid(format!("AdaRound: {what}"), why));
        if self.iterations == 0 || self.rows == 0 || self.samples == 0 {
            let what = format!(
                "{} iterations on {} of {} pixels",
                self.iterations, self.rows, self.samples
            );
            return refuse(what, "take at least one of each");
        }
        if !(self.lr > 0.0 && self.lr.is_finite()) {
            return refuse(
                format!("learning rate {}", self.lr),
                "must be positive and finite",
            );
        }
        if !(self.regularisation >= 0.0 && self.regularisation.is_finite()) {
            let what = format!("regularisation {}", self.regularisation);
            return refuse(what, "must be finite and not below 0");
        }
        if !(0.0..1.0).contains(&self.warm_up) {
            let what = format!("warm-up {}", self.warm_up);
            return refuse(
                what,
                "is the share of steps without regulariser, from 0 to below 1",
            );
        }
        let (first, last) = self.beta;
        if !(last >= 1.0 && first >= last && first.is_finite()) {
            let what = format!("beta from {first} to {last}");
            return refuse(what, "falls, and ends at 1 or above");
        }
        Ok(())
    }
}

/// Learns, layer after layer and in place, which weights of a quantised network round up and which down, so that each
/// layer's output stays near that of `float`, which has the same layers. Weights are on their levels afterwards; ranges,
/// biases and the quantisers of activations stay.
///
/// For the weight `w` on the grid `s`, `z` ([`AffineGrid`](crate::ops::affine_quant::AffineGrid)), with one trained `V` for
/// each:
///
/// ```text
/// h(V) = clamp(1.2 sigmoid(V) - 0.1, 0, 1)
/// wq = (clamp(floor(s w - z) + h(V), lowest, highest) + z) / s
/// loss = mean over pixels of |a(W x + b) - a(Wq xq + bq)|^2  +  r sum (1 - |2 h(V) - 1|^beta)
/// ```
///
/// `x` is what the layer reads at full precision, `xq` what it reads with everything before it quantised already, its own
/// input included; `a` is the activation right behind the layer. `V` starts where `h(V)` is the part of `s w - z` behind
/// the point. The regulariser pulls `h` to 0 or 1 the harder the smaller `beta` is, which falls as half a cosine from 20 to 2
/// over the steps after the warm-up; in the end `h` is rounded. Steps are Adam's.
///
/// The loss is a regression on output pixels: some thousand, drawn from all images, with the input patches that they see
/// are kept, and a step takes a part of them.
///
/// ```
/// use rebit::prelude::*;
/// use rebit::ptq::{AdaRoundConfig, round_adaptively};
/// let mut b = NetBuilder::new(3, 8, 8, rng(0));
/// let x = b.conv("conv", b.input(), Conv::new(8).with_bias())?;
/// let float = b.build(x)?;
/// let q = float.duplicate()?;
/// q.quantise(|_| Ok(Slots::weights(Affine::bits(2).per_channel(), Range::MinMax)))?;
/// let x = images(16, 3, 8, 8, &mut rng(1));
/// q.observe_ranges(&x)?;
/// let error = |q: &Net| -> Result<f32> {
///     let squares = (q.predict_images(&x)? - float.predict_images(&x)?).square();
///     Ok(squares.mean::<(), _>().array())
/// };
/// let nearest = error(&q)?;
/// round_adaptively(&q, &float, &x, &AdaRoundConfig { iterations: 300, ..AdaRoundConfig::default() })?;
/// assert!(error(&q)? < nearest);
/// # Ok::<(), Error>(())
/// ```
///
/// Source: Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", arXiv:2004.10568, equations
/// 21 to 25.
///
/// # Errors
/// As [`AdaRoundConfig::check`]; [`Error::Invalid`] for networks of other layers, for images as in
/// [`post_training`](super::post_training()), for a loss that is not finite, and for a checkpoint of another run;
/// [`Error::Interrupted`], with the finished layers rounded and kept.
pub fn round_adaptively(
    q: &Net,
    float: &Net,
    images: &Images,
    config: &AdaRoundConfig,
) -> Result<()> {
    config.check()?;
    let calibration = Calibration::new(q, images, 64)?;
    let wiring = Wiring::of(q);
    let mut run = Resumed::start(config, q, &calibration)?;
    let mut progress = progress(config, wiring.layers.len());
    for (i, layer) in wiring.layers.iter().enumerate() {
        let on = On {
            q,
            float,
            wiring: &wiring,
            calibration: &calibration,
        };
        round_layer(&on, i, config, &mut run, &mut progress)?;
        run.finished(q, layer)?;
    }
    Ok(())
}

/// A bar over the steps of all layers.
pub(super) fn progress(config: &AdaRoundConfig, layers: usize) -> Progress {
    let steps = (config.iterations * layers) as u64;
    Progress::new("learned rounding", Some(steps))
}

/// What a layer is rounded in.
pub(super) struct On<'a> {
    pub q: &'a Net,
    pub float: &'a Net,
    pub wiring: &'a Wiring,
    pub calibration: &'a Calibration,
}

/// Rounds the `i`-th layer, or takes it from the checkpoint.
pub(super) fn round_layer(
    on: &On,
    i: usize,
    config: &AdaRoundConfig,
    run: &mut Resumed,
    progress: &mut Progress,
) -> Result<()> {
    let layer = &on.wiring.layers[i];
    progress.message(layer.name.clone());
    let from = (i * config.iterations) as u64;
    progress.set(from);
    if run.take(on.q, &layer.name)? {
        return Ok(());
    }
    let quantisers = on.q.quantisers();
    let Some(weight_grids) = grids(&quantisers, layer, Operand::Weight) else {
        return Ok(());
    };
    let (act, _) = on.wiring.activation(layer.node);
    let Some(conv) = on.wiring.convolution(layer.node) else {
        return Err(Error::invalid(
            format!("layer {}", layer.name),
            "is neither a convolution nor a linear layer of the library: its rounding cannot be learned",
        ));
    };
    let input = grids(&quantisers, layer, Operand::Input);
    let wanted = Wanted {
        layer: &layer.name,
        source: on.wiring.source(layer),
        extent: on.wiring.nodes[on.wiring.nodes[layer.node].reads[0]].extent,
        grid: input.and_then(|grids| grids.first().copied()),
        conv: conv.settings(),
        config,
    };
    let mut rng = rng(config.seed.wrapping_add(i as u64));
    let samples = Samples::draw(on, &wanted, &mut rng)?;
    let params = on.q.parameters();
    let bias = layer.bias.map(|id| params[id].to_vec());
    let weight = &params[layer.weight];
    let mut rounding = Rounding::new(&weight.to_vec(), weight_grids)?;
    let learned = rounding.learn(&samples, (bias, act), config, |step| {
        progress.set(from + step as u64);
    });
    learned.map_err(|e| match e {
        Error::Invalid { what, why } => {
            Error::invalid(format!("layer {}: {what}", layer.name), why)
        }
        other => other,
    })?;
    on.q.set_parameter(&weight.name, &rounding.rounded()?)
}
