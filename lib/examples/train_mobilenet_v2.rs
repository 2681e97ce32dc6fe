//! Trains the full-precision MobileNetV2 x0.35 on CIFAR-10 that ranges of whole tensors are tried on.
//!
//! ```text
//! cargo run --release -p rebit --example train_mobilenet_v2 -- [EPOCHS] [OUT.safetensors]
//! ```
//!
//! The recipe: images of 32x32 with a stem of stride 1, SGD with Nesterov momentum 0.9, batch 128, weight decay 2e-4,
//! learning rate rising to 0.1 over the first 15 % of the run and falling to 0 along half a cosine, crops with padding 4
//! and flips. The state after each epoch is kept beside the result, so that a run that was stopped continues.

use std::path::PathBuf;

use rebit::nn::{MobilenetConfig, mobilenet_v2_with};
use rebit::prelude::*;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let epochs = args
        .next()
        .map_or(Ok(12), |e| e.parse())
        .expect("EPOCHS is a number");
    let out = PathBuf::from(
        args.next()
            .unwrap_or("target/mobilenet_v2.safetensors".into()),
    );
    let cifar = data::cifar10()?;
    let net = mobilenet_v2_with(&MobilenetConfig::cifar(), rng(1))?;
    let config = TrainConfig {
        label: "MobileNetV2".into(),
        epochs,
        lr: 0.1,
        nesterov: true,
        weight_decay: 2e-4,
        seed: 1,
        schedule: Schedule::Cosine { warmup: 0.15 },
        checkpoint: Some(out.with_extension("state.safetensors")),
        ..TrainConfig::default()
    };
    let history = try_train(&net, &cifar.train, &cifar.test, &config)?;
    let accuracy = format!("{:.2}", history.final_accuracy());
    net.save(
        &out,
        &[
            ("network", "MobileNetV2 x0.35, CIFAR-10"),
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
