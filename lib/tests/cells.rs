//! What the cells of `tests/cuda/cells.ipynb` do, as tests: a machine with a GPU that is lent for minutes has no compiler
//! for cells. Like the cells they name no device and run on the CPU as well.

use rebit::nn::cifar_resnet;
use rebit::papers::lts::{self, LtsConfig, Trial};
use rebit::prelude::*;

/// The device that the build is for is the one that is used.
#[test]
fn a_build_for_a_gpu_finds_one() {
    let found = rebit::gpu::probe();
    assert_eq!(found.is_ok(), cfg!(feature = "cuda"), "{found:?}");
    assert!(found.is_err() || found.is_ok_and(|gpu| gpu.capability >= (7, 0)));
}

/// The gradient of the 2-bit weight quantiser inside its bounds is `2 / (u - l)`, outside it is nothing.
#[test]
fn a_gradient_through_a_tape() {
    let w = vector(&[-2.0, -0.3, 0.4, 2.0]);
    let quantised = quantise_weight(w.leaky_trace(), scalar(-1.0), scalar(1.0), 2);
    let third = 1.0 / 3.0;
    for (found, expected) in read(&quantised).iter().zip([-1.0, -third, third, 1.0]) {
        assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
    }
    let grads = quantised.sum::<(), _>().backward();
    assert_eq!(read(&grads.get(&w)), [0.0, 1.0, 1.0, 0.0]);
}

/// dfdx's own operations, which cells use on single tensors: its kernels, and those that it compiles at run time.
#[test]
fn operations_of_dfdx() {
    let a = dev().tensor_from_vec((0..6).map(|k| k as f32).collect(), (2usize, 3usize));
    let b = a.clone() * 2.0 + 1.0;
    assert_eq!(read(&b), [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]);
    let turned: Matrix = b.permute::<_, Axes2<1, 0>>();
    assert_eq!(read(&turned), [1.0, 7.0, 3.0, 9.0, 5.0, 11.0]);
    // A permuted tensor is laid out anew by a kernel that is compiled here.
    let flat: Vector = turned.reshape_like(&(6usize,));
    assert_eq!(read(&flat), [1.0, 7.0, 3.0, 9.0, 5.0, 11.0]);
    let product = matmul(a, flat.reshape_like(&(3usize, 2usize)));
    assert_eq!(read(&product), [13.0, 31.0, 40.0, 112.0]);
}

/// A small residual network of 4-bit weights and inputs, trained with freezing on three shades of grey.
#[test]
fn training_with_freezing() -> Result<()> {
    let noise: Vec<f32> = read(&randn(1, 32 * 3 * 64, &mut rng(1)));
    let shade = |(k, e): (usize, &f32)| 40 + 80 * (k / (3 * 64) % 3) as u8 + (8.0 * e.abs()) as u8;
    let greys = Dataset {
        name: "three greys with noise".into(),
        images: noise.iter().enumerate().map(shade).collect(),
        labels: (0..32).map(|k| (k % 3) as u8).collect(),
        classes: ["dark", "grey", "light"].map(String::from).to_vec(),
        channels: 3,
        height: 8,
        width: 8,
    };
    let net = cifar_resnet(3, 8, [4, 8, 8], 1, 3, rng(1))?;
    let config = TrainConfig {
        epochs: 3,
        batch_size: 16,
        lr: 0.02,
        augment: None,
        show: false,
        ..TrainConfig::default()
    };
    let rule = LtsConfig {
        bits: 4,
        ema: 0.8,
        ..LtsConfig::default()
    };
    let trial: Trial = lts::train(&net, &greys, &greys.subset(0..12), &config, rule)?;
    let losses: Vec<f32> = trial.history.epochs.iter().map(|e| e.loss).collect();
    assert!(losses.last() < losses.first(), "{losses:?}");
    assert!(trial.report.updates_eliminated > 0.0);
    Ok(())
}
