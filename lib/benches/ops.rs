//! The kernels at the sizes of the papers' networks: `cargo bench -p rebit [-- FILTER]`.
//!
//! Rates of convolutions count multiply-adds, those of elementwise ops count elements. `REBIT_THREADS` sets the threads.

use std::hint::black_box;

use divan::counter::ItemsCount;
use divan::{Bencher, Divan};
use rand::Rng as _;
use rebit::ops::batch_norm2d::{BatchNormKernel, NormInput, NormShape};
use rebit::ops::bound_quant::{BoundQuant, BoundQuantKernel};
use rebit::ops::conv2d::{ActQuant, Conv2dKernel, ConvInput, ConvShape, GradTo};
use rebit::ops::fake_quant::FakeQuantKernel;
use rebit::ops::lts_weight::LtsWeightKernel;
use rebit::ops::masked_grad::{FreezeMask, MaskedGradKernel};
use rebit::ops::relu::Activation;
use rebit::prelude::{Bounds, FakeQuant, LtsStep};
use rebit::{Buffer, dev, rng};

fn main() {
    // Starts the library's threads.
    dev();
    Divan::from_args().main();
}

fn filled(len: usize) -> Buffer {
    let mut rng = rng(len as u64);
    let values: Vec<f32> = (0..len).map(|_| rng.random_range(-1.0..1.0)).collect();
    rebit::buffer(&values).expect("memory")
}

const fn depthwise(batch: usize, size: usize, channels: usize, stride: usize) -> ConvShape {
    let mut shape = ConvShape::square(batch, size, (channels, channels), 3, stride);
    shape.groups = channels;
    shape
}

/// A convolution with the name it has in the report.
struct Case(&'static str, ConvShape);

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

const CONVOLUTIONS: [Case; 15] = [
    Case("3->16 32x32", ConvShape::square(128, 32, (3, 16), 3, 1)),
    Case("16 32x32", ConvShape::square(128, 32, (16, 16), 3, 1)),
    Case(
        "16->32 stride 2",
        ConvShape::square(128, 32, (16, 32), 3, 2),
    ),
    Case("32 16x16", ConvShape::square(128, 16, (32, 32), 3, 1)),
    Case("64 8x8", ConvShape::square(128, 8, (64, 64), 3, 1)),
    Case(
        "linear 512->1000",
        ConvShape::square(128, 1, (512, 1000), 1, 1),
    ),
    Case("depthwise 32 112x112", depthwise(8, 112, 32, 1)),
    Case("depthwise 96 112x112 stride 2", depthwise(8, 112, 96, 2)),
    Case("depthwise 384 14x14", depthwise(8, 14, 384, 1)),
    Case("depthwise 960 7x7", depthwise(8, 7, 960, 1)),
    Case(
        "pointwise 32->16 112x112",
        ConvShape::square(8, 112, (32, 16), 1, 1),
    ),
    Case(
        "pointwise 384->64 14x14",
        ConvShape::square(8, 14, (384, 64), 1, 1),
    ),
    Case(
        "pointwise 160->960 7x7",
        ConvShape::square(8, 7, (160, 960), 1, 1),
    ),
    Case("EDSR 64 48x48", ConvShape::square(16, 48, (64, 64), 3, 1)),
    Case("512 4x4", ConvShape::square(32, 4, (512, 512), 3, 1)),
];

/// Two bits, as the networks of the papers run.
const QUANTISER: Option<ActQuant> = Some(ActQuant {
    lower: -0.5,
    upper: 1.5,
    levels: 3,
});

#[divan::bench(args = &CONVOLUTIONS)]
fn conv2d_forward(bencher: Bencher, Case(_, s): &Case) {
    let (x, w, mut y) = (
        filled(s.input_len()),
        filled(s.weight_len()),
        filled(s.output_len()),
    );
    bencher.counter(ItemsCount::new(s.macs())).bench_local(|| {
        dev()
            .conv2d_forward(
                s,
                ConvInput::new(&x, QUANTISER),
                &w,
                None,
                black_box(&mut y),
            )
            .expect("right sizes")
    });
}

#[divan::bench(args = &CONVOLUTIONS)]
fn conv2d_grad_input(bencher: Bencher, Case(_, s): &Case) {
    let (x, w, dy) = (
        filled(s.input_len()),
        filled(s.weight_len()),
        filled(s.output_len()),
    );
    let mut dx = filled(s.input_len());
    bencher.counter(ItemsCount::new(s.macs())).bench_local(|| {
        let dx = black_box(&mut dx);
        dev()
            .conv2d_grad_input(
                s,
                &dy,
                &w,
                ConvInput::new(&x, QUANTISER),
                GradTo::Overwrite(dx),
            )
            .expect("right sizes")
    });
}

#[divan::bench(args = &CONVOLUTIONS)]
fn conv2d_grad_weight(bencher: Bencher, Case(_, s): &Case) {
    let (x, dy, mut dw) = (
        filled(s.input_len()),
        filled(s.output_len()),
        filled(s.weight_len()),
    );
    bencher.counter(ItemsCount::new(s.macs())).bench_local(|| {
        dev()
            .conv2d_grad_weight(
                s,
                ConvInput::new(&x, QUANTISER),
                &dy,
                black_box(&mut dw),
                None,
            )
            .expect("right sizes")
    });
}

/// The weight gradient of the 32-channel convolution with a share of random entries frozen; rates count all entries.
#[divan::bench(args = [0, 50, 80, 95, 100])]
fn masked_grad_percent_frozen(bencher: Bencher, percent: u32) {
    let s = ConvShape::square(128, 16, (32, 32), 3, 1);
    let mut random = rng(1);
    let frozen: Vec<bool> = (0..s.weight_len())
        .map(|_| random.random_range(0..100) < percent)
        .collect();
    let mask = FreezeMask::from_bools(&frozen);
    let (x, dy, mut dw) = (
        filled(s.input_len()),
        filled(s.output_len()),
        filled(s.weight_len()),
    );
    bencher.counter(ItemsCount::new(s.macs())).bench_local(|| {
        let dw = black_box(&mut dw);
        dev()
            .conv2d_grad_weight_masked(&s, ConvInput::new(&x, QUANTISER), &dy, &mask, dw, None)
            .expect("right sizes")
    });
}

const ELEMENTS: usize = 128 * 32 * 32 * 16;

fn two_bits() -> FakeQuant {
    let bounds = Bounds {
        lower: -0.8,
        upper: 0.8,
    };
    FakeQuant::weight(bounds, 2).expect("proper bounds")
}

#[divan::bench]
fn fake_quant_forward(bencher: Bencher) {
    let (x, mut y) = (filled(ELEMENTS), filled(ELEMENTS));
    bencher.counter(ItemsCount::new(ELEMENTS)).bench_local(|| {
        dev()
            .fake_quant_forward(&x, two_bits(), black_box(&mut y))
            .expect("right sizes")
    });
}

#[divan::bench]
fn fake_quant_grad(bencher: Bencher) {
    let (x, dy, mut dx) = (filled(ELEMENTS), filled(ELEMENTS), filled(ELEMENTS));
    bencher.counter(ItemsCount::new(ELEMENTS)).bench_local(|| {
        dev()
            .fake_quant_grad(&x, two_bits(), &dy, black_box(&mut dx), false)
            .expect("right sizes")
    });
}

#[divan::bench]
fn bound_quant_forward(bencher: Bencher) {
    let bounds = Bounds {
        lower: -0.8,
        upper: 0.7,
    };
    let samples = vec![BoundQuant::dual(bounds, 2).expect("proper bounds"); 128];
    let (x, mut y) = (filled(ELEMENTS), filled(ELEMENTS));
    bencher.counter(ItemsCount::new(ELEMENTS)).bench_local(|| {
        dev()
            .bound_quant_forward(&x, &samples, black_box(&mut y))
            .expect("right sizes")
    });
}

#[divan::bench]
fn batch_norm_relu_train(bencher: Bencher) {
    let s = NormShape {
        pixels: ELEMENTS / 16,
        channels: 16,
    };
    let (z, gamma, beta) = (filled(ELEMENTS), filled(16), filled(16));
    let (mut y, mut mean, mut var) = (filled(ELEMENTS), filled(16), filled(16));
    bencher.counter(ItemsCount::new(ELEMENTS)).bench_local(|| {
        let y = black_box(&mut y);
        dev()
            .batch_norm_train(
                s,
                NormInput {
                    z: &z,
                    gamma: &gamma,
                    beta: &beta,
                    eps: 1e-5,
                    residual: None,
                    act: Activation::Relu,
                },
                y,
                &mut mean,
                &mut var,
            )
            .expect("right sizes")
    });
}

/// Distance, moving average, freezing and quantised weight of the largest layer of ResNet-20, in one pass.
#[divan::bench]
fn lts_weight_forward(bencher: Bencher) {
    let n = 64 * 64 * 9;
    let (w, mut y) = (filled(n), filled(n));
    let mut state = dev().lts_state(n).expect("memory");
    let step = Some(LtsStep {
        momentum: 0.99,
        threshold: Some(0.1),
    });
    bencher.counter(ItemsCount::new(n)).bench_local(|| {
        let y = black_box(&mut y);
        dev()
            .lts_weight_forward(&w, two_bits(), step, &mut state, y)
            .expect("right sizes")
    });
}
