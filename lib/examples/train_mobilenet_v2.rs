//! Trains the full-precision MobileNetV2 x0.35 on CIFAR-10 that ranges of whole tensors are tried on.
//!
//! ```text
//! cargo run --release -p rebit --example train_mobilenet_v2 -- [EPOCHS] [OUT.safetensors]
//! ```
//!
//! The recipe: images of 32x32 with a stem of stride 1, SGD with Nesterov momentum 0.9, batch 128, weight decay 2e-4,
//! learning rate rising to 0.1 over the first 15 % of the run and falling to 0 along half a cosine, crops with padding 4
//! and flips. The state after each epoch is kept beside the result, so that a run that was stopped continues.

use rebit::nn::{MobilenetConfig, mobilenet_v2_with};
use rebit::prelude::*;

#[path = "support/classifier.rs"]
mod classifier;

use classifier::Arguments;

fn main() -> Result<()> {
    let arguments = Arguments::read(12, "target/mobilenet_v2.safetensors");
    let cifar = data::cifar10()?;
    let net = mobilenet_v2_with(&MobilenetConfig::cifar(), rng(1))?;
    let recipe = TrainConfig {
        label: "MobileNetV2".into(),
        lr: 0.1,
        nesterov: true,
        weight_decay: 2e-4,
        seed: 1,
        schedule: Schedule::Cosine { warmup: 0.15 },
        ..TrainConfig::default()
    };
    arguments.train("MobileNetV2 x0.35, CIFAR-10", &net, &cifar, recipe)
}
