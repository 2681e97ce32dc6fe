//! Hashes of the weights after some training steps, and milliseconds a step: what a change of the executor must keep.
//!
//! ```text
//! cargo run --release -p rebit --example hash_steps -- [STEPS]
//! ```

use std::time::Instant;

use rebit::data::{Patches, Photo, SrPair};
use rebit::nn::{EdsrConfig, edsr};
use rebit::papers::ddtb::{self, DdtbConfig, Gates};
use rebit::papers::lts::{self, LtsConfig};
use rebit::prelude::*;

fn main() -> Result<()> {
    let steps: usize = std::env::args()
        .nth(1)
        .map_or(Ok(50), |n| n.parse())
        .expect("STEPS is a number");
    let data = noise(128 * steps);
    let nothing = data.subset(0..0);
    let config = TrainConfig {
        epochs: 1,
        show: false,
        ..TrainConfig::default()
    };
    struct Nobody;
    impl Observer for Nobody {}
    let report = |label: &str, net: &Net, seconds: f64| {
        println!(
            "{label:<20} {:016x} {:>8.2} ms a step {:>7.1} MB",
            hash(net),
            1e3 * seconds / steps as f64,
            net.peak_activation_bytes() as f64 / 1e6
        );
    };
    let train = |label: &str, net: &Net, observer: &mut dyn Observer| -> Result<()> {
        let history = train_with(net, &data, &nothing, &config, observer)?;
        report(label, net, f64::from(history.seconds()));
        Ok(())
    };
    train("full precision", &resnet20(10, rng(0)), &mut Nobody)?;
    let net = resnet20(10, rng(0));
    net.quantise(|_| Ok(Slots::bits(2)))?;
    train("2 bits", &net, &mut Nobody)?;
    for (label, settings) in [
        ("LTS", LtsConfig::default()),
        ("LTS 2022", LtsConfig::code_2022()),
    ] {
        let net = resnet20(10, rng(0));
        let mut lts = lts::quantise(&net, settings)?;
        train(label, &net, &mut lts)?;
    }
    let photo = photo();
    let patches = Patches::new(std::slice::from_ref(&photo), 2, 24)?;
    let test = [SrPair::new(&photo, 2)?];
    let size = EdsrConfig {
        blocks: 4,
        channels: 16,
        ..EdsrConfig::default()
    };
    let teacher = edsr(&size, rng(3))?;
    for (label, gates) in [
        ("DDTB", Gates::DynamicIntensity(0.3)),
        ("DDTB without gates", Gates::None),
    ] {
        let settings = DdtbConfig {
            bits: 2,
            iterations: steps,
            batch: 8,
            calibration: 3,
            show: false,
            gates,
            ..DdtbConfig::default()
        };
        let student = ddtb::quantised_edsr(&teacher, &size)?;
        let start = Instant::now();
        ddtb::train(&student, &teacher, &patches, &test, &settings)?;
        report(label, &student, start.elapsed().as_secs_f64());
    }
    Ok(())
}

/// FNV-1a over the bits of all parameters.
fn hash(net: &Net) -> u64 {
    let bytes = net
        .parameters()
        .into_iter()
        .flat_map(|p| p.to_vec())
        .flat_map(f32::to_le_bytes);
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
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

/// A picture of waves.
fn photo() -> Photo {
    let (height, width) = (96, 128);
    let mut rgb = Vec::new();
    for i in 0..height * width * 3 {
        let (row, column, c) = (i / 3 / width, i / 3 % width, i % 3);
        let wave = 120.0 + 70.0 * ((row + (2 + c) * column) as f32 * 0.23).sin();
        rgb.push(wave as u8);
    }
    Photo {
        name: "waves".into(),
        height,
        width,
        rgb,
    }
}
