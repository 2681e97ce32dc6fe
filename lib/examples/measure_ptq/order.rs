//! Whether a measure without labels puts the layers in the order of the rise of the cross entropy.

use std::ops::Range as Span;

use rebit::nn::Operand;
use rebit::prelude::*;
use rebit::ptq::{SensitivityConfig, sensitivity_with};

use super::judge::{entropies, logits, mean, spearman};
use super::measures::{NAMES, measures};
use super::{CALIBRATION, Set};

/// Training images, calibration apart, that measures are chosen on.
const CHOSEN_ON: usize = 5000;
/// Images of a judgement.
const JUDGED: usize = 1000;

/// The rise of the cross entropy by layer and image, and the logits it comes from.
struct Seen {
    exact: Vec<f32>,
    on_levels: Vec<Vec<f32>>,
    rises: Vec<Vec<f64>>,
    classes: usize,
}

impl Seen {
    fn of(net: &Net, nets: &[Net], data: &Dataset) -> Result<Seen> {
        let (exact, classes) = logits(net, data)?;
        let before = entropies(&exact, &data.labels, classes);
        let (mut on_levels, mut rises) = (Vec::new(), Vec::new());
        for net in nets {
            let found = logits(net, data)?.0;
            let after = entropies(&found, &data.labels, classes);
            rises.push(after.iter().zip(&before).map(|(a, b)| a - b).collect());
            on_levels.push(found);
        }
        Ok(Seen {
            exact,
            on_levels,
            rises,
            classes,
        })
    }

    /// Mean rise of each layer over some of the images.
    fn rise(&self, images: Span<usize>) -> Vec<f64> {
        self.rises
            .iter()
            .map(|of| mean(&of[images.clone()]))
            .collect()
    }

    fn images(&self) -> usize {
        self.exact.len() / self.classes
    }

    /// By measure, its value for each layer.
    fn told(&self) -> Vec<Vec<f64>> {
        let by_layer = self.on_levels.iter();
        let by_layer: Vec<_> = by_layer
            .map(|on_levels| measures(&self.exact, on_levels, self.classes))
            .collect();
        (0..NAMES.len())
            .map(|k| by_layer.iter().map(|m| m[k]).collect())
            .collect()
    }
}

impl Set {
    /// Against parts of the test images, and the parts against each other: what so many images can tell at all.
    pub fn order(&self, seed: usize) -> Result<()> {
        let images = self.images();
        let more = CALIBRATION + CHOSEN_ON;
        let chosen_on = self.train.take(more, seed as u64);
        let chosen_on = chosen_on.subset(CALIBRATION..more);
        for (range, per_channel) in [(Range::Mse, true), (Range::MinMax, false)] {
            let asked = SensitivityConfig {
                range,
                per_channel,
                ..SensitivityConfig::bits(3)
            };
            let start = std::time::Instant::now();
            let found = sensitivity_with(&self.net, &images, &asked)?;
            let took = start.elapsed().as_secs_f64();
            println!("\n{range:?}, by channel {per_channel}: sensitivities in {took:.1} s");
            let nets = found.layers.iter();
            let nets = nets.map(|layer| self.one_layer(&layer.name, &asked));
            let nets = nets.collect::<Result<Vec<_>>>()?;
            let seen = |data: &Dataset| Seen::of(&self.net, &nets, data);
            let test = seen(&self.test)?;
            ceiling(&test);
            let told: Vec<f64> = found.layers.iter().filter_map(|l| l.at(3)).collect();
            agreement("sensitivity", &told, &test);
            let (own, others) = (seen(&self.calibration)?, seen(&chosen_on)?);
            let with_labels = own.rise(0..own.images());
            agreement("with labels", &with_labels, &test);
            let truth = others.rise(0..others.images());
            println!(
                "  measures on the calibration images, against the rise over {CHOSEN_ON} other training images"
            );
            for (name, told) in NAMES.iter().zip(own.told()) {
                println!("    {name}: {:.3}", spearman(&told, &truth));
                agreement(name, &told, &test);
            }
            println!(
                "  measures on {CHOSEN_ON} training images, against their own rise and that of the test images"
            );
            let all = test.rise(0..test.images());
            for (name, told) in NAMES.iter().zip(others.told()) {
                let (own, test) = (spearman(&told, &truth), spearman(&told, &all));
                println!("    {name}: {own:.3}, {test:.3}");
            }
            let train_test = spearman(&truth, &all);
            println!("  rise over training images against that over test images: {train_test:.3}");
            for (i, layer) in found.layers.iter().enumerate() {
                let (rise, n) = (all[i], test.images() as f64);
                let spread = test.rises[i].iter().map(|r| (r - rise).powi(2));
                let error = (spread.sum::<f64>() / n / n).sqrt();
                println!(
                    "  {}: divergence {:.5}, cross entropy {rise:+.5} +- {error:.5}",
                    layer.name, told[i]
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
}

/// The parts of so many images that the test images divide into.
fn parts(images: usize, each: usize) -> impl Iterator<Item = Span<usize>> {
    (0..images / each).map(move |i| i * each..(i + 1) * each)
}

/// How far disjoint parts of the test images agree, and how far they agree with all.
fn ceiling(test: &Seen) {
    let all = test.rise(0..test.images());
    for each in [JUDGED, test.images() / 2] {
        let rises: Vec<Vec<f64>> = parts(test.images(), each).map(|p| test.rise(p)).collect();
        let mut pairs = Vec::new();
        for (i, a) in rises.iter().enumerate() {
            pairs.extend(rises[..i].iter().map(|b| spearman(a, b)));
        }
        let with_all: Vec<f64> = rises.iter().map(|r| spearman(r, &all)).collect();
        println!(
            "  disjoint parts of {each} images among themselves: {:.3} ({:.3} to {:.3}); with all {}: {:.3}",
            mean(&pairs),
            pairs.iter().copied().fold(f64::INFINITY, f64::min),
            pairs.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            test.images(),
            mean(&with_all)
        );
    }
}

/// How far an order agrees with that of the rises over each part, and over all.
fn agreement(what: &str, told: &[f64], test: &Seen) {
    let with = |p| spearman(told, &test.rise(p));
    let each: Vec<f64> = parts(test.images(), JUDGED).map(with).collect();
    println!(
        "  {what}: {:.3} with {JUDGED} test images ({:.3} to {:.3}), {:.3} with all",
        mean(&each),
        each.iter().copied().fold(f64::INFINITY, f64::min),
        each.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        with(0..test.images())
    );
}
