//! Trains the full-precision ResNet-8 on CIFAR-10 at 16x16 that experiments with many runs start from.
//!
//! ```text
//! cargo run --release -p rebit --example train_resnet8 -- [EPOCHS] [OUT.safetensors]
//! ```
//!
//! The recipe: images pooled over 2x2 pixels, SGD with Nesterov momentum 0.9, batch 128, weight decay 2e-4, learning
//! rate rising to 0.2 over the first 15 % of the run and falling linearly to 0, crops with padding 2 and flips. The
//! state after each epoch is kept beside the result, so that a run that was stopped continues.

use rebit::nn::resnet8;
use rebit::prelude::*;

#[path = "support/classifier.rs"]
mod classifier;

use classifier::Arguments;

fn main() -> Result<()> {
    let arguments = Arguments::read(30, "target/resnet8.safetensors");
    let cifar = data::cifar10()?.mean_pooled(2)?;
    let net = resnet8(10, rng(1));
    let recipe = TrainConfig {
        label: "ResNet-8".into(),
        lr: 0.2,
        nesterov: true,
        weight_decay: 2e-4,
        seed: 1,
        schedule: Schedule::Triangle { warmup: 0.15 },
        augment: Some(Augment::PaddedCrop {
            padding: 2,
            flip: true,
        }),
        ..TrainConfig::default()
    };
    arguments.train("ResNet-8, CIFAR-10 at 16x16", &net, &cifar, recipe)
}
