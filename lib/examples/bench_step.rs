//! Milliseconds of a training step on the device of this build: ResNet-20 at batch 128 (full precision, 2 bits, 2 bits
//! with LTS) and EDSR x2 of 16 blocks and 64 channels on 16 patches of 48x48.
//!
//! ```text
//! cargo run --release -p rebit --example bench_step -- [STEPS] [resnet|edsr]
//! ```
//!
//! Images are random: the arithmetic does not care. The machine should be idle. On an emulated GPU the sizes are small
//! and the figures mean nothing.

use std::time::Instant;

use rand::Rng as _;
use rebit::data::{Patches, Photo, SrPair};
use rebit::nn::{EdsrConfig, edsr};
use rebit::papers::lts::{self, LtsConfig, Threshold};
use rebit::prelude::*;
use rebit::train::{SrConfig, train_sr};

/// What is trained in a step.
struct Sizes {
    batch: usize,
    patches: usize,
    /// Side of a patch.
    patch: usize,
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let steps = args.next().map_or(20, |n| n.parse().expect("STEPS"));
    let only = args.next();
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let emulated = rebit::gpu::probe().is_ok_and(|gpu| gpu.is_emulated());
    let sizes = if emulated {
        println!("an emulated GPU: small sizes, and the figures mean nothing");
        Sizes {
            batch: 2,
            patches: 1,
            patch: 8,
        }
    } else {
        Sizes {
            batch: 128,
            patches: 16,
            patch: 48,
        }
    };
    if wanted("resnet") {
        resnets(steps, &sizes)?;
    }
    if wanted("edsr") {
        super_resolution(steps, &sizes)?;
    }
    Ok(())
}

fn resnets(steps: usize, sizes: &Sizes) -> Result<()> {
    let data = noise(sizes.batch * steps);
    let nothing = data.subset(0..0);
    let config = TrainConfig {
        epochs: 2,
        batch_size: sizes.batch,
        show: false,
        ..TrainConfig::default()
    };
    // The first epoch warms buffers up; the second is measured.
    let measure = |label: &str, net: &Net, observer: &mut dyn Observer| -> Result<()> {
        let history = train_with(net, &data, &nothing, &config, observer)?;
        let e = &history.epochs[1];
        let ms = |seconds: f32| 1000.0 * seconds / steps as f32;
        println!(
            "{:<34} {:>7.2} ms a step; backward {:>6.2}, weight gradients {:>6.2}; {:.0} MB of activations",
            format!("ResNet-20, {label}"),
            ms(e.seconds),
            ms(e.backward_seconds),
            ms(e.weight_grad_seconds),
            net.peak_activation_bytes() as f32 / 1e6,
        );
        Ok(())
    };
    struct Nobody;
    impl Observer for Nobody {}
    measure("full precision", &resnet20(10, rng(0)), &mut Nobody)?;
    let net = resnet20(10, rng(0));
    net.quantise(|_| Ok(Slots::bits(2)))?;
    measure("2 bits", &net, &mut Nobody)?;
    // With this threshold everything that can freeze has frozen when the second epoch begins.
    let net = resnet20(10, rng(0));
    let all = LtsConfig {
        warmup: 0.0,
        threshold: Threshold::Constant(1.0),
        ..LtsConfig::default()
    };
    let mut frozen = lts::quantise(&net, all)?;
    measure("2 bits, LTS", &net, &mut frozen)?;
    println!(
        "{:.1} % of the weights were frozen in the last row",
        100.0 * frozen.frozen_share()
    );
    Ok(())
}

fn super_resolution(steps: usize, sizes: &Sizes) -> Result<()> {
    let size = EdsrConfig {
        scale: 2,
        blocks: 16,
        channels: 64,
        ..EdsrConfig::default()
    };
    let photo = speckle(4 * sizes.patch);
    let patches = Patches::new(std::slice::from_ref(&photo), size.scale, sizes.patch)?;
    // A run ends with a measurement on a photograph: a small one.
    let test = [SrPair::new(&photo.centre(16, 16), size.scale)?];
    let net = edsr(&size, rng(0))?;
    let train = |iterations: usize| -> Result<f64> {
        let config = SrConfig {
            iterations,
            batch: sizes.patches,
            ..SrConfig::default()
        };
        let start = Instant::now();
        train_sr(&net, &patches, &test, &config)?;
        Ok(start.elapsed().as_secs_f64())
    };
    // What a run costs beside its steps is in both, and so is what the first steps warm up.
    train(2)?;
    let (few, many) = (train(2)?, train(2 + steps)?);
    println!(
        "{:<34} {:>7.2} ms a step; {:.0} MB of activations",
        "EDSR x2, 16 blocks of 64 channels",
        1000.0 * (many - few) / steps as f64,
        net.peak_activation_bytes() as f32 / 1e6,
    );
    Ok(())
}

/// Images of noise with the labels in turn.
fn noise(n: usize) -> Dataset {
    let mut rng = rng(0);
    Dataset {
        name: "noise".into(),
        images: (0..n * 3 * 32 * 32).map(|_| rng.random()).collect(),
        labels: (0..n).map(|i| (i % 10) as u8).collect(),
        classes: (0..10).map(|i| i.to_string()).collect(),
        channels: 3,
        height: 32,
        width: 32,
    }
}

/// A square photograph of noise.
fn speckle(side: usize) -> Photo {
    let mut rng = rng(1);
    Photo {
        name: "speckle".into(),
        height: side,
        width: side,
        rgb: (0..side * side * 3).map(|_| rng.random()).collect(),
    }
}
