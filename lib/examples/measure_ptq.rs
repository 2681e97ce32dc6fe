//! Post-training quantisation of the committed ResNet-20 on CIFAR-10: what each recipe costs, in top-1 and in seconds.
//!
//! ```text
//! cargo run --release -p rebit --example measure_ptq -- WHAT [SEED] [ITERATIONS]
//! ```
//!
//! `eight`: 8 bits by each preset, with times. `rounding`: W4A8 and W3A8, nearest against learned rounding, at one seed of
//! calibration images. `order`: the order of the layers' sensitivities at 3 bits against the rise of the cross entropy
//! over 1,000 other images. `mixed`: bits allocated at the size of 4 bits everywhere. `corrections`: W4A8 and W3A8 with
//! biases corrected in each way; per tensor with and without equalisation.

use std::time::Instant;

use rebit::data::BatchPlan;
use rebit::nn::Operand;
use rebit::prelude::*;
use rebit::ptq::{AdaRoundConfig, Correction, SensitivityConfig, sensitivity_with};

/// Calibration images.
const CALIBRATION: usize = 512;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let what = args.next().unwrap_or_default();
    let mut number = |default: usize| {
        args.next()
            .map_or(default, |n| n.parse().expect("a number"))
    };
    let (seed, iterations) = (number(1), number(AdaRoundConfig::default().iterations));
    let cifar = data::cifar10()?;
    let set = Set {
        net: pretrained_resnet20()?,
        calibration: cifar.train.take(CALIBRATION, seed as u64),
        test: cifar.test,
    };
    match what.as_str() {
        "eight" => set.eight(),
        "rounding" => set.rounding(seed, iterations),
        "order" => set.order(),
        "mixed" => set.mixed(seed),
        "corrections" => set.corrections(seed),
        other => Err(Error::invalid(
            format!("measurement {other:?}"),
            "say eight, rounding, order, mixed or corrections",
        )),
    }
}

struct Set {
    net: Net,
    calibration: Dataset,
    test: Dataset,
}

/// Top-1 in percent and mean cross entropy.
fn judge(net: &Net, data: &Dataset) -> Result<(f32, f64)> {
    let (right, entropies) = answers(net, data)?;
    Ok((100.0 * right as f32 / data.len() as f32, mean(&entropies)))
}

/// How many answers are right, and the cross entropy of each.
fn answers(net: &Net, data: &Dataset) -> Result<(usize, Vec<f64>)> {
    let mut epoch = BatchPlan::new(250)
        .normalized(Normalize::CIFAR10)
        .epoch(data, 0);
    let (mut right, mut entropies, mut images) = (0, Vec::new(), Vec::new());
    while let Some(labels) = epoch.try_fill(&mut images)? {
        let logits = net.predict_channels_last(&images, net.input_extent())?;
        for (row, label) in read(&logits).chunks_exact(logits.shape().1).zip(labels) {
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|v| f64::from(v - most).exp()).sum();
            let own = row[label as usize];
            entropies.push(sum.ln() - f64::from(own - most));
            right += usize::from(own == most);
        }
    }
    Ok((right, entropies))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Ranks, for Spearman's correlation; there are no ties to speak of.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    for (rank, at) in order.into_iter().enumerate() {
        ranks[at] = rank as f64;
    }
    ranks
}

fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let squares = ranks(a)
        .into_iter()
        .zip(ranks(b))
        .map(|(a, b)| (a - b).powi(2));
    1.0 - 6.0 * squares.sum::<f64>() / (n * (n * n - 1.0))
}

impl Set {
    fn images(&self) -> Images {
        let all: Vec<usize> = (0..self.calibration.len()).collect();
        self.calibration.images(&all, &Normalize::CIFAR10)
    }

    fn row(&self, what: &str, config: &PtqConfig) -> Result<(f32, f64)> {
        let images = self.images();
        let start = Instant::now();
        let (q, report) = post_training(&self.net, &images, config)?;
        let took = start.elapsed().as_secs_f64();
        let (top1, entropy) = judge(&q, &self.test)?;
        println!(
            "{what}: {top1:.2} %, cross entropy {entropy:.4}, divergence {:.4}, {took:.2} s",
            report.rise
        );
        Ok((top1, entropy))
    }

    fn float(&self) -> Result<f32> {
        let (top1, entropy) = judge(&self.net, &self.test)?;
        println!("full precision: {top1:.2} %, cross entropy {entropy:.4}");
        Ok(top1)
    }

    fn eight(&self) -> Result<()> {
        self.float()?;
        // The first run starts threads and fills pools.
        post_training(&self.net, &self.images(), &PtqConfig::minmax(8))?;
        self.row("minmax W8A8", &PtqConfig::minmax(8))?;
        self.row("default W8A8", &PtqConfig::bits(8))?;
        self.row(
            "minmax W8A8 per tensor, equalised",
            &PtqConfig::minmax(8).per_tensor(),
        )?;
        Ok(())
    }

    fn rounding(&self, seed: usize, iterations: usize) -> Result<()> {
        let float = self.float()?;
        for bits in [4, 3] {
            let nearest = PtqConfig::bits(bits).inputs(8);
            let learned = PtqConfig {
                rounding: Some(AdaRoundConfig {
                    iterations,
                    seed: seed as u64,
                    ..AdaRoundConfig::default()
                }),
                ..nearest.clone()
            };
            let what = format!("seed {seed}, W{bits}A8");
            let (before, _) = self.row(&format!("{what} nearest"), &nearest)?;
            let (after, _) = self.row(&format!("{what} learned"), &learned)?;
            println!(
                "{what}: {:.0} % of the loss recovered, {:+.2} points",
                100.0 * (after - before) / (float - before),
                after - before
            );
            let corrected = learned.corrected(Correction::Empirical);
            self.row(&format!("{what} learned, biases corrected"), &corrected)?;
        }
        Ok(())
    }

    /// Against 1,000 other images, and those against 4,000 more: what 1,000 images can tell at all.
    fn order(&self) -> Result<()> {
        let others = self.test.take(5000, 99);
        let images = self.images();
        let (_, before) = answers(&self.net, &others)?;
        for (range, per_channel) in [(Range::Mse, true), (Range::MinMax, false)] {
            let asked = SensitivityConfig {
                range,
                per_channel,
                ..SensitivityConfig::bits(3)
            };
            let start = Instant::now();
            let found = sensitivity_with(&self.net, &images, &asked)?;
            let took = start.elapsed().as_secs_f64();
            let (mut told, mut rises, mut more) = (Vec::new(), Vec::new(), Vec::new());
            for layer in &found.layers {
                let q = self.one_layer(&layer.name, &asked)?;
                let (_, after) = answers(&q, &others)?;
                let rise =
                    |part: std::ops::Range<usize>| mean(&after[part.clone()]) - mean(&before[part]);
                told.push(layer.at(3).unwrap_or(f64::NAN));
                rises.push(rise(0..1000));
                more.push(rise(1000..5000));
            }
            println!(
                "{range:?}, by channel {per_channel}: Spearman {:.3} against 1,000 images, {:.3} against 4,000 more, \
                 {:.3} between the two; sensitivities in {took:.1} s",
                spearman(&told, &rises),
                spearman(&told, &more),
                spearman(&rises, &more)
            );
            for (layer, ((told, rise), more)) in
                found.layers.iter().zip(told.iter().zip(&rises).zip(&more))
            {
                println!(
                    "  {}: divergence {told:.5}, cross entropy {rise:+.5} and {more:+.5}",
                    layer.name
                );
            }
        }
        Ok(())
    }

    /// The network with the weights of one layer on levels.
    fn one_layer(&self, name: &str, asked: &SensitivityConfig) -> Result<Net> {
        let (bits, range) = (asked.bits[0], asked.range);
        let net = self.net.duplicate()?;
        net.quantise(|layer| {
            let affine = Affine::bits(bits);
            let affine = if asked.per_channel {
                affine.per_channel()
            } else {
                affine
            };
            Ok(match layer.name == name {
                true => Slots::weights(affine, Range::MinMax),
                false => Slots::none(),
            })
        })?;
        let weight = net.parameter(&format!("{name}.weight"))?;
        let rows = if asked.per_channel { weight.dims[0] } else { 1 };
        let values = weight.to_vec();
        let mut bounds = Vec::new();
        for row in values.chunks_exact(values.len() / rows) {
            let found = range.affine_bounds(bits, row)?;
            bounds.extend([found.lower, found.upper]);
        }
        net.set_range(name, Operand::Weight, &bounds)?;
        Ok(net)
    }

    fn mixed(&self, seed: usize) -> Result<()> {
        let start = Instant::now();
        let found = sensitivity(&self.net, &self.images())?;
        println!("sensitivities in {:.1} s", start.elapsed().as_secs_f64());
        let start = Instant::now();
        let bits = allocate_bits(&found, BitBudget::Uniform(4))?;
        println!(
            "allocated in {:.2} s\n{bits}",
            start.elapsed().as_secs_f64()
        );
        let uniform = PtqConfig::bits(4).inputs(8);
        self.row(&format!("seed {seed}, uniform 4 bits"), &uniform)?;
        self.row(&format!("seed {seed}, mixed"), &uniform.allocated(&bits))?;
        Ok(())
    }

    fn corrections(&self, seed: usize) -> Result<()> {
        self.float()?;
        for bits in [3] {
            for correction in [
                None,
                Some(Correction::Analytic),
                Some(Correction::Empirical),
            ] {
                for (range, input_range) in [
                    (Range::MinMax, Range::MinMax),
                    (Range::Mse, Range::Mse),
                    (Range::Mse, Range::Kl),
                    (Range::Mse, Range::Percentile(0.9999)),
                ] {
                    let config = PtqConfig {
                        correction,
                        weight_range: range,
                        input_range,
                        ..PtqConfig::bits(bits).inputs(8)
                    };
                    let what =
                        format!("seed {seed}, W{bits}A8 {range:?}/{input_range:?}, {correction:?}");
                    self.row(&what, &config)?;
                }
            }
        }
        for (what, config) in [
            (
                "per tensor",
                PtqConfig {
                    per_channel: false,
                    ..PtqConfig::bits(4).inputs(8)
                },
            ),
            (
                "per tensor, equalised",
                PtqConfig::bits(4).inputs(8).per_tensor(),
            ),
        ] {
            self.row(&format!("seed {seed}, W4A8 {what}"), &config)?;
        }
        Ok(())
    }
}
