//! Post-training quantisation of the committed ResNet-20 on CIFAR-10, and of a MobileNetV2: what each recipe costs, in top-1
//! and in seconds.
//!
//! ```text
//! cargo run --release -p rebit --example measure_ptq -- WHAT [SEED] [ITERATIONS]
//! cargo run --release -p rebit --example measure_ptq -- mobile WEIGHTS [SEED]
//! ```
//!
//! `eight`: 8 bits by each preset, with times. `rounding`: W4A8 and W3A8, nearest against learned rounding, at one seed of
//! calibration images. `order`: the order of the layers' sensitivities at 3 bits, and by other measures, against the rise of
//! the cross entropy over test images, and how far those agree among themselves. `mobile`: MobileNetV2 per tensor, with and
//! without equalisation and corrected biases, with the weights that `train_mobilenet_v2` wrote. `mixed`: bits allocated at the
//! size of 4 bits everywhere. `corrections`: W4A8 and W3A8 with biases corrected in each way; per tensor with and without
//! equalisation.

use std::time::Instant;

use rebit::nn::{MobilenetConfig, mobilenet_v2_with};
use rebit::prelude::*;
use rebit::ptq::{AdaRoundConfig, Correction};

#[path = "../support/judge.rs"]
mod judge;
mod measures;
mod mobile;
mod order;

use judge::judge;

/// Calibration images.
const CALIBRATION: usize = 512;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let what = args.next().unwrap_or_default();
    let net = match what.as_str() {
        "mobile" => {
            let net = mobilenet_v2_with(&MobilenetConfig::cifar(), rng(0))?;
            net.load(
                args.next()
                    .unwrap_or("target/mobilenet_v2.safetensors".into()),
            )?;
            net
        }
        _ => pretrained_resnet20()?,
    };
    let mut number = |default: usize| {
        args.next()
            .map_or(default, |n| n.parse().expect("a number"))
    };
    let (seed, iterations) = (number(1), number(AdaRoundConfig::default().iterations));
    let cifar = data::cifar10()?;
    let set = Set {
        net,
        calibration: cifar.train.take(CALIBRATION, seed as u64),
        train: cifar.train,
        test: cifar.test,
    };
    match what.as_str() {
        "eight" => set.eight(),
        "rounding" => set.rounding(seed, iterations),
        "order" => set.order(seed),
        "mobile" => set.mobile(seed),
        "mixed" => set.mixed(seed),
        "corrections" => set.corrections(seed),
        other => Err(Error::invalid(
            format!("measurement {other:?}"),
            "say eight, rounding, order, mobile, mixed or corrections",
        )),
    }
}

struct Set {
    net: Net,
    calibration: Dataset,
    train: Dataset,
    test: Dataset,
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
