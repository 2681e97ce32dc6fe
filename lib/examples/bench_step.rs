//! Milliseconds of a training step of ResNet-20 at batch 128: full precision, 2 bits, 2 bits with LTS.
//!
//! ```text
//! cargo run --release -p rebit --example bench_step -- [STEPS]
//! ```
//!
//! Images are random: the arithmetic does not care. The machine should be idle.

use rebit::papers::lts::{self, LtsConfig, Threshold};
use rebit::prelude::*;

fn main() -> Result<()> {
    let steps = std::env::args()
        .nth(1)
        .map_or(Ok(20), |n| n.parse())
        .expect("STEPS is a number");
    let data = noise(128 * steps);
    let nothing = data.subset(0..0);
    let config = TrainConfig {
        epochs: 2,
        show: false,
        ..TrainConfig::default()
    };
    // The first epoch warms buffers up; the second is measured.
    let measure = |label: &str, net: &Net, observer: &mut dyn Observer| -> Result<()> {
        let history = train_with(net, &data, &nothing, &config, observer)?;
        let e = &history.epochs[1];
        let ms = |seconds: f32| 1000.0 * seconds / steps as f32;
        println!(
            "{label:<34} {:>7.1} ms a step; backward {:>6.1}, weight gradients {:>6.1}; {:.0} MB of activations",
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

/// Images of noise with the labels in turn.
fn noise(n: usize) -> Dataset {
    use rand::Rng as _;
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
