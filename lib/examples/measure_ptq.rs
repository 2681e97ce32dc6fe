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

/// Top-1 in percent and cross entropy.
fn judge(net: &Net, data: &Dataset) -> Result<(f32, f64)> {
    let mut epoch = BatchPlan::new(250)
        .normalized(Normalize::CIFAR10)
        .epoch(data, 0);
    let (mut right, mut entropy, mut images) = (0, 0.0, Vec::new());
    while let Some(labels) = epoch.try_fill(&mut images)? {
        let logits = net.predict_channels_last(&images, net.input_extent())?;
        for (row, label) in read(&logits).chunks_exact(logits.shape().1).zip(labels) {
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|v| f64::from(v - most).exp()).sum();
            let own = row[label as usize];
            entropy += sum.ln() - f64::from(own - most);
            right += usize::from(own == most);
        }
    }
    let n = data.len() as f64;
    Ok((100.0 * right as f32 / n as f32, entropy / n))
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

    fn order(&self) -> Result<()> {
        let others = self.test.take(1000, 99);
        let images = self.images();
        let start = Instant::now();
        let found = sensitivity_with(&self.net, &images, &SensitivityConfig::bits(3))?;
        let took = start.elapsed().as_secs_f64();
        let (_, entropy) = judge(&self.net, &others)?;
        let mut rises = Vec::new();
        let mut told = Vec::new();
        for layer in &found.layers {
            let float = rebit::ptq::LayerBits::FLOAT;
            let mut config = PtqConfig::bits(3).weights_only();
            for other in found.layers.iter().filter(|l| l.name != layer.name) {
                config = config.layer(&other.name, float);
            }
            let one = blank(self.net.input_extent());
            let (q, _) = post_training(&self.net, &one, &config)?;
            let (_, with) = judge(&q, &others)?;
            rises.push(with - entropy);
            told.push(layer.at(3).unwrap_or(f64::NAN));
            println!(
                "{}: divergence {:.5}, cross entropy {:+.5}",
                layer.name,
                told[told.len() - 1],
                with - entropy
            );
        }
        println!(
            "Spearman {:.3}, sensitivities in {took:.1} s",
            spearman(&told, &rises)
        );
        Ok(())
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
        for (what, base) in [
            ("weights only", PtqConfig::bits(4).weights_only()),
            ("8-bit inputs", PtqConfig::bits(4).inputs(8)),
        ] {
            self.row(&format!("seed {seed}, uniform 4 bits, {what}"), &base)?;
            self.row(
                &format!("seed {seed}, mixed, {what}"),
                &base.clone().allocated(&bits),
            )?;
        }
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

/// One image of zeros: weights alone need none, but a calibration is asked for.
fn blank(extent: Extent) -> Images {
    let numbers = vec![0.0; extent.len()];
    let shape = (1, extent.channels, extent.height, extent.width);
    from_vec(numbers, shape).expect("as many numbers")
}
