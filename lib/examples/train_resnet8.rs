//! Trains the full-precision ResNet-8 on CIFAR-10 at 16x16 that experiments with many runs start from.
//!
//! ```text
//! cargo run --release -p rebit --example train_resnet8 -- [EPOCHS] [OUT.safetensors]
//! ```
//!
//! The recipe: images pooled over 2x2 pixels, SGD with Nesterov momentum 0.9, batch 128, weight decay 2e-4, learning
//! rate rising to 0.2 over the first 15 % of the run and falling linearly to 0, crops with padding 2 and flips. The
//! state after each epoch is kept beside the result, so that a run that was stopped continues.

use std::path::PathBuf;

use rebit::nn::resnet8;
use rebit::prelude::*;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let epochs = args
        .next()
        .map_or(Ok(30), |e| e.parse())
        .expect("EPOCHS is a number");
    let out = PathBuf::from(args.next().unwrap_or("target/resnet8.safetensors".into()));
    let cifar = data::cifar10()?.mean_pooled(2)?;
    let net = resnet8(10, rng(1));
    let config = TrainConfig {
        label: "ResNet-8".into(),
        epochs,
        lr: 0.2,
        nesterov: true,
        weight_decay: 2e-4,
        seed: 1,
        schedule: Schedule::Triangle { warmup: 0.15 },
        augment: Some(Augment::PaddedCrop {
            padding: 2,
            flip: true,
        }),
        checkpoint: Some(out.with_extension("state.safetensors")),
        ..TrainConfig::default()
    };
    let history = try_train(&net, &cifar.train, &cifar.test, &config)?;
    let accuracy = format!("{:.2}", history.final_accuracy());
    net.save(
        &out,
        &[
            ("network", "ResNet-8, CIFAR-10 at 16x16"),
            ("epochs", &epochs.to_string()),
            ("top1", &accuracy),
        ],
    )?;
    println!(
        "{accuracy} % top-1 on the test images; {} written",
        out.display()
    );
    Ok(())
}
