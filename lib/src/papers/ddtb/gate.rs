//! The gate controller: two factors for a site's bounds from the image itself, in two bits.
//!
//! ```text
//! p = Q(mean over pixels of x)          C numbers a sample, x without gradient
//! h = Q(relu(batch_norm(W1 p)))         32 numbers
//! c = W2 h                              2 logits
//! beta = 2 sigmoid(c)                   factors of the upper and of the lower bound, in (0, 2)
//! ```
//!
//! `Q` rounds to four levels between the smallest and the largest value of the whole batch; `W1` and `W2` are
//! ternary, `round(w / max|w|) max|w|`. As published `Q` cuts the gradient off, so that only `W2` is trained and the
//! rest stays a random projection; [`GateGradient::StraightThrough`] trains all of it.

use rand::Rng as _;

use super::GateGradient;
use crate::nn::{Param, ParamId, Params, QuantiseGrad, Role};
use crate::{Result, Rng};

/// Channels between the two layers.
pub(super) const HIDDEN: usize = 32;
/// Epsilon of the batch norm.
const EPS: f32 = 1e-5;
/// Share of the new batch in the running statistics.
const MOMENTUM: f32 = 0.1;
/// Keeps the step of a constant tensor from being 0.
const TINY: f32 = 1e-8;

/// Where a gate's parameters stand in the network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    channels: usize,
    conv1: ParamId,
    gamma: ParamId,
    beta: ParamId,
    mean: ParamId,
    var: ParamId,
    conv2: ParamId,
}

/// What the backward pass needs.
#[derive(Clone, Debug, Default)]
pub(super) struct GateMemo {
    /// `(upper, lower)` of each sample.
    pub logits: Vec<[f32; 2]>,
    pooled: Vec<f32>,
    normalised: Vec<f32>,
    /// Reciprocal deviation of each hidden channel, and whether it came from this batch.
    scale: Vec<f32>,
    from_batch: bool,
    rectified: Vec<f32>,
    hidden: Vec<f32>,
}

/// `2 sigmoid(c)`.
pub(super) fn factor(c: f32) -> f32 {
    2.0 / (1.0 + (-c).exp())
}

/// Trainable numbers and running statistics of a gate on `channels` channels.
pub(super) fn parameters(site: &str, channels: usize, rng: &mut Rng) -> Result<Vec<Param>> {
    let mut uniform = |inputs: usize, outputs: usize| -> Vec<f32> {
        let limit = 1.0 / (inputs as f32).sqrt();
        (0..inputs * outputs)
            .map(|_| rng.random_range(-limit..=limit))
            .collect()
    };
    let (first, second) = (uniform(channels, HIDDEN), uniform(HIDDEN, 2));
    let name = |part: &str| format!("{site}.gate.{part}");
    let one =
        |part: &str, role, value| Param::new(name(part), vec![HIDDEN], role, vec![value; HIDDEN]);
    let dims = |a, b| vec![a, b];
    Ok(vec![
        Param::new(
            name("conv1.weight"),
            dims(HIDDEN, channels),
            Role::Weight,
            first,
        )?,
        one("bn.weight", Role::Norm, 1.0)?,
        one("bn.bias", Role::Norm, 0.0)?,
        one("bn.running_mean", Role::Statistic, 0.0)?,
        one("bn.running_var", Role::Statistic, 1.0)?,
        Param::new(name("conv2.weight"), dims(2, HIDDEN), Role::Weight, second)?,
    ])
}

impl Gate {
    /// A gate whose parameters are those of [`parameters`], in that order.
    pub fn new(channels: usize, ids: &[ParamId]) -> Gate {
        Gate {
            channels,
            conv1: ids[0],
            gamma: ids[1],
            beta: ids[2],
            mean: ids[3],
            var: ids[4],
            conv2: ids[5],
        }
    }

    /// Its parameters.
    pub fn parameters(self) -> [ParamId; 6] {
        let Gate {
            conv1,
            gamma,
            beta,
            mean,
            var,
            conv2,
            ..
        } = self;
        [conv1, gamma, beta, mean, var, conv2]
    }

    /// Bits that the gate's weights take.
    pub fn weight_bits(self) -> usize {
        2 * (self.channels * HIDDEN + HIDDEN * 2)
    }

    /// Logits for a batch of pooled activations `(N, channels)`.
    pub fn forward(self, mut pooled: Vec<f32>, p: &mut Params, train: bool) -> Result<GateMemo> {
        let samples = pooled.len() / self.channels;
        round_to_four_levels(&mut pooled);
        let w1 = ternary(&p.view(self.conv1)?);
        let z = product(&pooled, &w1, self.channels);
        let (mean, var) = if train {
            let (mean, var) = moments(&z, samples);
            let unbias = samples as f32 / (samples as f32 - 1.0).max(1.0);
            for (at, new, factor) in [(self.mean, &mean, 1.0), (self.var, &var, unbias)] {
                let mut mixed = p.view(at)?.into_owned();
                for (old, new) in mixed.iter_mut().zip(new) {
                    *old = (1.0 - MOMENTUM) * *old + MOMENTUM * factor * new;
                }
                p.set(at, &mixed)?;
            }
            (mean, var)
        } else {
            (
                p.view(self.mean)?.into_owned(),
                p.view(self.var)?.into_owned(),
            )
        };
        let scale: Vec<f32> = var.iter().map(|v| 1.0 / (v + EPS).sqrt()).collect();
        let each = |i: usize| (z[i] - mean[i % HIDDEN]) * scale[i % HIDDEN];
        let normalised: Vec<f32> = (0..z.len()).map(each).collect();
        let (gamma, beta) = (p.view(self.gamma)?, p.view(self.beta)?);
        let rectify =
            |(i, n): (usize, &f32)| at_least(0.0, gamma[i % HIDDEN] * n + beta[i % HIDDEN]);
        let rectified: Vec<f32> = normalised.iter().enumerate().map(rectify).collect();
        let mut hidden = rectified.clone();
        round_to_four_levels(&mut hidden);
        let logits = product(&hidden, &ternary(&p.view(self.conv2)?), HIDDEN);
        Ok(GateMemo {
            logits: logits.chunks_exact(2).map(|c| [c[0], c[1]]).collect(),
            pooled,
            normalised,
            scale,
            from_batch: train,
            rectified,
            hidden,
        })
    }

    /// Gradients of the gate's weights from those of its logits.
    pub fn backward(
        self,
        memo: &GateMemo,
        dlogits: &[[f32; 2]],
        how: GateGradient,
        cx: &mut QuantiseGrad,
    ) -> Result<()> {
        let dc: Vec<f32> = dlogits.iter().flatten().copied().collect();
        cx.add_param_grad(self.conv2, &outer(&dc, &memo.hidden, 2, HIDDEN))?;
        let zeros = vec![0.0; HIDDEN];
        if how == GateGradient::Detached {
            return Ok(());
        }
        let w2 = ternary(&cx.params().view(self.conv2)?);
        let gamma = cx.params().view(self.gamma)?.into_owned();
        let through = |(i, r): (usize, &f32)| {
            let (n, k) = (i / HIDDEN, i % HIDDEN);
            let d = dc[2 * n] * w2[k] + dc[2 * n + 1] * w2[HIDDEN + k];
            if *r > 0.0 { d } else { 0.0 }
        };
        let g: Vec<f32> = memo.rectified.iter().enumerate().map(through).collect();
        let (mut dgamma, mut dbeta) = (zeros.clone(), zeros);
        for (i, g) in g.iter().enumerate() {
            dgamma[i % HIDDEN] += g * memo.normalised[i];
            dbeta[i % HIDDEN] += g;
        }
        let samples = dlogits.len() as f32;
        let dz: Vec<f32> = (0..g.len())
            .map(|i| {
                let k = i % HIDDEN;
                let batch = (dbeta[k] + memo.normalised[i] * dgamma[k]) / samples;
                let centred = if memo.from_batch { g[i] - batch } else { g[i] };
                gamma[k] * memo.scale[k] * centred
            })
            .collect();
        cx.add_param_grad(self.conv1, &outer(&dz, &memo.pooled, HIDDEN, self.channels))?;
        cx.add_param_grad(self.gamma, &dgamma)?;
        cx.add_param_grad(self.beta, &dbeta)
    }
}

/// `round(w / max|w|) max|w|`: at most three values.
pub(super) fn ternary(w: &[f32]) -> Vec<f32> {
    let largest = w.iter().fold(TINY, |m, v| m.max(v.abs()));
    w.iter()
        .map(|v| (v / largest).round_ties_even() * largest)
        .collect()
}

/// Two bits between the smallest and the largest value, on the grid of [`crate::ops::bound_quant`].
fn round_to_four_levels(values: &mut [f32]) {
    let (low, high) = extremes(values);
    let scale = 3.0 / (high - low + TINY);
    values
        .iter_mut()
        .for_each(|v| *v = (scale * *v).round_ties_even() / scale);
}

/// The larger of both; NaN stays NaN, where `f32::max` forgets it.
pub(super) fn at_least(floor: f32, x: f32) -> f32 {
    if x < floor { floor } else { x }
}

pub(super) fn extremes(values: &[f32]) -> (f32, f32) {
    let start = (f32::INFINITY, f32::NEG_INFINITY);
    values.iter().fold(start, |(l, h), &v| (l.min(v), h.max(v)))
}

/// Mean and biased variance of each hidden channel over the samples.
fn moments(z: &[f32], samples: usize) -> (Vec<f32>, Vec<f32>) {
    let mut mean = vec![0.0; HIDDEN];
    let mut var = vec![0.0; HIDDEN];
    z.iter()
        .enumerate()
        .for_each(|(i, z)| mean[i % HIDDEN] += z / samples as f32);
    for (i, z) in z.iter().enumerate() {
        var[i % HIDDEN] += (z - mean[i % HIDDEN]).powi(2) / samples as f32;
    }
    (mean, var)
}

/// `x (N, inputs)` times `w (outputs, inputs)` transposed.
fn product(x: &[f32], w: &[f32], inputs: usize) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    x.chunks_exact(inputs)
        .flat_map(|x| w.chunks_exact(inputs).map(move |w| dot(x, w)))
        .collect()
}

/// Gradient of `w (outputs, inputs)`: the sum over samples of `d (N, outputs)` times `x (N, inputs)`.
fn outer(d: &[f32], x: &[f32], outputs: usize, inputs: usize) -> Vec<f32> {
    let mut sum = vec![0.0; outputs * inputs];
    for (d, x) in d.chunks_exact(outputs).zip(x.chunks_exact(inputs)) {
        for (row, d) in sum.chunks_exact_mut(inputs).zip(d) {
            row.iter_mut().zip(x).for_each(|(s, x)| *s += d * x);
        }
    }
    sum
}
