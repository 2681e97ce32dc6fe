//! Trains the full-precision MobileNetV1 x0.25 on CIFAR-10: the architecture that papers on quantisation without data report
//! first.
//!
//! ```text
//! cargo run --release -p rebit --example train_mobilenet_v1 -- [EPOCHS] [OUT.safetensors]
//! ```
//!
//! The recipe: that of `train_mobilenet_v2` (images of 32x32 with a stem of stride 1, SGD with Nesterov momentum 0.9, batch
//! 128, crops with padding 4 and flips, learning rate rising to 0.1 over the first 15 % of the run and falling to 0 along half
//! a cosine) with weight decay 1e-4. The state after each epoch is kept beside the result, so that a run that was stopped
//! continues.

use rebit::nn::{MobilenetConfig, mobilenet_v1_with};
use rebit::prelude::*;

#[path = "support/classifier.rs"]
mod classifier;

use classifier::Arguments;

fn main() -> Result<()> {
    let arguments = Arguments::read(20, "target/mobilenet_v1.safetensors");
    let cifar = data::cifar10()?;
    let net = mobilenet_v1_with(&MobilenetConfig::quarter_cifar(), rng(1))?;
    let recipe = TrainConfig {
        label: "MobileNetV1".into(),
        lr: 0.1,
        nesterov: true,
        weight_decay: 1e-4,
        seed: 1,
        schedule: Schedule::Cosine { warmup: 0.15 },
        ..TrainConfig::default()
    };
    arguments.train("MobileNetV1 x0.25, CIFAR-10", &net, &cifar, recipe)
}
