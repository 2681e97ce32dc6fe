//! All methods against the dense gradient.

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

/// The library's own choice, and each method by name; where it is not to be had, `Gathered` is that choice again.
fn methods() -> [Option<Method>; 4] {
    [
        None,
        Some(Method::Dense),
        Some(Method::Gathered),
        Some(Method::Sampled),
    ]
}

#[test]
fn free_entries_are_the_dense_gradient_and_frozen_ones_zero() {
    for (index, s) in shapes().into_iter().enumerate() {
        let (x, dy) = (random(s.input_len(), 1), random(s.output_len(), 2));
        for (share, quant) in [
            (0.0, None),
            (0.5, Some(QUANT)),
            (0.8, None),
            (0.95, None),
            (1.0, Some(QUANT)),
        ] {
            let mut rng = crate::rng(index as u64);
            let bools: Vec<bool> = (0..s.weight_len())
                .map(|_| rng.random_range(0.0..1.0) < share)
                .collect();
            let mask = FreezeMask::from_bools(&bools);
            let mut dense = vec![0.0; s.weight_len()];
            let mut dense_bias = vec![0.0; s.out_channels];
            let level = Level::Native;
            let all = WeightGrads {
                dw: &mut dense,
                dbias: Some(&mut dense_bias),
            };
            cpu::grad_weight(level, &s, Input::new(&x, quant), &dy, all).unwrap();
            let pixels = (s.output_len() / s.out_channels) as f32;
            let tolerance = 3e-6 * pixels.sqrt().max(1.0);
            for level in [Level::Native, Level::Scalar] {
                for method in methods() {
                    let mut dw = vec![f32::NAN; s.weight_len()];
                    let mut db = vec![f32::NAN; s.out_channels];
                    let dbias = Some(&mut db[..]);
                    let (input, grads) =
                        (Input::new(&x, quant), WeightGrads { dw: &mut dw, dbias });
                    grad_weight_masked(level, method, &s, input, &dy, &mask, grads).unwrap();
                    let case = format!("{s:?}, {share} frozen, {level:?}, {method:?}");
                    for (k, ((&got, &want), &frozen)) in
                        dw.iter().zip(&dense).zip(&bools).enumerate()
                    {
                        if frozen {
                            assert_eq!(got, 0.0, "frozen entry {k} of {case}");
                        } else {
                            let error = (got - want).abs();
                            assert!(error <= tolerance, "entry {k}: {got}, not {want}: {case}");
                        }
                    }
                    for (&got, &want) in db.iter().zip(&dense_bias) {
                        assert!(
                            (got - want).abs() <= tolerance,
                            "bias {got}, not {want}: {case}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    for s in shapes() {
        let (x, dy) = (random(s.input_len(), 3), random(s.output_len(), 4));
        let bools: Vec<bool> = (0..s.weight_len()).map(|k| k % 5 != 0).collect();
        let mask = FreezeMask::from_bools(&bools);
        let with = |threads: usize, method| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| {
                let mut dw = vec![0.0; s.weight_len()];
                let (level, q) = (Level::Native, Some(QUANT));
                let (input, grads) = (
                    Input::new(&x, q),
                    WeightGrads {
                        dw: &mut dw,
                        dbias: None,
                    },
                );
                grad_weight_masked(level, method, &s, input, &dy, &mask, grads).unwrap();
                dw
            })
        };
        for method in methods() {
            assert!(with(1, method) == with(2, method), "{method:?}, {s:?}");
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
