//! Gradients of partly frozen layers against dense ones, and what they make of a training run.

use std::time::Instant;

use rand::Rng as _;
use rebit::dev;
use rebit::ops::conv2d::{ActQuant, Conv2dKernel, ConvInput, ConvShape};
use rebit::ops::masked_grad::{FreezeMask, MaskedGradKernel};
use rebit::papers::lts::{self, LtsConfig};
use rebit::prelude::*;
use serde_json::{Value, json};

const SHARES: [f64; 10] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 0.95, 1.0];

/// Median seconds of the weight gradient of each kind of convolution in ResNet-20, for random masks.
pub fn layers(wanted: f64) -> Result<Value> {
    let conv = |size, channels, k, stride| ConvShape::square(128, size, channels, k, stride);
    let kinds = [
        ("3->16 32x32", 1, conv(32, (3, 16), 3, 1)),
        ("16->16 32x32", 6, conv(32, (16, 16), 3, 1)),
        ("16->32 stride 2", 1, conv(32, (16, 32), 3, 2)),
        ("16->32 1x1 stride 2", 1, conv(32, (16, 32), 1, 2)),
        ("32->32 16x16", 5, conv(16, (32, 32), 3, 1)),
        ("32->64 stride 2", 1, conv(16, (32, 64), 3, 2)),
        ("32->64 1x1 stride 2", 1, conv(16, (32, 64), 1, 2)),
        ("64->64 8x8", 5, conv(8, (64, 64), 3, 1)),
    ];
    let mut rows = Vec::new();
    for (name, times, s) in kinds {
        let (dense, shares) = layer(&s, wanted)?;
        rows.push(json!({ "name": name, "times": times, "dense": dense, "frozen": shares }));
    }
    Ok(json!({ "shares": SHARES, "layers": rows }))
}

fn layer(s: &ConvShape, wanted: f64) -> Result<(f64, Vec<f64>)> {
    let d = dev();
    let fill = |len: usize| {
        let of = |k: usize| ((k * 7919) % 1000) as f32 * 0.002 - 1.0;
        rebit::buffer(&(0..len).map(of).collect::<Vec<_>>()).expect("memory")
    };
    let quant = Some(ActQuant {
        lower: 0.0,
        upper: 1.5,
        levels: 3,
    });
    let (x, dy) = (fill(s.input_len()), fill(s.output_len()));
    let mut dw = fill(s.weight_len());
    let masks: Vec<FreezeMask> = SHARES
        .iter()
        .map(|&share| {
            let mut rng = rng(1);
            let frozen: Vec<bool> = (0..s.weight_len())
                .map(|_| rng.random_range(0.0..1.0) < share)
                .collect();
            FreezeMask::from_bools(&frozen)
        })
        .collect();
    // Dense and masked in turn, so that a slow moment of the machine meets all of them.
    let mut seconds = vec![Vec::new(); 1 + masks.len()];
    let begin = Instant::now();
    while seconds[0].len() < 6 || begin.elapsed().as_secs_f64() < wanted {
        let start = Instant::now();
        d.conv2d_grad_weight(s, ConvInput::new(&x, quant), &dy, &mut dw, None)?;
        seconds[0].push(start.elapsed().as_secs_f64());
        for (mask, seconds) in masks.iter().zip(&mut seconds[1..]) {
            let start = Instant::now();
            d.conv2d_grad_weight_masked(s, ConvInput::new(&x, quant), &dy, mask, &mut dw, None)?;
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    let mut medians = seconds.iter_mut().map(|s| median(&mut s[1..]));
    let dense = medians.next().expect("the dense product is measured first");
    Ok((dense, medians.collect()))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2] + values[(values.len() - 1) / 2]) / 2.0
}

/// A training of ResNet-20 at 2 bits without freezing or with LTS (linear threshold, 20 % warm-up). The memory of the
/// smoothed distance is scaled to the length of the run, as in the notebook. A run is a process of its own, so that
/// neither finds the other's memory warm; an epoch that is not counted warms it up.
pub fn run(freeze: bool, epochs: usize, steps: usize) -> Result<Value> {
    let mut rng = rng(0);
    let n = 128 * steps;
    let data = Dataset {
        name: "noise".into(),
        images: (0..n * 3 * 32 * 32).map(|_| rng.random()).collect(),
        labels: (0..n).map(|i| (i % 10) as u8).collect(),
        classes: (0..10).map(|i| i.to_string()).collect(),
        channels: 3,
        height: 32,
        width: 32,
    };
    let config = TrainConfig {
        epochs,
        show: false,
        ..TrainConfig::default()
    };
    let nothing = data.subset(0..0);
    let warm_up = resnet20(10, rebit::rng(0));
    let mut watching = lts::quantise(&warm_up, LtsConfig::baseline())?;
    let once = TrainConfig {
        epochs: 1,
        ..config.clone()
    };
    train_with(&warm_up, &data, &nothing, &once, &mut watching)?;
    let rule = LtsConfig {
        freeze,
        ema: 0.9,
        ..LtsConfig::default()
    };
    let net = resnet20(10, rebit::rng(0));
    let mut observer = lts::quantise(&net, rule)?;
    let history = train_with(&net, &data, &nothing, &config, &mut observer)?;
    let sum = |f: fn(&rebit::train::EpochRecord) -> f32| history.epochs.iter().map(f).sum::<f32>();
    Ok(json!({
        "seconds": sum(|e| e.seconds),
        "backward_seconds": sum(|e| e.backward_seconds),
        "weight_grad_seconds": sum(|e| e.weight_grad_seconds),
        "updates_eliminated": observer.report().updates_eliminated,
    }))
}
