//! Trains the full-precision ResNet-20 that the quantisation notebooks start from.
//!
//! ```text
//! cargo run --release -p rebit --example train_resnet20 -- [EPOCHS] [OUT.safetensors]
//! ```
//!
//! The recipe: SGD with Nesterov momentum 0.9, batch 128, weight decay 5e-4, learning rate rising to 0.2 over
//! the first 15 % of the run and falling linearly to 0, crops with padding 4 and flips. The state after each
//! epoch is kept beside the result, so that a run that was stopped continues.

use std::path::PathBuf;

use rebit::prelude::*;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let epochs = args
        .next()
        .map_or(Ok(30), |e| e.parse())
        .expect("EPOCHS is a number");
    let out = PathBuf::from(args.next().unwrap_or("target/resnet20.safetensors".into()));
    let cifar = data::cifar10()?;
    let net = resnet20(10, rng(1));
    let config = TrainConfig {
        label: "ResNet-20".into(),
        epochs,
        lr: 0.2,
        nesterov: true,
        weight_decay: 5e-4,
        seed: 1,
        schedule: Schedule::Triangle { warmup: 0.15 },
        checkpoint: Some(out.with_extension("state.safetensors")),
        ..TrainConfig::default()
    };
    let history = try_train(&net, &cifar.train, &cifar.test, &config)?;
    let accuracy = format!("{:.2}", history.final_accuracy());
    net.save(
        &out,
        &[
            ("network", "ResNet-20, CIFAR-10"),
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
