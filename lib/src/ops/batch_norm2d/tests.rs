use dfdx::prelude::{Backward, MeanTo, SumTo, Trace};

use super::*;
use crate::ops::{assert_close, buffer, cpu, numeric_gradient, wave};
use crate::tensors::{Images, Vector, from_vec, read};

const SHAPE: (usize, usize, usize, usize) = (2, 3, 2, 2);

fn images(values: &[f32]) -> Images {
    from_vec(values.to_vec(), SHAPE).unwrap()
}

fn vector(values: &[f32]) -> Vector {
    from_vec(values.to_vec(), (values.len(),)).unwrap()
}

fn state() -> BatchNormState {
    BatchNormState {
        mean: vec![0.3, -0.2, 0.1],
        var: vec![0.5, 2.0, 1.5],
        ..BatchNormState::new(3)
    }
}

/// A loss with a different slope at every output, and its gradient by `x`, `gamma` and `beta`.
fn loss(x: &[f32], gamma: &[f32], beta: &[f32], mode: Mode) -> f32 {
    let y = batch_norm2d(images(x), vector(gamma), vector(beta), &mut state(), mode);
    read(&(y * images(&wave(24))).mean::<(), _>())[0]
}

#[test]
fn gradients_agree_with_finite_differences_in_both_modes() {
    let x: Vec<f32> = wave(24).iter().rev().copied().collect();
    let (gamma, beta) = ([0.7, -1.2, 1.5], [0.1, 0.2, -0.3]);
    for mode in [Mode::Train, Mode::Eval] {
        let (xt, gt, bt) = (images(&x), vector(&gamma), vector(&beta));
        let y = batch_norm2d(
            xt.leaky_trace(),
            gt.leaky_trace(),
            bt.leaky_trace(),
            &mut state(),
            mode,
        );
        let grads = (y * images(&wave(24))).mean::<(), _>().backward();
        let by_x = numeric_gradient(&x, 1e-2, |x| loss(x, &gamma, &beta, mode));
        let by_gamma = numeric_gradient(&gamma, 1e-2, |g| loss(&x, g, &beta, mode));
        let by_beta = numeric_gradient(&beta, 1e-2, |b| loss(&x, &gamma, b, mode));
        assert_close(&read(&grads.get(&xt)), &by_x, 1e-4);
        assert_close(&read(&grads.get(&gt)), &by_gamma, 1e-4);
        assert_close(&read(&grads.get(&bt)), &by_beta, 1e-4);
    }
}

#[test]
fn running_statistics_take_a_tenth_of_the_unbiased_batch() {
    // One channel, values 0 2 4 6: mean 3, biased variance 5, unbiased 20/3.
    let x: Images = from_vec(vec![0.0, 2.0, 4.0, 6.0], (1, 1, 2, 2)).unwrap();
    let mut state = BatchNormState::new(1);
    let y = batch_norm2d(x, vector(&[1.0]), vector(&[0.0]), &mut state, Mode::Train);
    let root = (5.0f32 + 1e-5).sqrt();
    assert_close(
        &read(&y),
        &[-3.0 / root, -1.0 / root, 1.0 / root, 3.0 / root],
        1e-6,
    );
    assert_close(&state.mean, &[0.3], 1e-6);
    assert_close(&state.var, &[0.9 + 2.0 / 3.0], 1e-6);
    let before = state.clone();
    let x: Images = from_vec(vec![1.0; 4], (1, 1, 2, 2)).unwrap();
    batch_norm2d(x, vector(&[1.0]), vector(&[0.0]), &mut state, Mode::Eval);
    assert_eq!(state, before);
}

#[test]
fn a_gradient_reaches_the_input_in_inference_mode_too() {
    let x = images(&wave(24));
    let y = batch_norm2d(
        x.leaky_trace(),
        vector(&[1.0, 2.0, 3.0]),
        vector(&[0.0; 3]),
        &mut state(),
        Mode::Eval,
    );
    let dx = read(&y.sum::<(), _>().backward().get(&x));
    let slope = |gamma: f32, var: f32| gamma / (var + 1e-5).sqrt();
    let expected = [slope(1.0, 0.5), slope(2.0, 2.0), slope(3.0, 1.5)];
    assert_close(&[dx[0], dx[4], dx[8]], &expected, 1e-6);
}

/// `f64` reference of the fused forward: `(y, mean, var)`.
fn reference(
    s: NormShape,
    z: &[f32],
    gamma: &[f32],
    beta: &[f32],
    residual: &[f32],
    act: Activation,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let c = s.channels;
    let column = |i: usize| z.iter().skip(i).step_by(c).map(|&v| v as f64);
    let m = s.pixels as f64;
    let mean: Vec<f64> = (0..c).map(|i| column(i).sum::<f64>() / m).collect();
    let var: Vec<f64> = (0..c)
        .map(|i| column(i).map(|v| (v - mean[i]).powi(2)).sum::<f64>() / m)
        .collect();
    let (low, high) = act.bounds();
    let y = (0..z.len()).map(|k| {
        let i = k % c;
        let x = (z[k] as f64 - mean[i]) / (var[i] + 1e-5).sqrt();
        (gamma[i] as f64 * x + beta[i] as f64 + residual[k] as f64).clamp(low as f64, high as f64)
    });
    let narrow = |v: &[f64]| v.iter().map(|&v| v as f32).collect();
    (y.map(|v| v as f32).collect(), narrow(&mean), narrow(&var))
}

#[test]
fn fused_kernel_agrees_with_double_precision_over_many_chunks_and_odd_widths() {
    for (pixels, channels) in [(3000, 16), (1111, 37), (7, 5), (1, 1), (600, 64), (40, 700)] {
        let s = NormShape { pixels, channels };
        // A mean far from zero, where the naive E[x^2] - E[x]^2 would lose the variance.
        let z: Vec<f32> = wave(pixels * channels).iter().map(|v| v + 100.0).collect();
        let (gamma, beta) = (wave(channels), wave(channels));
        let residual: Vec<f32> = z.iter().rev().map(|v| v - 100.0).collect();
        for act in [Activation::None, Activation::Relu, Activation::Relu6] {
            let (mut y, mut mean, mut var) = (
                buffer(&z),
                buffer(&vec![0.0; channels]),
                buffer(&vec![0.0; channels]),
            );
            cpu()
                .batch_norm_train(
                    s,
                    NormInput {
                        z: &buffer(&z),
                        gamma: &buffer(&gamma),
                        beta: &buffer(&beta),
                        eps: 1e-5,
                        residual: Some(&buffer(&residual)),
                        act,
                    },
                    &mut y,
                    &mut mean,
                    &mut var,
                )
                .unwrap();
            let (y_, mean_, var_) = reference(s, &z, &gamma, &beta, &residual, act);
            assert_close(&mean, &mean_, 1e-6);
            assert_close(&var, &var_, 1e-5);
            let tolerance = if pixels < 10 { 3e-2 } else { 2e-4 };
            assert_close(&y, &y_, tolerance);
        }
    }
}

#[test]
fn fused_gradient_masks_by_the_activation_and_leaves_the_residual_gradient() {
    for batch_statistics in [true, false] {
        let s = NormShape {
            pixels: 2000,
            channels: 21,
        };
        let n = s.pixels * s.channels;
        let z = buffer(&wave(n));
        let gamma = buffer(&wave(21).iter().map(|v| v + 0.4).collect::<Vec<_>>());
        let (mut y, mut mean, mut var) = (buffer(&z), buffer(&[0.0; 21]), buffer(&[0.0; 21]));
        let beta = buffer(&wave(21));
        cpu()
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
                &mut y,
                &mut mean,
                &mut var,
            )
            .unwrap();
        let incoming: Vec<f32> = wave(n).iter().rev().copied().collect();
        let (mut dy, mut dz) = (buffer(&incoming), buffer(&vec![7.0; n]));
        let (mut dgamma, mut dbeta) = (buffer(&[7.0; 21]), buffer(&[7.0; 21]));
        let gradient = if batch_statistics {
            BatchNormKernel::batch_norm_grad
        } else {
            BatchNormKernel::batch_norm_infer_grad
        };
        gradient(
            &cpu(),
            s,
            NormSaved {
                z: &z,
                y: &y,
                gamma: &gamma,
                mean: &mean,
                var: &var,
                eps: 1e-5,
                act: Activation::Relu,
            },
            NormGrads {
                dy: &mut dy,
                dz: &mut dz,
                dgamma: &mut dgamma,
                dbeta: &mut dbeta,
            },
        )
        .unwrap();
        for k in 0..n {
            assert_eq!(dy[k], if y[k] > 0.0 { incoming[k] } else { 0.0 });
        }
        for c in 0..21 {
            let rows = || (0..s.pixels).map(move |r| r * 21 + c);
            let std = (var[c] as f64 + 1e-5).sqrt();
            let x = |k: usize| (z[k] as f64 - mean[c] as f64) / std;
            let sum: f64 = rows().map(|k| dy[k] as f64).sum();
            let sum_x: f64 = rows().map(|k| dy[k] as f64 * x(k)).sum();
            assert_close(&[dbeta[c], dgamma[c]], &[sum as f32, sum_x as f32], 1e-5);
            for k in rows() {
                let m = s.pixels as f64;
                let through = if batch_statistics {
                    sum / m + x(k) * sum_x / m
                } else {
                    0.0
                };
                let expected = gamma[c] as f64 / std * (dy[k] as f64 - through);
                assert_close(&[dz[k]], &[expected as f32], 1e-5);
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let s = NormShape {
        pixels: 5000,
        channels: 19,
    };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let z = buffer(&wave(s.pixels * s.channels));
            let per_channel = || buffer(&wave(19));
            let (mut y, mut mean, mut var) = (buffer(&z), per_channel(), per_channel());
            cpu()
                .batch_norm_train(
                    s,
                    NormInput {
                        z: &z,
                        gamma: &per_channel(),
                        beta: &per_channel(),
                        eps: 1e-5,
                        residual: None,
                        act: Activation::Relu,
                    },
                    &mut y,
                    &mut mean,
                    &mut var,
                )
                .unwrap();
            let (mut dy, mut dz) = (buffer(&z), buffer(&z));
            let (mut dgamma, mut dbeta) = (per_channel(), per_channel());
            cpu()
                .batch_norm_grad(
                    s,
                    NormSaved {
                        z: &z,
                        y: &y,
                        gamma: &per_channel(),
                        mean: &mean,
                        var: &var,
                        eps: 1e-5,
                        act: Activation::Relu,
                    },
                    NormGrads {
                        dy: &mut dy,
                        dz: &mut dz,
                        dgamma: &mut dgamma,
                        dbeta: &mut dbeta,
                    },
                )
                .unwrap();
            [&y, &mean, &var, &dz, &dgamma, &dbeta]
                .iter()
                .flat_map(|b| b.iter().map(|v| v.to_bits()))
                .collect::<Vec<u32>>()
        })
    };
    assert!(run(1) == run(3));
}

#[test]
fn what_cannot_be_normalised_is_refused_with_the_numbers() {
    let one: Images = from_vec(vec![1.0], (1, 1, 1, 1)).unwrap();
    let (gamma, beta) = (vector(&[1.0]), vector(&[0.0]));
    let mut state = BatchNormState::new(1);
    let error = try_batch_norm2d(one, gamma, beta, &mut state, Mode::Train).unwrap_err();
    assert!(error.to_string().contains("one pixel"), "{error}");
    let error = try_batch_norm2d(
        images(&[0.0; 24]),
        vector(&[1.0; 4]),
        vector(&[0.0; 3]),
        &mut BatchNormState::new(3),
        Mode::Train,
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "batch_norm2d: expected 3 elements in `gamma`, found 4"
    );
}
