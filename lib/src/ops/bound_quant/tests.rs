use dfdx::prelude::{Backward, SumTo, Trace};

use super::*;
use crate::ops::{assert_close, buffer, cpu, numeric_gradient, wave};
use crate::tensors::{Images, from_vec, read, vector};

fn images(values: &[f32], samples: usize) -> Images {
    from_vec(values.to_vec(), (samples, 1, 1, values.len() / samples)).unwrap()
}

#[test]
fn the_grid_is_anchored_at_zero_and_not_at_the_lower_bound() {
    // s = 3/4: levels are multiples of 4/3, from round(-0.75) = -1 to round(2.25) = 2.
    let q = BoundQuant::dual(Bounds::new(-1.0, 3.0), 2).unwrap();
    let step = 4.0 / 3.0;
    assert_close(&q.levels(), &[-step, 0.0, step, 2.0 * step], 1e-6);
    let y: Vec<f32> = [-9.0, -0.6, 0.6, 0.7, 9.0].map(|x| q.quantise(x)).to_vec();
    assert_close(&y, &[-step, 0.0, 0.0, step, 2.0 * step], 1e-6);
}

#[test]
fn after_a_relu_dual_bounds_use_four_levels_and_symmetric_ones_two() {
    let x = linspace_from_zero();
    let count = |q: BoundQuant| {
        let mut seen: Vec<u32> = x.iter().map(|&x| (q.quantise(x) + 0.0).to_bits()).collect();
        seen.sort_unstable();
        seen.dedup();
        seen.len()
    };
    assert_eq!(
        count(BoundQuant::dual(Bounds::new(0.0, 6.0), 2).unwrap()),
        4
    );
    assert_eq!(count(BoundQuant::symmetric(6.0, 2).unwrap()), 2);
    assert_eq!(
        BoundQuant::symmetric(6.0, 2).unwrap().levels(),
        [-6.0, 0.0, 6.0]
    );
    assert_eq!(BoundQuant::symmetric(6.0, 3).unwrap().levels().len(), 7);
}

fn linspace_from_zero() -> Vec<f32> {
    crate::tensors::linspace(0.0, 8.0, 801)
}

#[test]
fn zero_stays_zero_and_no_sample_has_more_than_two_to_the_bits_levels() {
    for bits in [2, 3, 4] {
        for (l, u) in [
            (-1.0, 3.0),
            (-0.3, 5.0),
            (0.0, 1.0),
            (-2.0, 0.0),
            (-7.1, 3.3),
        ] {
            let q = BoundQuant::dual(Bounds::new(l, u), bits).unwrap();
            assert_eq!(q.quantise(0.0), 0.0);
            let scale = q.steps as f32 / (u - l);
            let mut seen = std::collections::BTreeSet::new();
            for x in crate::tensors::linspace(-10.0, 10.0, 4001) {
                let y = q.quantise(x);
                assert_eq!(y, (scale * x.clamp(l, u)).round_ties_even() / scale);
                // -0 and 0 are one level.
                seen.insert((y + 0.0).to_bits());
            }
            assert!(
                seen.len() <= 1 << bits,
                "{bits} bits, [{l}, {u}]: {}",
                seen.len()
            );
        }
    }
}

#[test]
fn literal_gradients_with_halves_at_the_bounds() {
    // l = 0, u = 3, n = 3: s = 1. Residuals 0, 0.25, -0.25, 0, 0.
    let x = images(&[0.0, 0.75, 2.25, 3.0, 7.0, -2.0], 1);
    let (l, u) = (vector(&[0.0]), vector(&[3.0]));
    let y = bound_quant(x.leaky_trace(), l.leaky_trace(), u.leaky_trace(), 2);
    assert_eq!(read(&y), [0.0, 1.0, 2.0, 3.0, 3.0, 0.0]);
    let weights = images(&[2.0, 3.0, 5.0, 8.0, 13.0, 21.0], 1);
    let grads = (y * weights).sum::<(), _>().backward();
    assert_eq!(read(&grads.get(&x)), [1.0, 3.0, 5.0, 4.0, 0.0, 0.0]);
    let r = (3.0 * 0.25 - 5.0 * 0.25) / 3.0;
    assert_close(&read(&grads.get(&u)), &[4.0 + 13.0 + r], 1e-6);
    assert_close(&read(&grads.get(&l)), &[1.0 + 21.0 - r], 1e-6);
}

/// The straight-through estimator is the true gradient of the function whose rounding residual
/// `round(s c) - s c` is held fixed.
#[test]
fn gradients_are_those_of_finite_differences_at_a_fixed_residual() {
    let bounds = [[-0.7f32, 0.9], [-0.4, 0.6]];
    let far = |v: &f32| bounds.iter().flatten().all(|b| (v - b).abs() > 0.03);
    let mut x: Vec<f32> = wave(80).iter().map(|v| 1.3 * v).filter(far).collect();
    x.truncate(x.len() / 2 * 2);
    let weights = wave(x.len());
    let half = x.len() / 2;
    let c = |x: f32, l: f32, u: f32| x.min(u).max(l);
    let residual: Vec<f32> = (0..x.len())
        .map(|i| {
            let [l, u] = bounds[i / half];
            let s = 3.0 / (u - l);
            let z = s * c(x[i], l, u);
            z.round_ties_even() - z
        })
        .collect();
    let loss = |x: &[f32], b: &[f32]| {
        let term = |i: usize| {
            let (l, u) = (b[i / half], b[2 + i / half]);
            let s = 3.0 / (u - l);
            (s * c(x[i], l, u) + residual[i]) / s * weights[i]
        };
        (0..x.len()).map(term).sum::<f32>() / 10.0
    };
    let (l, u) = (vector(&[-0.7, -0.4]), vector(&[0.9, 0.6]));
    let xt = images(&x, 2);
    let y = bound_quant(xt.leaky_trace(), l.leaky_trace(), u.leaky_trace(), 2);
    let grads = ((y * images(&weights, 2)).sum::<(), _>() / 10.0).backward();
    let all = [-0.7, -0.4, 0.9, 0.6];
    let by_x = numeric_gradient(&x, 1e-2, |x| loss(x, &all));
    assert_close(&read(&grads.get(&xt)), &by_x, 1e-3);
    let by_bounds = numeric_gradient(&all, 1e-2, |b| loss(&x, b));
    let found = [read(&grads.get(&l)), read(&grads.get(&u))].concat();
    assert_close(&found, &by_bounds, 2e-3);
}

#[test]
fn the_symmetric_bound_gets_the_gradient_of_pams() {
    // a = 2, m = 1: dy/da = sign(x) outside, (y - x)/a inside.
    let x = images(&[-5.0, -0.6, 1.4, 3.0], 1);
    let a = vector(&[2.0]);
    let y = symmetric_quant(x.leaky_trace(), a.leaky_trace(), 2);
    assert_eq!(read(&y), [-2.0, 0.0, 2.0, 2.0]);
    let grads = (y * images(&[1.0, 2.0, 3.0, 4.0], 1))
        .sum::<(), _>()
        .backward();
    let expected = -1.0 + 2.0 * (0.6 / 2.0) + 3.0 * (0.6 / 2.0) + 4.0;
    assert_close(&read(&grads.get(&a)), &[expected], 1e-6);
}

#[test]
fn one_pair_of_bounds_serves_all_samples_and_collects_their_gradients() {
    let x = images(&wave(30), 3);
    let run = |l: &[f32], u: &[f32]| {
        let (l, u) = (vector(l), vector(u));
        let y = bound_quant(x.leaky_trace(), l.leaky_trace(), u.leaky_trace(), 3);
        let out = read(&y);
        let grads = y.square().sum::<(), _>().backward();
        let sum = |v: Vec<f32>| v.iter().sum::<f32>();
        (out, [sum(read(&grads.get(&l))), sum(read(&grads.get(&u)))])
    };
    let (one, many) = (run(&[-0.5], &[0.6]), run(&[-0.5; 3], &[0.6; 3]));
    assert_eq!(one.0, many.0);
    assert_close(&one.1, &many.1, 1e-6);
}

#[test]
fn gradient_adds_up_over_chunks_and_when_asked() {
    let n = 2 * crate::ops::parallel::CHUNK + 77;
    let (x, dy) = (buffer(&wave(n)), buffer(&wave(n)));
    let q = [BoundQuant::dual(Bounds::new(-0.5, 0.7), 3).unwrap()];
    let (mut once, mut twice) = (buffer(&vec![9.0; n]), buffer(&vec![0.0; n]));
    let g = cpu()
        .bound_quant_grad(&x, &q, &dy, &mut once, false)
        .unwrap();
    for _ in 0..2 {
        cpu()
            .bound_quant_grad(&x, &q, &dy, &mut twice, true)
            .unwrap();
    }
    let (mut lower, mut upper) = (0.0f64, 0.0f64);
    for i in 0..n {
        let v = x[i];
        let r = f64::from(q[0].quantise(v) - v.clamp(-0.5, 0.7)) / 1.2;
        upper += f64::from(dy[i]) * (f64::from(u8::from(v > 0.7)) + r);
        lower += f64::from(dy[i]) * (f64::from(u8::from(v < -0.5)) - r);
        assert!(twice[i] == 2.0 * once[i]);
    }
    assert_close(
        &[g[0].lower, g[0].upper],
        &[lower as f32, upper as f32],
        1e-4,
    );
}

#[test]
fn nan_stays_nan_and_sends_no_gradient() {
    let x = images(&[f32::NAN, 0.2], 1);
    let u = vector(&[1.0]);
    let y = bound_quant(x.leaky_trace(), vector(&[-1.0]), u.leaky_trace(), 2);
    assert!(read(&y)[0].is_nan());
    let grads = y.sum::<(), _>().backward();
    assert_eq!(read(&grads.get(&x)), [0.0, 1.0]);
    assert!(read(&grads.get(&u))[0].is_finite());
}

#[test]
fn what_cannot_be_used_is_named() {
    let x = || images(&[0.0, 1.0], 2);
    let message = |l: &[f32], u: &[f32], bits| {
        let result = try_bound_quant(x(), vector(l), vector(u), bits);
        result.err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(message(&[1.0], &[-1.0], 2).contains("lower = 1, upper = -1"));
    assert!(message(&[0.0; 3], &[1.0; 3], 2).contains("one for each sample"));
    assert!(message(&[0.0], &[1.0], 0).contains("bits"));
    let error = try_symmetric_quant(x(), vector(&[1.0]), 1).unwrap_err();
    assert!(error.to_string().contains("at least 2"), "{error}");
    let error = try_symmetric_quant(x(), vector(&[1.0, 2.0]), 2).unwrap_err();
    assert!(error.to_string().contains("2 bounds"), "{error}");
}
