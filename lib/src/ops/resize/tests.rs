use dfdx::prelude::{Backward, SumTo, Trace};

use super::*;
use crate::ops::{assert_close, numeric_gradient, wave};
use crate::tensors::{from_vec, read};

fn line(values: &[f32], width: usize) -> Vec<f32> {
    let x: Images = from_vec(values.to_vec(), (1, 1, 1, values.len())).unwrap();
    read(&resize(x, 1, width))
}

#[test]
fn halving_uses_the_kernel_stretched_over_eight_pixels() {
    // k(t/2)/2 at t = ±1/2, ±3/2, ±5/2, ±7/2 is (111, 29, -9, -3)/256 on either side.
    let mut x = [0.0; 16];
    x[8] = 256.0;
    let y = line(&x, 8);
    // Outputs 2..=5 are centred at 4.5, 6.5, 8.5, 10.5.
    assert_close(&y[2..6], &[-3.0, 29.0, 111.0, -9.0], 1e-4);
}

#[test]
fn doubling_interpolates_and_keeps_straight_lines() {
    let x: Vec<f32> = (0..12).map(|i| 3.0 * i as f32 + 1.0).collect();
    let y = line(&x, 24);
    for (i, y) in y.iter().enumerate().skip(4).take(16) {
        let at = (i as f32 + 0.5) / 2.0 - 0.5;
        assert!((y - (3.0 * at + 1.0)).abs() < 1e-4);
    }
}

#[test]
fn the_same_size_is_the_same_image_and_borders_are_repeated() {
    let x = wave(9);
    assert_close(&line(&x, 9), &x, 1e-6);
    assert_eq!(
        (-3..6).map(|i| repeated(i, 3)).collect::<Vec<_>>(),
        [0, 0, 0, 0, 1, 2, 2, 2, 2]
    );
}

#[test]
fn gradient_is_that_of_finite_differences() {
    use Filter::{Area, Bicubic, Bilinear, BilinearAligned};
    for filter in [Bicubic, Bilinear, BilinearAligned, Area] {
        for (h, w) in [(3, 2), (7, 11)] {
            let shape = (2, 2, 5, 4);
            let values = wave(80);
            let loss = |v: &[f32]| {
                let y: Images = resize_by(from_vec(v.to_vec(), shape).unwrap(), (h, w), filter);
                read(&y).iter().map(|y| y * y).sum::<f32>() / 10.0
            };
            let x: Images = from_vec(values.clone(), shape).unwrap();
            let y = resize_by(x.leaky_trace(), (h, w), filter);
            let grads = (y.square().sum::<(), _>() / 10.0).backward();
            let numeric = numeric_gradient(&values, 1e-2, loss);
            assert_close(&read(&grads.get(&x)), &numeric, 2e-3);
        }
    }
}

#[test]
fn bilinear_and_areas_have_the_values_of_their_formulas() {
    let by = |values: &[f32], width: usize, filter: Filter| {
        let x: Images = from_vec(values.to_vec(), (1, 1, 1, values.len())).unwrap();
        read(&resize_by(x, (1, width), filter))
    };
    // Places 0 (clamped), 1/4, 3/4, 1 1/4, 1 3/4 and 2 (clamped) of three pixels.
    let x = [0.0, 8.0, 4.0];
    let y = by(&x, 6, Filter::Bilinear);
    assert_close(&y, &[0.0, 2.0, 6.0, 7.0, 5.0, 4.0], 1e-6);
    let y = by(&x, 5, Filter::BilinearAligned);
    assert_close(&y, &[0.0, 4.0, 8.0, 6.0, 4.0], 1e-6);
    assert_close(&by(&x, 1, Filter::BilinearAligned), &[0.0], 1e-6);
    // Halving means pairs, one and a half pixels count by their parts, and enlarging repeats.
    assert_close(&by(&[1., 3., 5., 9.], 2, Filter::Area), &[2.0, 7.0], 1e-6);
    assert_close(&by(&x, 2, Filter::Area), &[8.0 / 3.0, 16.0 / 3.0], 1e-6);
    assert_close(&by(&[1.0, 2.0], 4, Filter::Area), &[1., 1., 2., 2.], 1e-6);
    // The row pairs of a generator's output: no antialiasing, but exactly the mean.
    assert_close(
        &by(&[1., 3., 5., 9.], 2, Filter::Bilinear),
        &[2.0, 7.0],
        1e-6,
    );
}

#[test]
fn an_image_without_pixels_is_refused() {
    let x: Images = from_vec(vec![0.0; 4], (1, 1, 2, 2)).unwrap();
    assert!(
        try_resize(x, 0, 3)
            .unwrap_err()
            .to_string()
            .contains("(0, 3)")
    );
}
