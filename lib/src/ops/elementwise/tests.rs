use dfdx::prelude::{Backward, SumTo, Trace};

use super::*;
use crate::ops::{assert_close, numeric_gradient, wave};
use crate::tensors::{from_vec, read, vector};

#[test]
fn literal_values_and_gradients() {
    let x = vector(&[-2.0, 0.0, 3.0]);
    let weights = vector(&[1.0, 2.0, 3.0]);
    let y = leaky_relu(x.leaky_trace(), 0.25);
    assert_eq!(read(&y), [-0.5, 0.0, 3.0]);
    let grads = product(y, weights.clone()).sum::<(), _>().backward();
    assert_eq!(read(&grads.get(&x)), [0.25, 0.5, 3.0]);

    let x = vector(&[0.0]);
    let y = tanh(x.leaky_trace());
    assert_eq!(read(&y.sum::<(), _>().backward().get(&x)), [1.0]);
    let y = sigmoid(x.leaky_trace());
    assert_eq!(read(&y), [0.5]);
    assert_eq!(read(&y.sum::<(), _>().backward().get(&x)), [0.25]);

    let (a, b) = (vector(&[2.0, -3.0]), vector(&[5.0, 7.0]));
    let y = product(a.leaky_trace(), b.leaky_trace());
    assert_eq!(read(&y), [10.0, -21.0]);
    let grads = (y * vector(&[1.0, 10.0])).sum::<(), _>().backward();
    assert_eq!(read(&grads.get(&a)), [5.0, 70.0]);
    assert_eq!(read(&grads.get(&b)), [2.0, -30.0]);
}

#[test]
fn a_square_gets_the_gradient_of_both_factors() {
    let x = vector(&[3.0]);
    let y = product(x.leaky_trace(), x.clone());
    assert_eq!(read(&y.sum::<(), _>().backward().get(&x)), [6.0]);
}

#[test]
fn gradients_are_those_of_finite_differences_in_any_shape() {
    let values: Vec<f32> = wave(24).iter().map(|v| 3.0 * v + 0.02).collect();
    let shape = (2, 3, 4);
    let functions = [Function::LeakyRelu(0.2), Function::Tanh, Function::Sigmoid];
    for f in functions {
        let loss = |v: &[f32]| {
            let y = read(&op(f).record(from_vec(v.to_vec(), shape).unwrap()).unwrap());
            y.iter().map(|y| y * y).sum::<f32>() / 8.0
        };
        let x = from_vec(values.clone(), shape).unwrap();
        let y = op(f).record(x.leaky_trace()).unwrap();
        let grads = (y.square() / 8.0).sum::<(), _>().backward();
        let numeric = numeric_gradient(&values, 1e-2, loss);
        assert_close(&read(&grads.get(&x)), &numeric, 2e-3);
    }
    let other: Vec<f32> = values.iter().rev().copied().collect();
    let loss = |a: &[f32], b: &[f32]| {
        let y = product(vector(a), vector(b));
        read(&y).iter().map(|y| y * y).sum::<f32>() / 50.0
    };
    let (a, b) = (vector(&values), vector(&other));
    let y = product(a.leaky_trace(), b.leaky_trace());
    let grads = (y.square() / 50.0).sum::<(), _>().backward();
    let by_a = numeric_gradient(&values, 1e-2, |a| loss(a, &other));
    let by_b = numeric_gradient(&other, 1e-2, |b| loss(&values, b));
    assert_close(&read(&grads.get(&a)), &by_a, 2e-3);
    assert_close(&read(&grads.get(&b)), &by_b, 2e-3);
}

#[test]
fn extremes_keep_their_limits() {
    let x = vector(&[f32::NEG_INFINITY, -200.0, 200.0, f32::INFINITY]);
    assert_eq!(read(&sigmoid(x.clone())), [0.0, 0.0, 1.0, 1.0]);
    assert_eq!(read(&tanh(x.clone())), [-1.0, -1.0, 1.0, 1.0]);
    let grads = sigmoid(x.leaky_trace()).sum::<(), _>().backward();
    assert_eq!(read(&grads.get(&x)), [0.0; 4]);
}

#[test]
fn what_cannot_be_computed_is_refused() {
    for slope in [-0.1, 1.5, f32::NAN] {
        let error = try_leaky_relu(vector(&[1.0]), slope).unwrap_err();
        assert!(error.to_string().contains("lies in 0..=1"), "{error}");
    }
    let error = try_product(vector(&[1.0]), vector(&[1.0, 2.0])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "product: expected a second factor of [1], found [2]"
    );
}
