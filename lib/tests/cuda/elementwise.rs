//! Ops that treat each number by itself, and the sums they give beside.

use rebit::ops::bound_quant::{BoundQuant, BoundQuantKernel};
use rebit::ops::cross_entropy::CrossEntropyKernel;
use rebit::ops::fake_quant::{Bounds, FakeQuant, FakeQuantKernel};
use rebit::ops::l1_loss::L1LossKernel;
use rebit::ops::prelu::PreluKernel;
use rebit::ops::relu::{Activation, ActivationKernel};

use crate::compare;
use crate::support::{Agree, Host, LENGTHS, awkward, gpu, random};

#[test]
fn activations_and_sums() {
    for n in LENGTHS {
        let (x, dy) = (awkward(n, 1), awkward(n, 2));
        for act in [Activation::None, Activation::Relu, Activation::Relu6] {
            compare!(Agree::Bits, format!("{act:?} of {n}"), |d| {
                let (x, dy) = (d.put(&x), d.put(&dy));
                let (mut y, mut dx, mut twice) = (d.blank(n), d.blank(n), d.blank(n));
                d.activate(act, &x, &mut y).unwrap();
                d.activate_grad(act, &y, &dy, &mut dx, false).unwrap();
                let once = d.get(&dx);
                d.activate_grad(act, &y, &dy, &mut dx, true).unwrap();
                d.add(&x, &y, &mut twice).unwrap();
                d.accumulate(&x, &mut twice).unwrap();
                vec![d.get(&y), once, d.get(&dx), d.get(&twice)]
            });
        }
    }
}

#[test]
fn more_elements_than_a_grid_has_threads() {
    let n = 4096 * 256 + 300;
    let x = random(n, 3);
    compare!(Agree::Bits, "a long buffer", |d| {
        let mut y = d.blank(n);
        d.activate(Activation::Relu, &d.put(&x), &mut y).unwrap();
        vec![d.get(&y)]
    });
}

/// Quantisers with bounds on which the awkward numbers fall, and bounds on which nothing does.
fn quantisers() -> Vec<FakeQuant> {
    vec![
        FakeQuant::activation(Bounds::new(-1.0, 2.0), 2).unwrap(),
        FakeQuant::weight(Bounds::new(-1.0, 1.0), 1).unwrap(),
        FakeQuant::dequantising(Bounds::new(-0.731, 1.37), 8).unwrap(),
        FakeQuant::signed(0.77, 4).unwrap(),
        FakeQuant::weight(Bounds::new(-3e30, 2e30), 16).unwrap(),
    ]
}

#[test]
fn fake_quantisation() {
    for n in LENGTHS {
        let (x, dy) = (awkward(n, 4), random(n, 5));
        for f in quantisers() {
            compare!(Agree::Bits, format!("{f:?} of {n}"), |d| {
                let (x, dy) = (d.put(&x), d.put(&dy));
                let (mut y, mut dx) = (d.blank(n), d.blank(n));
                d.fake_quant_forward(&x, f, &mut y).unwrap();
                d.fake_quant_grad(&x, f, &dy, &mut dx, false).unwrap();
                let once = d.get(&dx);
                d.fake_quant_grad(&x, f, &dy, &mut dx, true).unwrap();
                vec![d.get(&y), once, d.get(&dx)]
            });
            compare!(
                Agree::Within(2e-5),
                format!("bounds of {f:?} of {n}"),
                |d| {
                    let mut dx = d.blank(n);
                    let g = d.fake_quant_grad(&d.put(&x), f, &d.put(&dy), &mut dx, false);
                    let g = g.unwrap();
                    vec![vec![g.lower, g.upper]]
                }
            );
        }
    }
}

#[test]
fn bounds_of_each_sample() {
    for (samples, len) in [(1, 1), (3, 257), (5, 64), (2, 2500)] {
        let n = samples * len;
        let (x, dy) = (awkward(n, 6), random(n, 7));
        let q: Vec<BoundQuant> = (0..samples)
            .map(|k| match k % 3 {
                0 => BoundQuant::dual(Bounds::new(-1.0, 2.0), 2),
                1 => BoundQuant::symmetric(1.5, 3),
                _ => BoundQuant::dual(Bounds::new(-0.4, 0.9), 8),
            })
            .collect::<Result<_, _>>()
            .unwrap();
        compare!(Agree::Bits, format!("{samples} x {len}"), |d| {
            let (x, dy) = (d.put(&x), d.put(&dy));
            let (mut y, mut dx) = (d.blank(n), d.blank(n));
            d.bound_quant_forward(&x, &q, &mut y).unwrap();
            d.bound_quant_grad(&x, &q, &dy, &mut dx, false).unwrap();
            let once = d.get(&dx);
            d.bound_quant_grad(&x, &q, &dy, &mut dx, true).unwrap();
            vec![d.get(&y), once, d.get(&dx)]
        });
        compare!(
            Agree::Within(2e-5),
            format!("bounds, {samples} x {len}"),
            |d| {
                let mut dx = d.blank(n);
                let g = d.bound_quant_grad(&d.put(&x), &q, &d.put(&dy), &mut dx, false);
                let pairs = g.unwrap().into_iter().map(|g| vec![g.lower, g.upper]);
                pairs.collect()
            }
        );
    }
}

#[test]
fn parametric_rectifier() {
    for n in LENGTHS {
        let (x, dy) = (awkward(n, 8), random(n, 9));
        compare!(Agree::Bits, format!("prelu of {n}"), |d| {
            let (x, dy) = (d.put(&x), d.put(&dy));
            let (mut y, mut dx) = (d.blank(n), d.blank(n));
            d.prelu_forward(0.25, &x, &mut y).unwrap();
            d.prelu_grad(0.25, &x, &dy, &mut dx, false).unwrap();
            let once = d.get(&dx);
            d.prelu_grad(0.25, &x, &dy, &mut dx, true).unwrap();
            vec![d.get(&y), once, d.get(&dx)]
        });
        let x = random(n, 10);
        compare!(Agree::Within(1e-6), format!("slope of {n}"), |d| {
            let mut dx = d.blank(n);
            let a = d.prelu_grad(0.25, &d.put(&x), &d.put(&dy), &mut dx, false);
            vec![vec![a.unwrap()]]
        });
    }
}

#[test]
fn absolute_error() {
    for n in &LENGTHS[1..] {
        let (mut x, target) = (random(*n, 11), random(*n, 12));
        x[n / 2] = target[n / 2];
        compare!(Agree::Bits, format!("gradient of {n}"), |d| {
            let mut dx = d.blank(*n);
            d.l1_loss(&d.put(&x), &target, &mut dx).unwrap();
            vec![d.get(&dx)]
        });
        compare!(Agree::Within(1e-6), format!("loss of {n}"), |d| {
            let loss = d.l1_loss(&d.put(&x), &target, &mut d.blank(*n));
            vec![vec![loss.unwrap()]]
        });
    }
}

#[test]
fn cross_entropy_with_and_without_smoothing() {
    for (samples, classes) in [(1, 1), (1, 3), (5, 10), (7, 33), (130, 100)] {
        let n = samples * classes;
        let mut z: Vec<f32> = random(n, 13).iter().map(|z| 8.0 * z).collect();
        let labels: Vec<u32> = (0..samples).map(|i| (i * 7 % classes) as u32).collect();
        for extreme in [None, Some(1e30), Some(f32::NAN)] {
            z[n / 2] = extreme.unwrap_or(z[n / 2]);
            for smoothing in [0.0, 0.1] {
                let case = format!("{samples} x {classes}, smoothing {smoothing}, {extreme:?}");
                compare!(Agree::Within(1e-6), case, |d| {
                    let (z, mut dz) = (d.put(&z), d.blank(n));
                    let with = d
                        .cross_entropy(samples, classes, &z, &labels, smoothing, Some(&mut dz))
                        .unwrap();
                    let without = d
                        .cross_entropy(samples, classes, &z, &labels, smoothing, None)
                        .unwrap();
                    vec![vec![with, without], d.get(&dz)]
                });
            }
        }
    }
}

#[test]
fn refusals_are_those_of_the_cpu() {
    use dfdx::prelude::Cpu;
    macro_rules! said {
        (|$d:ident| $call:expr) => {{
            let on_cpu = {
                let $d = &Cpu::default();
                $call.unwrap_err().to_string()
            };
            let $d = &gpu();
            assert_eq!($call.unwrap_err().to_string(), on_cpu);
        }};
    }
    let f = FakeQuant::activation(Bounds::new(0.0, 1.0), 2).unwrap();
    let crossed = FakeQuant { lower: 2.0, ..f };
    said!(|d| d.activate(Activation::Relu, &d.put(&[1.0]), &mut d.blank(2)));
    said!(|d| d.fake_quant_forward(&d.put(&[1.0]), crossed, &mut d.blank(1)));
    said!(|d| d.fake_quant_grad(&d.put(&[1.0]), f, &d.blank(2), &mut d.blank(1), false));
    said!(|d| d.cross_entropy(1, 2, &d.put(&[1.0, 2.0]), &[2], 0.0, None));
    said!(|d| d.l1_loss(&d.blank(0), &[], &mut d.blank(0)));
    said!(|d| d.bound_quant_forward(&d.blank(3), &[], &mut d.blank(3)));
}
