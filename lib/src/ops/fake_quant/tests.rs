use dfdx::prelude::{Backward, SumTo, Trace};

use super::*;
use crate::ops::{assert_close, buffer, cpu, numeric_gradient, wave};
use crate::tensors::{Scalar, Vector, from_vec, read};

fn scalar(value: f32) -> Scalar {
    from_vec(vec![value], ()).unwrap()
}

fn vector(values: &[f32]) -> Vector {
    from_vec(values.to_vec(), (values.len(),)).unwrap()
}

#[test]
fn four_levels_between_the_bounds_and_clamped_outside() {
    let x = vector(&[-3.0, -1.0, -0.4, 0.1, 0.4, 2.0, 2.1, 7.0]);
    let (lower, upper) = (scalar(-1.0), scalar(2.0));
    let third = 1.0 / 3.0;
    let q = [0.0, 0.0, third, third, third, 1.0, 1.0, 1.0];
    let y = fake_quant(x.clone(), lower.clone(), upper.clone(), 2);
    assert_eq!(read(&y), q);
    let y = quantise_weight(x, lower, upper, 2);
    assert_eq!(read(&y), q.map(|q| 2.0 * q - 1.0));
}

#[test]
fn halves_go_to_the_even_level() {
    // N n = 0.5, 1.5, 2.5 exactly.
    let y = fake_quant(vector(&[0.5, 1.5, 2.5]), scalar(0.0), scalar(3.0), 2);
    assert_eq!(read(&y), [0.0, 2.0 / 3.0, 2.0 / 3.0]);
}

#[test]
fn literal_gradients_of_input_and_bounds() {
    // l = 0, u = 2: n = -0.5, 0, 0.75, 1, 1.5; the two ends belong to the inside.
    let x = vector(&[-1.0, 0.0, 1.5, 2.0, 3.0]);
    let (lower, upper) = (scalar(0.0), scalar(2.0));
    let y = quantise_weight(x.leaky_trace(), lower.clone(), upper.clone(), 2);
    let weights = vector(&[10.0, 1.0, 2.0, 3.0, 10.0]);
    let grads = (y * weights).sum::<(), _>().backward();
    // dy/dx = 2/(u - l) = 1; dy/du = -n; dy/dl = n - 1.
    assert_eq!(read(&grads.get(&x)), [0.0, 1.0, 2.0, 3.0, 0.0]);
    let expected_upper = -(1.0 * 0.0 + 2.0 * 0.75 + 3.0 * 1.0);
    let expected_lower = -(1.0 * 1.0 + 2.0 * 0.25 + 3.0 * 0.0);
    assert_eq!(read(&grads.get(&upper)), [expected_upper]);
    assert_eq!(read(&grads.get(&lower)), [expected_lower]);
}

/// The straight-through estimator is the true gradient of the function whose rounding residual
/// `round(N c)/N - c`, taken at the start, is held fixed.
#[test]
fn straight_through_gradient_agrees_with_finite_differences_at_a_fixed_residual() {
    let (l, u, bits) = (-0.9f32, 1.1f32, 2);
    let f = FakeQuant::weight(Bounds::new(l, u), bits).unwrap();
    // No entry may cross a bound within the step of a difference.
    let safe = |x: &f32| (x - l).abs() > 0.03 && (x - u).abs() > 0.03;
    let x: Vec<f32> = wave(60).iter().map(|v| 1.6 * v).filter(safe).collect();
    let weights = wave(x.len());
    let inside = x.iter().filter(|x| (l..u).contains(x)).count();
    assert!(inside > 20 && inside < x.len() - 10);
    let clamped = |x: f32, l: f32, u: f32| ((x - l) / (u - l)).clamp(0.0, 1.0);
    let residual: Vec<f32> = x
        .iter()
        .map(|&x| f.round(f.normalise(x)) - clamped(x, l, u))
        .collect();
    let loss = |x: &[f32], l: f32, u: f32| {
        let y = x.iter().zip(&residual);
        let y = y.map(|(&x, r)| 2.0 * (clamped(x, l, u) + r) - 1.0);
        y.zip(&weights).map(|(y, w)| y * w).sum::<f32>() / 10.0
    };

    let (xt, lt, ut) = (vector(&x), scalar(l), scalar(u));
    let y = quantise_weight(xt.leaky_trace(), lt.leaky_trace(), ut.leaky_trace(), bits);
    let grads = ((y * vector(&weights)).sum::<(), _>() / 10.0).backward();
    let by_x = numeric_gradient(&x, 1e-2, |x| loss(x, l, u));
    let by_bounds = numeric_gradient(&[l, u], 1e-2, |b| loss(&x, b[0], b[1]));
    assert_close(&read(&grads.get(&xt)), &by_x, 1e-3);
    let found = [read(&grads.get(&lt))[0], read(&grads.get(&ut))[0]];
    assert_close(&found, &by_bounds, 2e-3);
}

#[test]
fn gradient_accumulates_and_bounds_sum_over_many_chunks() {
    let n = 3 * crate::ops::parallel::CHUNK + 77;
    let (x, dy) = (wave(n), wave(n).into_iter().rev().collect::<Vec<_>>());
    let f = FakeQuant::weight(Bounds::new(-0.5, 0.7), 3).unwrap();
    let (x_, dy_) = (buffer(&x), buffer(&dy));
    let (mut once, mut twice) = (buffer(&vec![9.0; n]), buffer(&vec![0.0; n]));
    let bounds = cpu()
        .fake_quant_grad(&x_, f, &dy_, &mut once, false)
        .unwrap();
    for _ in 0..2 {
        cpu()
            .fake_quant_grad(&x_, f, &dy_, &mut twice, true)
            .unwrap();
    }
    let (mut lower, mut upper) = (0.0f64, 0.0f64);
    for i in 0..n {
        let inside = (-0.5..=0.7).contains(&x[i]);
        let slope = 2.0 / 1.2f64;
        let g = if inside { slope * dy[i] as f64 } else { 0.0 };
        let place = (x[i] as f64 + 0.5) / 1.2;
        assert!((once[i] as f64 - g).abs() < 1e-5 && twice[i] == 2.0 * once[i]);
        lower += g * (place - 1.0);
        upper -= g * place;
    }
    let found = [bounds.lower, bounds.upper];
    assert_close(&found, &[lower as f32, upper as f32], 1e-6);
}

#[test]
fn bits_of_the_sums_do_not_depend_on_the_number_of_threads() {
    let n = 5 * crate::ops::parallel::CHUNK + 1;
    let f = FakeQuant::activation(Bounds::new(-0.5, 0.7), 4).unwrap();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let mut dx = buffer(&vec![0.0; n]);
            let (x, dy) = (buffer(&wave(n)), buffer(&wave(n)));
            let bounds = cpu().fake_quant_grad(&x, f, &dy, &mut dx, false).unwrap();
            (bounds.lower.to_bits(), bounds.upper.to_bits())
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn nan_stays_nan_and_sends_no_gradient() {
    let x = vector(&[f32::NAN, 0.5]);
    let y = fake_quant(x.leaky_trace(), scalar(0.0), scalar(1.0), 2);
    assert!(read(&y)[0].is_nan());
    assert_eq!(read(&y.sum::<(), _>().backward().get(&x)), [0.0, 1.0]);
}

#[test]
fn dequantising_gives_values_back_on_the_scale_of_the_input() {
    let f = FakeQuant::dequantising(Bounds::new(-1.0, 2.0), 2).unwrap();
    assert_eq!(
        [-5.0, 0.1, 0.9, 3.0].map(|x| f.quantise(x)),
        [-1.0, 0.0, 1.0, 2.0]
    );
}

#[test]
fn bounds_that_cross_or_diverge_are_refused_with_both_values() {
    let try_bounds = |l: f32, u: f32| {
        let result = try_fake_quant(vector(&[0.0]), scalar(l), scalar(u), 2);
        result.unwrap_err().to_string()
    };
    for (l, u) in [
        (1.0, -1.0),
        (0.5, 0.5),
        (f32::NAN, 1.0),
        (0.0, f32::INFINITY),
    ] {
        let error = try_bounds(l, u);
        let named = format!("lower = {l}, upper = {u}");
        assert!(error.contains(&named), "{error}");
    }
    assert!(try_bounds(f32::MIN, f32::MAX).contains("normal number"));
    let error = try_fake_quant(vector(&[0.0]), scalar(0.0), scalar(1.0), 0).unwrap_err();
    assert!(error.to_string().contains("1 to 16 bits"), "{error}");
}

#[test]
fn the_bounds_own_tapes_are_followed() {
    // u = exp(v): the gradient arrives at v.
    let v = scalar(0.0);
    let x = vector(&[0.25]);
    let y = fake_quant(x.leaky_trace(), scalar(0.0), v.leaky_trace().exp(), 2);
    let grads = y.sum::<(), _>().backward();
    assert_eq!(read(&grads.get(&v)), [-0.25]);
}

#[test]
fn signed_and_unsigned_grids_are_those_of_the_code_of_2022() {
    // The formulas as that code has them: q = round(clamp(2^(b-1) w/s, -2^(b-1), 2^(b-1)-1)) / 2^(b-1) for
    // weights, q = round(clamp(2^b x/s, 0, 2^b-1)) / 2^b for inputs.
    let s = 0.8f32;
    for bits in 2..=8 {
        let half = 2f32.powi(bits as i32 - 1);
        let signed = FakeQuant::signed(s, bits).unwrap();
        let unsigned = FakeQuant::unsigned(s, bits).unwrap();
        for x in crate::ops::wave(500) {
            let w = (half * x / s).clamp(-half, half - 1.0).round_ties_even() / half;
            assert!((signed.quantise(x) - w).abs() < 1e-6, "{bits} bits, {x}");
            let a = (2.0 * half * x / s).clamp(0.0, 2.0 * half - 1.0);
            let a = a.round_ties_even() / (2.0 * half);
            assert!((unsigned.quantise(x) - a).abs() < 1e-6, "{bits} bits, {x}");
        }
    }
    let signs = FakeQuant::signed(s, 1).unwrap();
    assert_eq!(
        [-3.0, -0.1, 0.1].map(|w| signs.quantise(w)),
        [-1.0, -1.0, 1.0]
    );
    assert!(FakeQuant::signed(0.0, 2).is_err() && FakeQuant::unsigned(-1.0, 2).is_err());
}
