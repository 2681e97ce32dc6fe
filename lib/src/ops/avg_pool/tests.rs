use dfdx::prelude::{Backward, SumTo, Trace};

use super::*;
use crate::ops::{assert_close, buffer, cpu, numeric_gradient, wave};
use crate::tensors::{from_vec, read};

#[test]
fn literal_means_of_overlapping_rectangles() {
    // Rows 0..3 and columns 0..4; windows of 2 x 3 every row and column.
    let x: Images = from_vec((0..12).map(|v| v as f32).collect(), (1, 1, 3, 4)).unwrap();
    let y = avg_pool2d(x.leaky_trace(), (2, 3), (1, 1));
    assert_eq!(*y.shape(), (1, 1, 2, 2));
    assert_close(&read(&y), &[3.0, 4.0, 7.0, 8.0], 1e-6);
    let grads = (y * 6.0).sum::<(), _>().backward();
    let windows = [1., 2., 2., 1., 2., 4., 4., 2., 1., 2., 2., 1.];
    assert_close(&read(&grads.get(&x)), &windows, 1e-6);
}

#[test]
fn pixels_that_no_window_sees_get_no_gradient() {
    let x: Images = from_vec((0..5).map(|v| v as f32).collect(), (1, 1, 1, 5)).unwrap();
    let y = avg_pool2d(x.leaky_trace(), (1, 1), (1, 3));
    assert_eq!(read(&y), [0.0, 3.0]);
    let grads = y.sum::<(), _>().backward();
    assert_eq!(read(&grads.get(&x)), [1.0, 0.0, 0.0, 1.0, 0.0]);
}

#[test]
fn channels_and_images_do_not_mix_and_the_gradient_is_that_of_finite_differences() {
    let (shape, kernel, stride) = ((2, 3, 4, 5), (3, 2), (1, 2));
    let values = wave(120);
    let loss = |v: &[f32]| {
        let y = read(&avg_pool2d(
            from_vec(v.to_vec(), shape).unwrap(),
            kernel,
            stride,
        ));
        let weights = wave(y.len());
        y.iter().zip(&weights).map(|(y, w)| y * y * w).sum::<f32>()
    };
    let x: Images = from_vec(values.clone(), shape).unwrap();
    let y = avg_pool2d(x.leaky_trace(), kernel, stride);
    let weights: Images = from_vec(wave(24), *y.shape()).unwrap();
    let grads = (y.square() * weights).sum::<(), _>().backward();
    let numeric = numeric_gradient(&values, 1e-2, loss);
    assert_close(&read(&grads.get(&x)), &numeric, 2e-3);
}

#[test]
fn a_window_of_the_whole_map_is_the_global_mean() {
    let x: Images = from_vec(wave(2 * 4 * 6), (2, 4, 2, 3)).unwrap();
    let all = crate::ops::pool::global_avg_pool(x.clone());
    let y = avg_pool2d(x, (2, 3), (usize::MAX, 1));
    assert_close(&read(&y), &read(&all), 1e-6);
}

#[test]
fn gradients_add_up_when_asked() {
    let s = AvgPoolShape {
        batch: 1,
        map: (2, 2),
        channels: 1,
        kernel: (2, 2),
        stride: (1, 1),
    };
    let mut dx = buffer(&[1.0, 2.0, 3.0, 4.0]);
    cpu()
        .avg_pool_grad(s, &buffer(&[8.0]), &mut dx, true)
        .unwrap();
    assert_eq!(*dx, [3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn windows_that_do_not_fit_are_refused() {
    let x = || -> Images { from_vec(wave(6), (1, 1, 2, 3)).unwrap() };
    let error = try_avg_pool2d(x(), (3, 1), (1, 1)).unwrap_err().to_string();
    assert!(
        error.contains("at least 3x1") && error.contains("2x3"),
        "{error}"
    );
    for (kernel, stride) in [((0, 1), (1, 1)), ((1, 1), (1, 0))] {
        assert!(try_avg_pool2d(x(), kernel, stride).is_err());
    }
    assert!(try_avg_pool2d(x(), (usize::MAX, 1), (1, 1)).is_err());
    let empty: Images = from_vec(vec![], (0, 1, 2, 3)).unwrap();
    assert_eq!(*avg_pool2d(empty, (2, 2), (1, 1)).shape(), (0, 1, 1, 2));
}
