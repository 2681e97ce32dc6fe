use dfdx::prelude::{Backward, HasShape, MeanTo, SumTo, Trace};

use super::*;
use crate::ops::{assert_close, buffer, cpu, numeric_gradient, wave};
use crate::tensors::{Images, from_vec, read};

#[test]
fn mean_of_each_channel_and_its_even_gradient() {
    let x: Images = from_vec((0..12).map(|i| i as f32).collect(), (1, 3, 2, 2)).unwrap();
    let y = global_avg_pool(x.leaky_trace());
    assert_eq!(*y.shape(), (1, 3));
    assert_eq!(read(&y), [1.5, 5.5, 9.5]);
    let weights = from_vec(vec![4.0, 8.0, -4.0], (1, 3)).unwrap();
    let dx = read(&(y * weights).sum::<(), _>().backward().get(&x));
    assert_eq!(dx, [1., 1., 1., 1., 2., 2., 2., 2., -1., -1., -1., -1.]);
}

#[test]
fn a_large_map_far_from_zero_keeps_its_mean() {
    let (pixels, channels) = (9000, 19);
    let x: Vec<f32> = (0..pixels * channels)
        .map(|i| 1000.0 + (i / channels % 2) as f32 + (i % channels) as f32)
        .collect();
    let mut y = buffer(&[0.0; 19]);
    cpu()
        .global_avg_pool_forward(1, pixels, channels, &buffer(&x), &mut y)
        .unwrap();
    let expected: Vec<f32> = (0..19).map(|c| 1000.5 + c as f32).collect();
    assert_close(&y, &expected, 1e-6);
}

#[test]
fn padded_windows_see_only_the_map() {
    // All negative: a window that saw padding as zeros would answer 0.
    let x: Images = from_vec((1..=9).map(|i| -i as f32).collect(), (1, 1, 3, 3)).unwrap();
    let y = max_pool2d(x, 3, 2, 1);
    assert_eq!(*y.shape(), (1, 1, 2, 2));
    assert_eq!(read(&y), [-1.0, -2.0, -4.0, -5.0]);
}

#[test]
fn the_first_of_equal_values_gets_the_gradient() {
    let x: Images = from_vec(vec![1.0, 3.0, 3.0, 3.0], (1, 1, 2, 2)).unwrap();
    let y = max_pool2d(x.leaky_trace(), 2, 2, 0);
    let dx = read(&y.sum::<(), _>().backward().get(&x));
    assert_eq!(dx, [0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn a_value_that_wins_two_windows_gets_both_gradients() {
    let x: Images = from_vec(vec![0., 1., 9., 2., 3.], (1, 1, 1, 5)).unwrap();
    let y = max_pool2d(x.leaky_trace(), 3, 2, 1);
    assert_eq!(read(&y), [1.0, 9.0, 3.0]);
    let weights = from_vec(vec![1.0, 10.0, 100.0], (1, 1, 1, 3)).unwrap();
    let dx = read(&(y * weights).sum::<(), _>().backward().get(&x));
    assert_eq!(dx, [0., 1., 10., 0., 100.]);
    let overlapping = max_pool2d(x.leaky_trace(), 3, 1, 1);
    assert_eq!(read(&overlapping), [1.0, 9.0, 9.0, 9.0, 3.0]);
    let dx = read(&overlapping.sum::<(), _>().backward().get(&x));
    assert_eq!(dx, [0., 1., 3., 0., 1.]);
}

#[test]
fn gradient_of_the_maximum_agrees_with_finite_differences() {
    // 35 values of `wave` are at least 0.02 apart: no step changes a winner.
    let shape = (1, 1, 5, 7);
    let values: Vec<f32> = wave(35).iter().map(|v| 4.0 * v).collect();
    let weights: Vec<f32> = wave(12);
    let pool = |x: Images| max_pool2d(x, 3, 2, 1);
    let loss = |v: &[f32]| {
        let y = read(&pool(from_vec(v.to_vec(), shape).unwrap()));
        y.iter().zip(&weights).map(|(y, w)| y * w).sum::<f32>() / 12.0
    };
    let x = from_vec(values.clone(), shape).unwrap();
    let y = max_pool2d(x.leaky_trace(), 3, 2, 1);
    assert_eq!(*y.shape(), (1, 1, 3, 4));
    let w = from_vec(weights.clone(), (1, 1, 3, 4)).unwrap();
    let grads = (y * w).mean::<(), _>().backward();
    let numeric = numeric_gradient(&values, 1e-2, loss);
    assert_close(&read(&grads.get(&x)), &numeric, 1e-4);
}

#[test]
fn images_and_channels_do_not_mix() {
    // Channel 1 is channel 0 with the sign turned; image 1 is image 0 plus 100.
    let plane = wave(36);
    let turned: Vec<f32> = plane.iter().map(|v| -v).collect();
    let mut all = [plane.clone(), turned].concat();
    all.extend(all.clone().iter().map(|v| v + 100.0));
    let y = read(&max_pool2d(from_vec(all, (2, 2, 6, 6)).unwrap(), 2, 2, 0));
    let window = |p: usize| {
        let (top, left) = (p / 3 * 2, p % 3 * 2);
        [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(a, b)| plane[(top + a) * 6 + left + b])
    };
    for p in 0..9 {
        let largest = window(p).into_iter().fold(f32::MIN, f32::max);
        let smallest = window(p).into_iter().fold(f32::MAX, f32::min);
        assert_eq!([y[p], y[9 + p]], [largest, -smallest]);
        assert_close(
            &[y[18 + p], y[27 + p]],
            &[largest + 100.0, 100.0 - smallest],
            1e-6,
        );
    }
}

#[test]
fn nan_wins_its_windows() {
    let x: Images = from_vec(vec![1.0, f32::NAN, 2.0, 3.0], (1, 1, 1, 4)).unwrap();
    let y = read(&max_pool2d(x, 1, 1, 0));
    assert!(y[1].is_nan() && y[0] == 1.0);
    let x: Images = from_vec(vec![1.0, f32::NAN, 2.0, 3.0], (1, 1, 2, 2)).unwrap();
    assert!(read(&max_pool2d(x, 2, 2, 0))[0].is_nan());
}

#[test]
fn impossible_windows_are_refused_with_the_numbers() {
    let x: Images = from_vec(vec![0.0; 4], (1, 1, 2, 2)).unwrap();
    let error = try_max_pool2d(x.clone(), 3, 1, 0).unwrap_err().to_string();
    assert!(
        error.contains("at least 3x3") && error.contains("2x2"),
        "{error}"
    );
    let error = try_max_pool2d(x.clone(), 2, 2, 2).unwrap_err().to_string();
    assert!(error.contains("padding is at most half"), "{error}");
    assert!(try_max_pool2d(x, 2, 0, 0).is_err());
    let x: Images = from_vec(vec![0.0; 4], (1, 1, 2, 2)).unwrap();
    for (kernel, padding) in [
        ((1 << 63) + 4, 1 << 62),
        ((1 << 63) + 2, 1),
        (usize::MAX, 0),
    ] {
        let error = try_max_pool2d(x.clone(), kernel, 1, padding).unwrap_err();
        assert!(error.to_string().contains("2x2"), "{error}");
    }
    assert_eq!(*max_pool2d(x, 2, usize::MAX, 0).shape(), (1, 1, 1, 1));
    let empty: Images = from_vec(vec![], (1, 3, 0, 4)).unwrap();
    assert!(try_global_avg_pool(empty).is_err());
}
