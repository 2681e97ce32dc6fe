//! All methods against the dense gradient, to the bit.

use rand::Rng as _;

use super::FreezeMask;
use super::cpu::{Method, grad_weight_masked};
use crate::ops::conv2d::cpu::{self, Input, Level, WeightGrads};
use crate::ops::conv2d::{ActQuant, ConvShape};

fn shape(
    (batch, height, width): (usize, usize, usize),
    (in_channels, out_channels): (usize, usize),
    kernel: (usize, usize),
    (stride, padding, dilation, groups): (usize, usize, usize, usize),
) -> ConvShape {
    ConvShape {
        batch,
        in_h: height,
        in_w: width,
        in_channels,
        out_channels,
        kernel,
        stride,
        padding,
        dilation,
        groups,
    }
}

fn shapes() -> Vec<ConvShape> {
    vec![
        shape((3, 8, 8), (16, 16), (3, 3), (1, 1, 1, 1)),
        shape((5, 4, 4), (64, 17), (3, 3), (1, 1, 1, 1)),
        shape((2, 33, 32), (3, 16), (3, 3), (1, 1, 1, 1)),
        shape((2, 17, 15), (16, 32), (3, 3), (2, 1, 1, 1)),
        shape((2, 9, 9), (16, 32), (1, 1), (2, 0, 1, 1)),
        shape((1, 20, 21), (5, 7), (5, 3), (3, 2, 2, 1)),
        shape((2, 11, 9), (34, 36), (3, 3), (2, 2, 2, 2)),
        shape((2, 9, 10), (6, 6), (3, 3), (1, 1, 1, 6)),
        shape((1, 60, 70), (20, 24), (3, 3), (1, 1, 1, 1)),
        // More chunks than lanes, unequal ones; bands of unequal height.
        shape((38, 30, 31), (6, 9), (3, 3), (1, 1, 1, 1)),
        shape((7, 70, 40), (40, 8), (3, 3), (1, 1, 1, 1)),
        shape((33, 23, 22), (18, 5), (2, 3), (3, 1, 2, 1)),
        shape((40, 16, 16), (17, 33), (1, 1), (1, 0, 1, 1)),
        ConvShape::linear(37, 64, 10),
    ]
}

fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = crate::rng(seed);
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

const QUANT: ActQuant = ActQuant {
    lower: -0.6,
    upper: 0.5,
    levels: 15,
};

/// Every way to compute it, and the library's own choice.
const METHODS: [Option<Method>; 4] = [
    None,
    Some(Method::Dense),
    Some(Method::Lanes),
    Some(Method::Gathered),
];

/// Each entry frozen with a probability of `share`.
fn random_mask(s: &ConvShape, share: f32, seed: u64) -> FreezeMask {
    let mut rng = crate::rng(seed);
    let bools: Vec<bool> = (0..s.weight_len())
        .map(|_| rng.random_range(0.0..1.0) < share)
        .collect();
    FreezeMask::from_bools(&bools)
}

/// The gradients of weights and biases that `compute` writes over something else.
fn gradients(s: &ConvShape, compute: impl FnOnce(WeightGrads)) -> (Vec<f32>, Vec<f32>) {
    let mut dw = vec![f32::NAN; s.weight_len()];
    let mut db = vec![f32::NAN; s.out_channels];
    compute(WeightGrads {
        dw: &mut dw,
        dbias: Some(&mut db),
    });
    (dw, db)
}

/// The masked gradient of weights and biases.
fn masked(
    level: Level,
    method: Option<Method>,
    s: &ConvShape,
    (x, dy): (Input, &[f32]),
    mask: &FreezeMask,
) -> (Vec<f32>, Vec<f32>) {
    gradients(s, |grads| {
        grad_weight_masked(level, method, s, x, dy, mask, grads).unwrap();
    })
}

/// The dense gradient, zero where `mask` is frozen.
fn dense(
    level: Level,
    s: &ConvShape,
    (x, dy): (Input, &[f32]),
    mask: &FreezeMask,
) -> (Vec<f32>, Vec<f32>) {
    let (mut dw, db) = gradients(s, |grads| {
        cpu::grad_weight(level, s, x, dy, grads).unwrap();
    });
    for (k, v) in dw.iter_mut().enumerate() {
        *v = if mask.is_frozen(k) { 0.0 } else { *v };
    }
    (dw, db)
}

/// The bits of all numbers; NaN is NaN.
fn bits(values: &[f32]) -> Vec<u32> {
    let of = |v: &f32| if v.is_nan() { u32::MAX } else { v.to_bits() };
    values.iter().map(of).collect()
}

fn assert_bits(got: &(Vec<f32>, Vec<f32>), want: &(Vec<f32>, Vec<f32>), case: &str) {
    assert!(bits(&got.0) == bits(&want.0), "weights: {case}");
    assert!(bits(&got.1) == bits(&want.1), "biases: {case}");
}

#[test]
fn every_method_gives_the_bits_of_the_dense_gradient() {
    for (index, s) in shapes().into_iter().enumerate() {
        let (x, dy) = (random(s.input_len(), 1), random(s.output_len(), 2));
        for (share, quant) in [
            (0.0, None),
            (0.1, Some(QUANT)),
            (0.5, None),
            (0.8, Some(QUANT)),
            (0.95, None),
            (0.999, None),
            (1.0, Some(QUANT)),
        ] {
            let mask = random_mask(&s, share, index as u64);
            for level in Level::ALL {
                let data = || (Input::new(&x, quant), &dy[..]);
                let want = dense(level, &s, data(), &mask);
                for method in METHODS {
                    let got = masked(level, method, &s, data(), &mask);
                    let case = format!("{s:?}, {share} frozen, {level:?}, {method:?}");
                    assert_bits(&got, &want, &case);
                }
            }
        }
    }
}

#[test]
fn a_whole_frozen_channel_and_a_single_free_entry() {
    let s = shape((9, 12, 12), (20, 18), (3, 3), (1, 1, 1, 1));
    let (x, dy) = (random(s.input_len(), 5), random(s.output_len(), 6));
    let filter = s.weight_len() / s.out_channels;
    let channel: Vec<bool> = (0..s.weight_len()).map(|k| k / filter % 3 != 1).collect();
    let single: Vec<bool> = (0..s.weight_len())
        .map(|k| k != 17 * filter + 171)
        .collect();
    for bools in [channel, single] {
        let mask = FreezeMask::from_bools(&bools);
        let data = || (Input::new(&x, None), &dy[..]);
        for level in Level::ALL {
            let want = dense(level, &s, data(), &mask);
            for method in METHODS {
                let got = masked(level, method, &s, data(), &mask);
                assert_bits(&got, &want, &format!("{method:?}, {level:?}"));
            }
        }
    }
}

/// Underflowing products, zeros of both signs, infinities and NaN in one image each: no lane may hear of another's.
#[test]
fn numbers_at_the_edge_stay_in_their_lane() {
    for s in [
        shape((21, 9, 9), (5, 6), (3, 3), (1, 1, 1, 1)),
        shape((2, 33, 32), (3, 16), (3, 3), (1, 1, 1, 1)),
    ] {
        let mask = random_mask(&s, 0.6, 7);
        let (mut x, mut dy) = (random(s.input_len(), 8), random(s.output_len(), 9));
        x.iter_mut().for_each(|v| *v *= 1e-30);
        dy.iter_mut().for_each(|v| *v = -1e-30 * v.abs());
        for special in [None, Some(f32::NAN), Some(f32::INFINITY), Some(-0.0)] {
            if let Some(special) = special {
                let image = s.input_len() / s.batch;
                x[image / 2] = special;
                x[s.input_len() - 1] = special;
            }
            for level in Level::ALL {
                let data = || (Input::new(&x, None), &dy[..]);
                let want = dense(level, &s, data(), &mask);
                for method in METHODS {
                    let got = masked(level, method, &s, data(), &mask);
                    assert_bits(
                        &got,
                        &want,
                        &format!("{special:?}, {method:?}, {level:?}, {s:?}"),
                    );
                }
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    for s in shapes() {
        let (x, dy) = (random(s.input_len(), 3), random(s.output_len(), 4));
        let mask = random_mask(&s, 0.8, 5);
        let with = |threads: usize, method| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let data = (Input::new(&x, Some(QUANT)), &dy[..]);
            let run = || masked(Level::Native, method, &s, data, &mask);
            pool.unwrap().install(run)
        };
        for method in METHODS {
            let one = with(1, method);
            for threads in [2, 3, 16] {
                let case = format!("{threads} threads, {method:?}, {s:?}");
                assert_bits(&with(threads, method), &one, &case);
            }
        }
    }
}

#[test]
fn a_mask_of_another_weight_is_refused() {
    let s = ConvShape::linear(2, 3, 4);
    let mask = FreezeMask::new(11);
    let (x, dy, mut dw) = (vec![0.0; 6], vec![0.0; 8], vec![0.0; 12]);
    let level = Level::Native;
    let (input, grads) = (
        Input::new(&x, None),
        WeightGrads {
            dw: &mut dw,
            dbias: None,
        },
    );
    let error = grad_weight_masked(level, None, &s, input, &dy, &mask, grads);
    assert_eq!(
        error.unwrap_err().to_string(),
        "masked gradient: freeze mask: expected 12 elements, found 11 elements"
    );
}
