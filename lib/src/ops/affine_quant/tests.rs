use dfdx::prelude::{Backward, SumTo, Trace};

use super::*;
use crate::ops::{assert_close, wave};
use crate::tensors::{from_vec, read, vector};

fn grid(lower: f32, upper: f32, bits: u32) -> AffineGrid {
    AffineGrid::new(Bounds::new(lower, upper), bits).unwrap()
}

#[test]
fn literal_levels_of_an_even_and_an_odd_range() {
    // Two bits over [-1, 2]: s = 1, z = -1 + 2 = 1, levels -1, 0, 1, 2.
    let x = vector(&[-5.0, -1.0, -0.5, 0.5, 1.49, 1.5, 7.0]);
    let y = affine_quant(x, &[Bounds::new(-1.0, 2.0)], 2);
    // Halves of s x - z go to even: -1.5 to -2 and -0.5 to 0.
    assert_eq!(read(&y), [-1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 2.0]);
    // Over [0.1, 3.1] the zero point is rounded: the grid is 0, 1, 2, 3 and not 0.1, 1.1, 2.1, 3.1.
    let y = affine_quant(vector(&[0.1, 1.1, 3.1]), &[Bounds::new(0.1, 3.1)], 2);
    assert_close(&read(&y), &[0.0, 1.0, 3.0], 1e-6);
}

#[test]
fn zero_is_a_level_where_the_range_holds_it_and_levels_are_kept() {
    for bits in [1, 3, 8] {
        for (lower, upper) in [(-0.73, 1.9), (0.0, 2.3), (-4.0, -0.0)] {
            let g = grid(lower, upper, bits);
            assert_eq!(g.quantise(0.0), 0.0, "{g:?}");
            let mut seen = Vec::new();
            for k in 0..=1000 {
                let y = g.quantise(lower + (upper - lower) * k as f32 / 1000.0);
                assert_eq!(g.quantise(y), y, "{y} of {g:?}");
                if seen.last() != Some(&y) {
                    seen.push(y);
                }
            }
            assert!(seen.is_sorted() && seen.len() <= 1 << bits, "{seen:?}");
        }
    }
}

#[test]
fn every_output_channel_has_its_own_range() {
    let w = from_vec(vec![0.0, 0.4, 1.0, -20.0, 0.0, 10.0], (2, 3)).unwrap();
    let own = ranges(&read(&w), 2).unwrap();
    assert_eq!(own, [Bounds::new(0.0, 1.0), Bounds::new(-20.0, 10.0)]);
    let y = read(&affine_quant(w, &own, 8));
    let (first, second) = (grid(0.0, 1.0, 8), grid(-20.0, 10.0, 8));
    assert_eq!(y[1], first.quantise(0.4));
    assert_eq!(y[3], second.quantise(-20.0));
}

#[test]
fn the_gradient_goes_straight_through_clipped_elements_too() {
    let x = vector(&[-5.0, 0.3, 0.9, 70.0]);
    let y = affine_quant(x.leaky_trace(), &[Bounds::new(0.0, 1.0)], 2);
    let grads = (y * vector(&[1.0, 2.0, 3.0, 4.0]))
        .sum::<(), _>()
        .backward();
    assert_eq!(read(&grads.get(&x)), [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn a_constant_keeps_its_value() {
    for value in [0.0, 0.25, -1.5] {
        let y = grid(value, value, 4).quantise(value);
        assert!((y - value).abs() <= 1e-6 * value.abs(), "{y}, not {value}");
    }
}

#[test]
fn nan_stays_nan() {
    let y = read(&affine_quant(
        vector(&[f32::NAN, 0.5]),
        &[Bounds::new(0.0, 1.0)],
        2,
    ));
    assert!(y[0].is_nan() && !y[1].is_nan());
}

#[test]
fn ranges_and_tensors_that_do_not_fit_are_refused() {
    let x = || from_vec(wave(6), (2, 3)).unwrap();
    let range = Bounds::new(0.0, 1.0);
    let error = try_affine_quant(x(), &[range; 3], 2).unwrap_err();
    assert_eq!(
        error.to_string(),
        "affine_quant: expected 1 range, or 2, one for each output channel of [2, 3], found 3 ranges"
    );
    for bad in [
        Bounds::new(1.0, 0.0),
        Bounds::new(f32::NAN, 0.0),
        Bounds::new(0.0, f32::INFINITY),
        Bounds::new(f32::MIN, f32::MAX),
    ] {
        let error = try_affine_quant(x(), &[bad], 2).unwrap_err().to_string();
        assert!(error.contains("must be finite"), "{error}");
    }
    assert!(try_affine_quant(x(), &[range], 0).is_err());
    assert!(try_affine_quant(x(), &[range], 17).is_err());
    assert!(ranges(&[1.0, f32::NAN], 1).is_err());
    assert!(ranges(&[], 0).is_err() && ranges(&[1.0; 3], 2).is_err());
}
