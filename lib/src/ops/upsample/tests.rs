use dfdx::prelude::{Backward, Shape, SumTo, Trace};

use super::*;
use crate::ops::{assert_close, buffer, cpu, numeric_gradient, wave};
use crate::tensors::{from_vec, read};

const ALL: [Upsample; 4] = [
    Upsample::Nearest(1),
    Upsample::Nearest(3),
    Upsample::Bilinear,
    Upsample::BilinearAligned,
];

fn row(values: &[f32], how: Upsample) -> Vec<f32> {
    let x: Images = from_vec(values.to_vec(), (1, 1, 1, values.len())).unwrap();
    let y = read(&upsample(x, how));
    y[..values.len() * how.factor()].to_vec()
}

#[test]
fn literal_rows_of_each_convention() {
    let x = [0.0, 3.0, 9.0];
    assert_eq!(row(&x, Upsample::Nearest(2)), [0., 0., 3., 3., 9., 9.]);
    let half = [0.0, 0.75, 2.25, 4.5, 7.5, 9.0];
    assert_close(&row(&x, Upsample::Bilinear), &half, 1e-6);
    // Places 0, 0.4, 0.8, 1.2, 1.6 and 2.
    let aligned = [0.0, 1.2, 2.4, 4.2, 6.6, 9.0];
    assert_close(&row(&x, Upsample::BilinearAligned), &aligned, 1e-6);
    for how in ALL {
        assert!(row(&[7.0], how).iter().all(|v| *v == 7.0), "{how:?}");
    }
}

#[test]
fn rows_and_columns_are_treated_alike() {
    for how in ALL {
        let x: Images = from_vec(wave(12), (1, 1, 3, 4)).unwrap();
        let turned: Vec<f32> = (0..12).map(|i| wave(12)[i % 3 * 4 + i / 3]).collect();
        let t: Images = from_vec(turned, (1, 1, 4, 3)).unwrap();
        let (y, t) = (upsample(x, how), read(&upsample(t, how)));
        let (h, w) = (y.shape().2, y.shape().3);
        let back: Vec<f32> = (0..h * w).map(|i| t[i % w * h + i / w]).collect();
        assert_close(&read(&y), &back, 1e-6);
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let shape = (2, 3, 3, 4);
    let values = wave(72);
    for how in ALL {
        let loss = |v: &[f32]| {
            let y = read(&upsample(from_vec(v.to_vec(), shape).unwrap(), how));
            let weights = wave(y.len());
            y.iter().zip(&weights).map(|(y, w)| y * y * w).sum::<f32>() / 4.0
        };
        let x: Images = from_vec(values.clone(), shape).unwrap();
        let y = upsample(x.leaky_trace(), how);
        let weights: Images = from_vec(wave(y.shape().num_elements()), *y.shape()).unwrap();
        let grads = (y.square() * weights / 4.0).sum::<(), _>().backward();
        let numeric = numeric_gradient(&values, 1e-2, loss);
        assert_close(&read(&grads.get(&x)), &numeric, 3e-3);
    }
}

#[test]
fn every_weight_is_found_from_the_other_side() {
    for how in ALL {
        for n in 1..9 {
            for o in 0..n * how.factor() {
                let (first, second) = how.tap(n, o);
                for i in 0..n {
                    let reads = i == first || (i == first + 1 && second > 0.0);
                    let within = how.reach(n, i).contains(&o);
                    assert!(within || !reads, "{how:?}: output {o} of {n} reads {i}");
                }
            }
        }
    }
}

#[test]
fn gradients_add_up_when_asked() {
    let s = UpsampleShape {
        batch: 1,
        map: (1, 1),
        channels: 2,
        how: Upsample::Nearest(2),
    };
    let mut dx = buffer(&[1.0, 10.0]);
    cpu()
        .upsample_grad(s, &buffer(&[1.0; 8]), &mut dx, true)
        .unwrap();
    assert_eq!(*dx, [5.0, 14.0]);
}

#[test]
fn what_cannot_be_enlarged_is_refused() {
    let x = || -> Images { from_vec(wave(6), (1, 1, 2, 3)).unwrap() };
    assert!(try_upsample(x(), Upsample::Nearest(0)).is_err());
    let error = try_upsample(x(), Upsample::Nearest(1 << 40)).unwrap_err();
    assert!(error.to_string().contains("at most"), "{error}");
    let none: Images = from_vec(vec![], (1, 1, 0, 3)).unwrap();
    assert!(try_upsample(none, Upsample::Bilinear).is_err());
    let empty: Images = from_vec(vec![], (0, 1, 2, 3)).unwrap();
    assert_eq!(*upsample(empty, Upsample::Bilinear).shape(), (0, 1, 4, 6));
}
