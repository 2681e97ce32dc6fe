//! Trains the full-precision ResNet-20 that the quantisation notebooks start from.
//!
//! ```text
//! cargo run --release -p rebit --example train_resnet20 -- [EPOCHS] [OUT.safetensors]
//! ```
//!
//! The recipe: SGD with Nesterov momentum 0.9, batch 128, weight decay 5e-4, learning rate rising to 0.2 over
//! the first 15 % of the run and falling linearly to 0, crops with padding 4 and flips. The state after each
//! epoch is kept beside the result, so that a run that was stopped continues.

use rebit::prelude::*;

#[path = "support/classifier.rs"]
mod classifier;

use classifier::Arguments;

fn main() -> Result<()> {
    let arguments = Arguments::read(30, "target/resnet20.safetensors");
    let cifar = data::cifar10()?;
    let net = resnet20(10, rng(1));
    let recipe = TrainConfig {
        label: "ResNet-20".into(),
        lr: 0.2,
        nesterov: true,
        weight_decay: 5e-4,
        seed: 1,
        schedule: Schedule::Triangle { warmup: 0.15 },
        ..TrainConfig::default()
    };
    arguments.train("ResNet-20, CIFAR-10", &net, &cifar, recipe)
}
