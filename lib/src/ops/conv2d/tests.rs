//! Every kernel against the definition written as plain loops, at both instruction levels.

use rand::Rng as _;

use super::cpu::{self, Input, Level, WeightGrads};
use super::*;

fn shape(
    (batch, size): (usize, usize),
    (in_channels, out_channels): (usize, usize),
    k: usize,
    (stride, padding, dilation, groups): (usize, usize, usize, usize),
) -> ConvShape {
    ConvShape {
        batch,
        in_h: size,
        in_w: size + 1,
        in_channels,
        out_channels,
        kernel: (k, k),
        stride,
        padding,
        dilation,
        groups,
    }
}

/// Shapes that reach every path: strides, paddings, dilations, groups, partial vectors and blocks, bands.
fn shapes() -> Vec<ConvShape> {
    let mut all = vec![
        shape((2, 5), (1, 1), 1, (1, 0, 1, 1)),
        shape((3, 8), (3, 16), 3, (1, 1, 1, 1)),
        shape((2, 8), (16, 16), 3, (1, 1, 1, 1)),
        shape((2, 9), (16, 32), 3, (2, 1, 1, 1)),
        shape((2, 9), (16, 32), 1, (2, 0, 1, 1)),
        shape((1, 33), (17, 5), 3, (1, 1, 1, 1)),
        shape((2, 7), (64, 17), 3, (1, 0, 1, 1)),
        shape((1, 12), (5, 64), 5, (3, 2, 1, 1)),
        shape((2, 11), (6, 10), 3, (1, 2, 2, 2)),
        shape((2, 11), (34, 36), 3, (2, 2, 2, 2)),
        shape((2, 10), (6, 12), 3, (1, 1, 1, 6)),
        shape((2, 10), (5, 5), 3, (1, 1, 1, 5)),
        shape((2, 10), (40, 40), 3, (2, 1, 1, 40)),
        shape((1, 11), (16, 16), 5, (3, 3, 2, 16)),
        shape((3, 10), (17, 33), 1, (1, 0, 1, 1)),
        shape((2, 6), (16, 48), 2, (2, 0, 1, 1)),
        shape((1, 70), (3, 3), 3, (1, 1, 1, 1)),
        shape((2, 4), (3, 4), 1, (3, 1, 1, 1)),
        ConvShape::linear(7, 64, 10),
        ConvShape::linear(130, 20, 3),
    ];
    all.push(ConvShape {
        kernel: (3, 1),
        ..shape((2, 5), (4, 6), 3, (1, 1, 1, 1))
    });
    all
}

fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = crate::rng(seed);
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn normalised(q: ActQuant, x: f32) -> f32 {
    (x - q.lower) * (1.0 / (q.upper - q.lower))
}

fn quantised(q: Option<ActQuant>, x: f32) -> f32 {
    let Some(q) = q else { return x };
    let levels = q.levels as f32;
    (levels * normalised(q, x).clamp(0.0, 1.0)).round_ties_even() / levels
}

/// Calls `f(input index, weight index, output index)` for every product of the definition.
fn products(s: &ConvShape, mut f: impl FnMut(usize, usize, usize)) {
    let (icg, ocg) = (s.in_channels / s.groups, s.out_channels / s.groups);
    let (oh, ow, (kh, kw)) = (s.out_h(), s.out_w(), s.kernel);
    for n in 0..s.batch {
        for i in 0..oh {
            for j in 0..ow {
                for o in 0..s.out_channels {
                    for c in 0..icg {
                        for u in 0..kh {
                            for v in 0..kw {
                                let y = i * s.stride + u * s.dilation;
                                let x = j * s.stride + v * s.dilation;
                                let inside = (s.padding..s.padding + s.in_h).contains(&y)
                                    && (s.padding..s.padding + s.in_w).contains(&x);
                                if inside {
                                    let (y, x) = (y - s.padding, x - s.padding);
                                    let channel = o / ocg * icg + c;
                                    f(
                                        ((n * s.in_h + y) * s.in_w + x) * s.in_channels + channel,
                                        ((o * icg + c) * kh + u) * kw + v,
                                        ((n * oh + i) * ow + j) * s.out_channels + o,
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn close(what: &str, s: &ConvShape, got: &[f32], want: &[f64], terms: usize) {
    let tolerance = 4e-7 * (terms as f64).sqrt() + 2e-6;
    for (k, (&g, &w)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(g) - w).abs();
        assert!(
            error <= tolerance * w.abs().max(1.0),
            "{what} of {s:?}: element {k} is {g}, not {w}"
        );
    }
}

const QUANTS: [Option<ActQuant>; 2] = [
    None,
    Some(ActQuant {
        lower: -0.4,
        upper: 0.7,
        levels: 3,
    }),
];
const LEVELS: [Level; 2] = [Level::Native, Level::Scalar];

#[test]
fn forward_is_the_definition() {
    for s in shapes() {
        s.check().unwrap();
        let x = random(s.input_len(), 1);
        let w = random(s.weight_len(), 2);
        let b = random(s.out_channels, 3);
        for quant in QUANTS {
            let mut want: Vec<f64> = (0..s.output_len())
                .map(|k| f64::from(b[k % s.out_channels]))
                .collect();
            products(&s, |i, k, o| {
                want[o] += f64::from(quantised(quant, x[i])) * f64::from(w[k]);
            });
            for level in LEVELS {
                let mut y = vec![f32::NAN; s.output_len()];
                cpu::forward(level, &s, Input::new(&x, quant), &w, Some(&b), &mut y).unwrap();
                close("y", &s, &y, &want, s.weight_len() / s.out_channels);
            }
        }
    }
}

#[test]
fn grad_input_is_the_definition() {
    for s in shapes() {
        let x = random(s.input_len(), 4);
        let w = random(s.weight_len(), 5);
        let dy = random(s.output_len(), 6);
        let before = random(s.input_len(), 7);
        for quant in QUANTS {
            let mut want = vec![0.0; s.input_len()];
            products(&s, |i, k, o| want[i] += f64::from(dy[o]) * f64::from(w[k]));
            let mut bounds = (0.0, 0.0);
            if let Some(q) = quant {
                let range = f64::from(q.upper - q.lower);
                for (g, &x) in want.iter_mut().zip(&x) {
                    let n = f64::from(normalised(q, x));
                    let inside = (0.0..=1.0).contains(&n);
                    *g = if inside { *g / range } else { 0.0 };
                    bounds.0 += *g * (n - 1.0);
                    bounds.1 -= *g * n;
                }
            }
            let terms = s.weight_len() / s.in_channels * s.groups;
            for level in LEVELS {
                let mut dx = vec![f32::NAN; s.input_len()];
                let grad = cpu::grad_input(
                    level,
                    &s,
                    &dy,
                    &w,
                    Input::new(&x, quant),
                    GradTo::Overwrite(&mut dx),
                )
                .unwrap();
                close("dx", &s, &dx, &want, terms);
                assert_eq!(grad.is_some(), quant.is_some());
                if let Some(grad) = grad {
                    let got = [grad.lower, grad.upper];
                    let scale = s.input_len() * terms;
                    close("bounds", &s, &got, &[bounds.0, bounds.1], scale);
                }
                let alone =
                    cpu::grad_input(level, &s, &dy, &w, Input::new(&x, quant), GradTo::Nowhere);
                assert_eq!(alone.unwrap(), grad, "bounds alone of {s:?}");
                let mut dx = before.clone();
                cpu::grad_input(
                    level,
                    &s,
                    &dy,
                    &w,
                    Input::new(&x, quant),
                    GradTo::Add(&mut dx),
                )
                .unwrap();
                let sum: Vec<f64> = want
                    .iter()
                    .zip(&before)
                    .map(|(w, &b)| w + f64::from(b))
                    .collect();
                close("dx +=", &s, &dx, &sum, terms);
            }
        }
    }
}

#[test]
fn grad_weight_is_the_definition() {
    for s in shapes() {
        let x = random(s.input_len(), 8);
        let dy = random(s.output_len(), 9);
        for quant in QUANTS {
            let mut want = vec![0.0; s.weight_len()];
            products(&s, |i, k, o| {
                want[k] += f64::from(quantised(quant, x[i])) * f64::from(dy[o]);
            });
            let mut want_bias = vec![0.0; s.out_channels];
            for (k, &g) in dy.iter().enumerate() {
                want_bias[k % s.out_channels] += f64::from(g);
            }
            for level in LEVELS {
                let mut dw = vec![f32::NAN; s.weight_len()];
                let mut db = vec![f32::NAN; s.out_channels];
                cpu::grad_weight(
                    level,
                    &s,
                    Input::new(&x, quant),
                    &dy,
                    WeightGrads {
                        dw: &mut dw,
                        dbias: Some(&mut db),
                    },
                )
                .unwrap();
                let pixels = s.output_len() / s.out_channels;
                close("dw", &s, &dw, &want, pixels);
                close("dbias", &s, &db, &want_bias, pixels);
            }
        }
    }
}

#[test]
fn nan_goes_through_the_quantiser() {
    let s = shape((1, 6), (18, 3), 1, (1, 0, 1, 1));
    let mut x = random(s.input_len(), 13);
    // In a full vector of channels, and in the rest of one.
    (x[3], x[18 * 20 + 17], x[18 * 30]) = (f32::NAN, f32::NAN, f32::INFINITY);
    let w = vec![1.0; s.weight_len()];
    for level in LEVELS {
        for quant in QUANTS {
            let mut y = vec![0.0; s.output_len()];
            cpu::forward(level, &s, Input::new(&x, quant), &w, None, &mut y).unwrap();
            for (pixel, y) in y.chunks(3).enumerate() {
                let expected = pixel == 0 || pixel == 20;
                assert!(y.iter().all(|y| y.is_nan() == expected), "{pixel}: {y:?}");
            }
        }
        let (dy, mut dw) = (vec![1.0; s.output_len()], vec![0.0; s.weight_len()]);
        let grads = WeightGrads {
            dw: &mut dw,
            dbias: None,
        };
        cpu::grad_weight(level, &s, Input::new(&x, QUANTS[1]), &dy, grads).unwrap();
        for dw in dw.chunks(18) {
            assert!(
                dw.iter()
                    .enumerate()
                    .all(|(c, d)| d.is_nan() == [3, 17].contains(&c))
            );
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    for s in shapes() {
        let x = random(s.input_len(), 10);
        let w = random(s.weight_len(), 11);
        let dy = random(s.output_len(), 12);
        let all = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                let mut y = vec![0.0; s.output_len()];
                let mut dx = vec![0.0; s.input_len()];
                let mut dw = vec![0.0; s.weight_len()];
                let q = QUANTS[1];
                cpu::forward(Level::Native, &s, Input::new(&x, q), &w, None, &mut y).unwrap();
                let bounds = cpu::grad_input(
                    Level::Native,
                    &s,
                    &dy,
                    &w,
                    Input::new(&x, q),
                    GradTo::Overwrite(&mut dx),
                )
                .unwrap();
                cpu::grad_weight(
                    Level::Native,
                    &s,
                    Input::new(&x, q),
                    &dy,
                    WeightGrads {
                        dw: &mut dw,
                        dbias: None,
                    },
                )
                .unwrap();
                (y, dx, dw, bounds)
            })
        };
        let one = all(1);
        for threads in [2, 3] {
            assert!(one == all(threads), "{s:?} differs with {threads} threads");
        }
    }
}

#[test]
fn refusals_name_both_shapes() {
    let s = shape((1, 4), (2, 3), 3, (1, 1, 1, 1));
    let (x, w) = (vec![0.0; s.input_len()], vec![0.0; s.weight_len() - 1]);
    let mut y = vec![0.0; s.output_len()];
    let error =
        cpu::forward(Level::Native, &s, Input::new(&x, None), &w, None, &mut y).unwrap_err();
    assert_eq!(
        error.to_string(),
        "conv2d weight: expected 54 elements, found 53 elements"
    );
    let error = ConvShape { groups: 2, ..s }.check().unwrap_err();
    assert_eq!(
        error.to_string(),
        "conv2d groups = 2: does not divide out_channels = 3"
    );
    let error = ConvShape {
        in_h: 1,
        in_w: 1,
        padding: 0,
        ..s
    }
    .check()
    .unwrap_err();
    assert!(error.to_string().contains("3x3"), "{error}");
}

/// Strides beyond the image leave one output, as a stride that just leaves it does, and take no more memory.
#[test]
fn a_stride_beyond_the_image_is_one_that_just_leaves_it() {
    let far = shape((2, 5), (3, 4), 3, (1 << 40, 1, 1, 1));
    let near = ConvShape { stride: 6, ..far };
    assert_eq!((far.out_h(), far.out_w()), (1, 1));
    let (x, w) = (random(far.input_len(), 1), random(far.weight_len(), 2));
    let dy = random(far.output_len(), 3);
    let all = |s: &ConvShape| {
        let mut y = vec![0.0; s.output_len()];
        let (mut dx, mut dw) = (vec![0.0; s.input_len()], vec![0.0; s.weight_len()]);
        let (level, input) = (Level::Native, Input::new(&x, None));
        cpu::forward(level, s, input, &w, None, &mut y).unwrap();
        cpu::grad_input(level, s, &dy, &w, input, GradTo::Overwrite(&mut dx)).unwrap();
        let grads = WeightGrads {
            dw: &mut dw,
            dbias: None,
        };
        cpu::grad_weight(level, s, input, &dy, grads).unwrap();
        (y, dx, dw)
    };
    assert!(all(&far) == all(&near));
}

#[test]
fn sizes_that_cannot_be_counted_are_refused() {
    let s = shape((1, 5), (1, 1), 3, (1, 1, 1, 1));
    for refused in [
        ConvShape {
            padding: 1 << 63,
            ..s
        },
        ConvShape {
            padding: usize::MAX,
            ..s
        },
        ConvShape {
            padding: 1 << 40,
            ..s
        },
        ConvShape {
            padding: 1 << 40,
            stride: 1 << 40,
            ..s
        },
        ConvShape {
            padding: 1 << 31,
            dilation: 1 << 30,
            ..s
        },
        ConvShape {
            dilation: 1 << 62,
            ..s
        },
        ConvShape {
            dilation: 1 << 63,
            ..s
        },
        ConvShape {
            kernel: (usize::MAX, 3),
            ..s
        },
        ConvShape {
            batch: usize::MAX,
            ..s
        },
        ConvShape {
            out_channels: usize::MAX / 2,
            ..s
        },
        ConvShape {
            in_channels: usize::MAX / 2,
            out_channels: usize::MAX / 2,
            ..s
        },
    ] {
        assert!(refused.check().is_err(), "{refused:?}");
    }
}
