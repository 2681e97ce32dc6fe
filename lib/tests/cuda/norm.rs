//! Batch normalisation.

use rebit::ops::batch_norm2d::{BatchNormKernel, NormGrads, NormInput, NormSaved, NormShape};
use rebit::ops::relu::Activation;

use crate::compare;
use crate::support::{Agree, Host, random};

const EPS: f32 = 1e-5;

fn shapes() -> Vec<NormShape> {
    [(1, 1), (2, 3), (100, 16), (333, 33), (9000, 5)]
        .map(|(pixels, channels)| NormShape { pixels, channels })
        .to_vec()
}

#[test]
fn statistics_values_and_gradients_of_a_batch() {
    for s in shapes() {
        let (n, c) = (s.pixels * s.channels, s.channels);
        // A mean far from zero is where variances lose their digits.
        let z: Vec<f32> = random(n, 50).iter().map(|v| 100.0 + v).collect();
        let (gamma, beta) = (random(c, 51), random(c, 52));
        let (residual, dy) = (random(n, 53), random(n, 54));
        for act in [Activation::None, Activation::Relu, Activation::Relu6] {
            for add in [false, true] {
                let case = format!("{s:?}, {act:?}, residual {add}");
                compare!(Agree::Within(3e-5), case, |d| {
                    let (z, gamma, beta) = (d.put(&z), d.put(&gamma), d.put(&beta));
                    let (mut y, mut mean, mut var) = (d.blank(n), d.blank(c), d.blank(c));
                    let r = d.put(&residual);
                    let r = add.then_some(&r);
                    d.batch_norm_train(
                        s,
                        NormInput {
                            z: &z,
                            gamma: &gamma,
                            beta: &beta,
                            eps: EPS,
                            residual: r,
                            act,
                        },
                        &mut y,
                        &mut mean,
                        &mut var,
                    )
                    .unwrap();
                    vec![d.get(&y), d.get(&mean), d.get(&var)]
                });
            }
            let (mean, var) = (vec![100.0; c], vec![0.3; c]);
            compare!(
                Agree::Bits,
                format!("given statistics, {s:?}, {act:?}"),
                |d| {
                    let (z, gamma, beta) = (d.put(&z), d.put(&gamma), d.put(&beta));
                    let (mean, var, mut y) = (d.put(&mean), d.put(&var), d.blank(n));
                    let r = d.put(&residual);
                    d.batch_norm_infer(
                        s,
                        NormInput {
                            z: &z,
                            gamma: &gamma,
                            beta: &beta,
                            eps: EPS,
                            residual: Some(&r),
                            act,
                        },
                        &mean,
                        &var,
                        &mut y,
                    )
                    .unwrap();
                    let (mut g, mut dz) = (d.put(&dy), d.blank(n));
                    let (mut dg, mut db) = (d.blank(c), d.blank(c));
                    d.batch_norm_infer_grad(
                        s,
                        NormSaved {
                            z: &z,
                            y: &y,
                            gamma: &gamma,
                            mean: &mean,
                            var: &var,
                            eps: EPS,
                            act,
                        },
                        NormGrads {
                            dy: &mut g,
                            dz: &mut dz,
                            dgamma: &mut dg,
                            dbeta: &mut db,
                        },
                    )
                    .unwrap();
                    vec![d.get(&y), d.get(&g), d.get(&dz)]
                }
            );
            for batch_statistics in [true, false] {
                let case = format!("gradients, {s:?}, {act:?}, batch {batch_statistics}");
                // The CPU sums a chunk of rows in `f32`, the GPU in `f64`.
                let tolerance = 1.5e-6 * (s.pixels as f32).sqrt().max(20.0);
                compare!(Agree::Within(tolerance), case, |d| {
                    let (z, gamma, beta) = (d.put(&z), d.put(&gamma), d.put(&beta));
                    let (mean, var, mut y) = (d.put(&mean), d.put(&var), d.blank(n));
                    d.batch_norm_infer(
                        s,
                        NormInput {
                            z: &z,
                            gamma: &gamma,
                            beta: &beta,
                            eps: EPS,
                            residual: None,
                            act,
                        },
                        &mean,
                        &var,
                        &mut y,
                    )
                    .unwrap();
                    let (mut g, mut dz) = (d.put(&dy), d.blank(n));
                    let (mut dg, mut db) = (d.blank(c), d.blank(c));
                    if batch_statistics {
                        d.batch_norm_grad(
                            s,
                            NormSaved {
                                z: &z,
                                y: &y,
                                gamma: &gamma,
                                mean: &mean,
                                var: &var,
                                eps: EPS,
                                act,
                            },
                            NormGrads {
                                dy: &mut g,
                                dz: &mut dz,
                                dgamma: &mut dg,
                                dbeta: &mut db,
                            },
                        )
                    } else {
                        d.batch_norm_infer_grad(
                            s,
                            NormSaved {
                                z: &z,
                                y: &y,
                                gamma: &gamma,
                                mean: &mean,
                                var: &var,
                                eps: EPS,
                                act,
                            },
                            NormGrads {
                                dy: &mut g,
                                dz: &mut dz,
                                dgamma: &mut dg,
                                dbeta: &mut db,
                            },
                        )
                    }
                    .unwrap();
                    vec![d.get(&dz), d.get(&dg), d.get(&db)]
                });
            }
        }
    }
}

#[test]
fn a_nan_or_an_infinity_spoils_its_channel_and_no_other() {
    let s = NormShape {
        pixels: 300,
        channels: 4,
    };
    let mut z = random(1200, 55);
    z[4 * 17 + 1] = f32::NAN;
    z[4 * 200 + 2] = f32::INFINITY;
    // Constant: a variance of exactly 0.
    z.iter_mut().skip(3).step_by(4).for_each(|v| *v = 0.1);
    compare!(Agree::Within(3e-5), "spoilt channels", |d| {
        let (one, zero) = (d.put(&[1.0; 4]), d.put(&[0.0; 4]));
        let (mut y, mut mean, mut var) = (d.blank(1200), d.blank(4), d.blank(4));
        let act = Activation::Relu;
        d.batch_norm_train(
            s,
            NormInput {
                z: &d.put(&z),
                gamma: &one,
                beta: &zero,
                eps: EPS,
                residual: None,
                act,
            },
            &mut y,
            &mut mean,
            &mut var,
        )
        .unwrap();
        vec![d.get(&y), d.get(&mean), d.get(&var)]
    });
}
