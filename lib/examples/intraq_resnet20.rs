//! IntraQ on the committed ResNet-20: images made from the network alone, and low-bit students trained on them.
//!
//! ```text
//! cargo run --release -p rebit --example intraq_resnet20 -- [SOURCE] [IMAGES] [STEPS] [BITS] [STUDENT_STEPS] [MICRO_LR] [TEST]
//! ```
//!
//! `SOURCE`: `intraq`, `homogeneous` (statistics and cross entropy), `statistics` or `real` (training images, as many).
//! Says how many images the network takes for what they were made for, how far images of a class lie apart, how well the
//! statistics fit, and what a student scores on `TEST` test images with ranges alone and trained at a learning rate of
//! `MICRO_LR` millionths.

use std::time::Instant;

use rebit::data::{BatchPlan, Epoch};
use rebit::metrics::within_class_distance;
use rebit::nn::{CifarResnetConfig, Net, cifar_resnet_with};
use rebit::papers::intraq::{IntraqConfig, StudentConfig, finetune, synthesise};
use rebit::prelude::*;
use rebit::train::top1;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let source = args.next().unwrap_or_else(|| "intraq".into());
    let mut number = |default: usize| {
        args.next()
            .map_or(default, |n| n.parse().expect("a number"))
    };
    let (count, steps, bits, student_steps) = (number(512), number(300), number(3), number(300));
    let (micro_lr, test) = (number(100), number(10_000));
    let cifar = data::cifar10()?;
    let net = with_sites(&pretrained_resnet20()?)?;
    let config = IntraqConfig {
        images: count,
        iterations: steps,
        show: false,
        ..IntraqConfig::small()
    };
    let start = Instant::now();
    let images = match source.as_str() {
        "intraq" => synthesise(&net, &config)?.images,
        "homogeneous" => synthesise(&net, &config.homogeneous())?.images,
        "statistics" => synthesise(&net, &config.statistics_only())?.images,
        "real" => real(&cifar.train.take(count, 1))?,
        other => panic!("no source {other}"),
    };
    println!(
        "{source}: {count} images in {:.1} s",
        start.elapsed().as_secs_f64()
    );
    describe(&net, &images)?;
    let student = StudentConfig {
        steps: student_steps,
        lr: micro_lr as f32 * 1e-6,
        show: false,
        ..StudentConfig::small(bits as u32)
    };
    let start = Instant::now();
    let run = finetune(
        &net,
        &images,
        (&cifar.test.take(test, 1), &Normalize::CIFAR10),
        &student,
    )?;
    println!(
        "W{bits}A{bits}: ranges alone {:.2} %, after {student_steps} steps {:.2} %, best {:.2} % ({:.1} s); loss {:.3} to {:.3}",
        run.ranges_only,
        run.last,
        run.best,
        start.elapsed().as_secs_f64(),
        run.loss[0],
        run.loss[run.loss.len() - 1],
    );
    Ok(())
}

/// The network with places for activation quantisers behind every ReLU.
fn with_sites(trained: &Net) -> Result<Net> {
    let net = cifar_resnet_with(
        &CifarResnetConfig {
            sites: true,
            ..CifarResnetConfig::default()
        },
        rng(0),
    )?;
    net.copy_parameters(trained)?;
    Ok(net)
}

/// Photographs, normalised.
fn real(photographs: &Dataset) -> Result<FloatImages> {
    let mut made: Option<FloatImages> = None;
    for (x, labels) in &Batches::new(photographs.clone(), 128).normalized(Normalize::CIFAR10) {
        match &mut made {
            Some(all) => all.push(&x, &labels)?,
            None => made = Some(FloatImages::new("real", &x, labels)?),
        }
    }
    made.ok_or_else(|| panic!("no images"))
}

/// How the network sees the images.
fn describe(net: &Net, images: &FloatImages) -> Result<()> {
    let (mut values, mut right, mut statistics, mut batches) = (Vec::new(), 0, 0.0, 0);
    let mut features = Vec::new();
    let mut epoch: Epoch = BatchPlan::new(128)
        .normalized(Normalize::UNIT)
        .epoch(images, 0);
    let extent = net.input_extent();
    let mut labels_seen: Vec<u32> = Vec::new();
    while let Some(labels) = epoch.try_fill(&mut values)? {
        let mut pass = net.run_channels_last(&values, extent, Mode::Eval)?;
        let logits = pass.channels_last("fc")?;
        let answers = top1(&logits, 10);
        right += answers.iter().zip(&labels).filter(|(a, l)| a == l).count();
        features.extend(pass.channels_last("global_avg_pool")?);
        let norms = net.norms();
        for norm in &norms {
            let loss = moments_loss(pass.moments(norm)?, norm);
            statistics += read(&loss)[0] / norms.len() as f32;
        }
        batches += 1;
        labels_seen.extend(labels);
    }
    let count = labels_seen.len();
    let features: Matrix = from_vec(features, (count, 64))?;
    let distances = within_class_distance(&features, &labels_seen)?;
    let mean = distances.iter().map(|(_, d)| d).sum::<f32>() / distances.len() as f32;
    println!(
        "  the network agrees with {:.1} % of the labels; mean distance within a class {mean:.3}; L_BNS {:.4}",
        100.0 * right as f32 / count as f32,
        statistics / batches as f32
    );
    Ok(())
}
