use dfdx::prelude::{Backward, SumTo, Trace};

use super::*;
use crate::ops::{assert_close, numeric_gradient, wave};
use crate::tensors::{from_vec, read};

const SHAPE: (usize, usize, usize, usize) = (2, 3, 2, 3);

fn images(values: &[f32]) -> Images {
    from_vec(values.to_vec(), SHAPE).unwrap()
}

/// Person, background and half of each.
fn mask() -> Images {
    let one = [1.0, 0.0, 0.5, 0.0, 1.0, 1.0];
    from_vec([one, one.map(|m| 1.0 - m)].concat(), (2, 1, 2, 3)).unwrap()
}

#[test]
fn the_background_is_behind_the_mask_to_the_bit() {
    let (x, b) = (wave(36), wave(72)[36..].to_vec());
    let y = read(&composite(images(&x), &mask(), &images(&b)));
    let m = read(&mask());
    for i in 0..36 {
        let pixel = i / 18 * 6 + i % 6;
        let expected = match m[pixel] {
            1.0 => x[i],
            0.0 => b[i],
            _ => 0.5 * x[i] + 0.5 * b[i],
        };
        assert_eq!(y[i], expected, "{i}");
    }
}

#[test]
fn the_gradient_passes_where_the_person_is() {
    let (values, b) = (wave(36), images(&wave(72)[36..]));
    let loss = |x: Images<crate::Taped>| composite(x, &mask(), &b).square().sum::<(), _>() * 0.05;
    let numeric = numeric_gradient(&values, 1e-2, |v| read(&loss(images(v).leaky_trace()))[0]);
    let x = images(&values);
    let gradient = read(&loss(x.leaky_trace()).backward().get(&x));
    assert_close(&gradient, &numeric, 2e-3);
    let m = read(&mask());
    for i in 0..36 {
        assert_eq!(m[i / 18 * 6 + i % 6] == 0.0, gradient[i] == 0.0);
    }
}

#[test]
fn shapes_that_differ_are_named() {
    let x = || images(&wave(36));
    let other: Images = from_vec(vec![0.0; 4], (1, 1, 2, 2)).unwrap();
    let e = try_composite(x(), &other, &x()).unwrap_err().to_string();
    assert!(
        e.contains("mask of (2, 1, 2, 3)") && e.contains("(1, 1, 2, 2)"),
        "{e}"
    );
    let e = try_composite(x(), &mask(), &other).unwrap_err().to_string();
    assert!(e.contains("background of (2, 3, 2, 3)"), "{e}");
}
