use dfdx::prelude::{Backward, SumTo, Trace};

use super::*;
use crate::ops::{assert_close, buffer, cpu, numeric_gradient, wave};
use crate::tensors::{from_vec, read};

const SHAPE: (usize, usize, usize, usize) = (2, 3, 2, 2);

fn images(values: &[f32]) -> Images {
    from_vec(values.to_vec(), SHAPE).unwrap()
}

#[test]
fn literal_values_and_gradient() {
    // One channel of 1, 2, 3, 6: mean 3, variance (4 + 1 + 0 + 9) / 4.
    let x: Images = from_vec(vec![1.0, 2.0, 3.0, 6.0], (1, 1, 2, 2)).unwrap();
    let y = moments(x.leaky_trace());
    assert_eq!(*y.shape(), (2, 1));
    assert_eq!(read(&y), [3.0, 3.5]);
    let weights: Matrix = from_vec(vec![4.0, 2.0], (2, 1)).unwrap();
    let grads = (y * weights).sum::<(), _>().backward();
    assert_eq!(read(&grads.get(&x)), [-1.0, 0.0, 1.0, 4.0]);
}

#[test]
fn the_variance_is_that_of_the_batch_norm_to_the_last_bit() {
    use crate::ops::batch_norm2d::{BatchNormKernel, NormInput};
    use crate::ops::relu::Activation;
    let s = NormShape {
        pixels: 5000,
        channels: 7,
    };
    let z = buffer(&wave(35_000));
    let [one, zero] = [1.0, 0.0].map(|v| buffer(&[v; 7]));
    let [mut mean, mut var, mut m, mut v] = [0; 4].map(|_| buffer(&[0.0; 7]));
    let input = NormInput {
        z: &z,
        gamma: &one,
        beta: &zero,
        eps: 1e-5,
        residual: None,
        act: Activation::None,
    };
    let mut y = buffer(&vec![0.0; 35_000]);
    cpu()
        .batch_norm_train(s, input, &mut y, &mut mean, &mut var)
        .unwrap();
    cpu().moments(s, &z, &mut m, &mut v).unwrap();
    assert_eq!((&*m, &*v), (&*mean, &*var));
}

#[test]
fn gradient_is_that_of_finite_differences() {
    let values = wave(24);
    let weights = [0.3, -0.7, 1.1, 2.0, 0.4, -1.5];
    let loss = |v: &[f32]| {
        let y = read(&moments(images(v)));
        y.iter().zip(weights).map(|(y, w)| y * y * w).sum::<f32>()
    };
    let x = images(&values);
    let y = moments(x.leaky_trace());
    let by: Matrix = from_vec(weights.to_vec(), (2, 3)).unwrap();
    let grads = (y.square() * by).sum::<(), _>().backward();
    let numeric = numeric_gradient(&values, 1e-2, loss);
    assert_close(&read(&grads.get(&x)), &numeric, 2e-3);
}

#[test]
fn gradients_add_up_when_asked() {
    let s = NormShape {
        pixels: 4,
        channels: 1,
    };
    let x = buffer(&[1.0, 2.0, 3.0, 6.0]);
    let (mean, dmean, dvar) = (buffer(&[3.0]), buffer(&[4.0]), buffer(&[2.0]));
    let mut dx = buffer(&[10.0; 4]);
    let gradient = MomentGrads {
        mean: &dmean,
        var: &dvar,
    };
    cpu()
        .moments_grad(s, &x, &mean, gradient, &mut dx, true)
        .unwrap();
    assert_eq!(*dx, [9.0, 10.0, 11.0, 14.0]);
}

#[test]
fn a_nan_spoils_its_channel_and_no_other() {
    let mut values = wave(24);
    values[0] = f32::NAN;
    let y = read(&moments(images(&values)));
    let nan: Vec<bool> = y.iter().map(|v| v.is_nan()).collect();
    assert_eq!(nan, [true, false, false, true, false, false]);
}

#[test]
fn nothing_has_no_moments() {
    let x: Images = from_vec(vec![], (0, 3, 2, 2)).unwrap();
    let error = try_moments(x).unwrap_err().to_string();
    assert!(error.contains("0 pixels x 3 channels"), "{error}");
}
