//! Some training steps of a small LTS network, forwards and backwards through the kernels of every layer.

use dfdx::prelude::Storage;
use rebit::ops::batch_norm2d::{BatchNormKernel, NormGrads, NormInput, NormSaved, NormShape};
use rebit::ops::conv2d::{ActQuant, Conv2dKernel, ConvInput, ConvShape, GradTo};
use rebit::ops::cross_entropy::CrossEntropyKernel;
use rebit::ops::fake_quant::{Bounds, FakeQuant};
use rebit::ops::lts_weight::{LtsState, LtsStep, LtsWeightKernel};
use rebit::ops::masked_grad::{FreezeMask, MaskedGradKernel};
use rebit::ops::pool::PoolKernel;
use rebit::ops::relu::{Activation, ActivationKernel};

use crate::compare;
use crate::support::{Agree, Host, random};

/// What the network needs of a device.
trait Device:
    Host
    + Conv2dKernel
    + MaskedGradKernel
    + BatchNormKernel
    + LtsWeightKernel
    + PoolKernel
    + CrossEntropyKernel
    + ActivationKernel
{
}
impl<D> Device for D where
    D: Host
        + Conv2dKernel
        + MaskedGradKernel
        + BatchNormKernel
        + LtsWeightKernel
        + PoolKernel
        + CrossEntropyKernel
        + ActivationKernel
{
}

const BATCH: usize = 4;
const SIDE: usize = 8;
const CHANNELS: usize = 8;
const CLASSES: usize = 5;
const RATE: f32 = 0.02;
const EPS: f32 = 1e-5;

fn conv(inputs: usize) -> ConvShape {
    ConvShape {
        batch: BATCH,
        in_h: SIDE,
        in_w: SIDE,
        in_channels: inputs,
        out_channels: CHANNELS,
        kernel: (3, 3),
        stride: 1,
        padding: 1,
        dilation: 1,
        groups: 1,
    }
}

/// `values -= RATE gradient`, on the host as any optimiser may.
fn descend<D: Device>(
    d: &D,
    values: &mut <D as Storage<f32>>::Vec,
    gradient: &<D as Storage<f32>>::Vec,
) {
    let step = d.get(gradient).into_iter().zip(d.get(values));
    let moved: Vec<f32> = step.map(|(g, v)| v - RATE * g).collect();
    *values = d.put(&moved);
}

/// conv 3 -> 8, batch norm, ReLU, LTS convolution 8 -> 8 of 4 bits, batch norm with the first block's output added, ReLU,
/// mean over the map, linear layer. Losses, frozen entries and the LTS weight after each step.
fn train<D: Device>(d: &D, steps: usize) -> Vec<Vec<f32>> {
    let (first, second) = (conv(3), conv(CHANNELS));
    let linear = ConvShape::linear(BATCH, CHANNELS, CLASSES);
    let n = second.output_len();
    let norm = NormShape {
        pixels: n / CHANNELS,
        channels: CHANNELS,
    };
    let scaled = |len, seed, by: f32| -> Vec<f32> {
        random(len, seed).into_iter().map(|v| by * v).collect()
    };
    let x = d.put(&random(first.input_len(), 80));
    let labels = [0, 3, 1, 4];
    let mut w1 = d.put(&scaled(first.weight_len(), 81, 0.4));
    let mut w2 = d.put(&scaled(second.weight_len(), 82, 0.3));
    let mut w3 = d.put(&scaled(linear.weight_len(), 83, 0.6));
    let mut b3 = d.put(&[0.0; CLASSES]);
    let (gamma, beta) = (d.put(&[1.0; CHANNELS]), d.put(&[0.0; CHANNELS]));
    let (mut lower, mut upper) = (-0.25f32, 0.25f32);
    let mut act = ActQuant {
        lower: 0.0,
        upper: 2.0,
        levels: 15,
    };
    let mut state = LtsState::new(d, second.weight_len()).unwrap();
    let mut results = Vec::new();
    for k in 0..steps {
        let relu = Activation::Relu;
        let (mut z1, mut y1) = (d.blank(n), d.blank(n));
        let (mut m1, mut v1) = (d.blank(CHANNELS), d.blank(CHANNELS));
        d.conv2d_forward(&first, ConvInput::new(&x, None), &w1, None, &mut z1)
            .unwrap();
        d.batch_norm_train(
            norm,
            NormInput {
                z: &z1,
                gamma: &gamma,
                beta: &beta,
                eps: EPS,
                residual: None,
                act: relu,
            },
            &mut y1,
            &mut m1,
            &mut v1,
        )
        .unwrap();

        let f = FakeQuant::weight(Bounds::new(lower, upper), 4).unwrap();
        let step = LtsStep {
            momentum: 0.5,
            threshold: (k > 0).then_some(0.2),
        };
        let mut q2 = d.blank(second.weight_len());
        let counts = d
            .lts_weight_forward(&w2, f, Some(step), &mut state, &mut q2)
            .unwrap();
        let (mut z2, mut y2) = (d.blank(n), d.blank(n));
        let (mut m2, mut v2) = (d.blank(CHANNELS), d.blank(CHANNELS));
        d.conv2d_forward(&second, ConvInput::new(&y1, Some(act)), &q2, None, &mut z2)
            .unwrap();
        let add = Some(&y1);
        d.batch_norm_train(
            norm,
            NormInput {
                z: &z2,
                gamma: &gamma,
                beta: &beta,
                eps: EPS,
                residual: add,
                act: relu,
            },
            &mut y2,
            &mut m2,
            &mut v2,
        )
        .unwrap();

        let pixels = SIDE * SIDE;
        let (mut mean, mut logits) = (d.blank(BATCH * CHANNELS), d.blank(BATCH * CLASSES));
        d.global_avg_pool_forward(BATCH, pixels, CHANNELS, &y2, &mut mean)
            .unwrap();
        d.conv2d_forward(
            &linear,
            ConvInput::new(&mean, None),
            &w3,
            Some(&b3),
            &mut logits,
        )
        .unwrap();
        let mut dlogits = d.blank(BATCH * CLASSES);
        let loss = d
            .cross_entropy(BATCH, CLASSES, &logits, &labels, 0.0, Some(&mut dlogits))
            .unwrap();

        let mut dmean = d.blank(BATCH * CHANNELS);
        let (mut dw3, mut db3) = (d.blank(linear.weight_len()), d.blank(CLASSES));
        d.conv2d_grad_weight(
            &linear,
            ConvInput::new(&mean, None),
            &dlogits,
            &mut dw3,
            Some(&mut db3),
        )
        .unwrap();
        d.conv2d_grad_input(
            &linear,
            &dlogits,
            &w3,
            ConvInput::new(&mean, None),
            GradTo::Overwrite(&mut dmean),
        )
        .unwrap();
        let (mut dy2, mut dz2) = (d.blank(n), d.blank(n));
        let (mut dg, mut db) = (d.blank(CHANNELS), d.blank(CHANNELS));
        d.global_avg_pool_grad(BATCH, pixels, CHANNELS, &dmean, &mut dy2, false)
            .unwrap();
        d.batch_norm_grad(
            norm,
            NormSaved {
                z: &z2,
                y: &y2,
                gamma: &gamma,
                mean: &m2,
                var: &v2,
                eps: EPS,
                act: relu,
            },
            NormGrads {
                dy: &mut dy2,
                dz: &mut dz2,
                dgamma: &mut dg,
                dbeta: &mut db,
            },
        )
        .unwrap();

        // Frozen weights get no gradient, so it is not computed for them.
        let mask = FreezeMask::from_bools(&state.frozen);
        let (mut dq2, mut dw2) = (d.blank(second.weight_len()), d.blank(second.weight_len()));
        d.conv2d_grad_weight_masked(
            &second,
            ConvInput::new(&y1, Some(act)),
            &dz2,
            &mask,
            &mut dq2,
            None,
        )
        .unwrap();
        let bounds = d
            .lts_weight_grad(&w2, f, &state, &dq2, &mut dw2, false)
            .unwrap();
        // The residual's gradient is there already; the convolution's is added to it.
        let mut dy1 = dy2;
        let of_act = d
            .conv2d_grad_input(
                &second,
                &dz2,
                &q2,
                ConvInput::new(&y1, Some(act)),
                GradTo::Add(&mut dy1),
            )
            .unwrap()
            .unwrap();
        let mut dz1 = d.blank(n);
        d.batch_norm_grad(
            norm,
            NormSaved {
                z: &z1,
                y: &y1,
                gamma: &gamma,
                mean: &m1,
                var: &v1,
                eps: EPS,
                act: relu,
            },
            NormGrads {
                dy: &mut dy1,
                dz: &mut dz1,
                dgamma: &mut dg,
                dbeta: &mut db,
            },
        )
        .unwrap();
        let mut dw1 = d.blank(first.weight_len());
        d.conv2d_grad_weight(&first, ConvInput::new(&x, None), &dz1, &mut dw1, None)
            .unwrap();

        descend(d, &mut w1, &dw1);
        descend(d, &mut w2, &dw2);
        descend(d, &mut w3, &dw3);
        descend(d, &mut b3, &db3);
        d.lts_restore(&state, &mut w2).unwrap();
        lower -= RATE * bounds.lower;
        upper -= RATE * bounds.upper;
        act.upper -= RATE * of_act.upper;
        results.push(vec![loss, counts.frozen as f32, lower, upper, act.upper]);
        results.push(d.get(&w1));
        results.push(d.get(&w2));
    }
    results
}

#[test]
fn an_lts_network_learns_the_same_on_both_devices() {
    // Longer runs part ways: a rounding that falls the other way moves a level, as between any two machines.
    compare!(Agree::Within(2e-4), "training", |d| train(d, 4));
    let losses = train(&crate::support::gpu(), 4);
    assert!(losses[9][0] < losses[0][0], "the loss falls: {losses:?}");
    assert!(losses[9][1] > 0.0, "weights freeze: {losses:?}");
}
