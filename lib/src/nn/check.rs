//! The gradients of a network against finite differences.

use std::fmt;

use dfdx::prelude::HasShape;

use super::{Mode, Net, Wants};
use crate::ops::tape::lend_gradient;
use crate::{Error, Grads, HostAccess, Images, Result, from_vec, images, read, rng};

/// Entries of each tensor that are compared: the one of the largest gradient, and others at equal distances.
const ENTRIES: usize = 6;
/// Steps to either side, in units of a tensor's root mean square: the better one counts, so that a corner of a ReLU
/// within the larger is no fault.
const STEPS: [f32; 2] = [2e-2, 3e-3];
/// Gradients far below the largest of all drown in the rounding of `f32`: errors are shares of at least this share of it.
const FLOOR: f64 = 0.05;

/// The entry of which a gradient and its finite difference differ most.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientCheck {
    /// Name of the parameter, or `input 0`.
    pub tensor: String,
    /// Which of its numbers.
    pub index: usize,
    /// The gradient of the backward pass.
    pub found: f64,
    /// The finite difference.
    pub expected: f64,
    /// Their distance as a share of the tensor's largest gradient.
    pub error: f64,
}

impl fmt::Display for GradientCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "worst: {}[{}] has gradient {:.6}, finite differences {:.6} (error {:.1e})",
            self.tensor, self.index, self.found, self.expected, self.error
        )
    }
}

/// Compares the gradients of a network of one input with finite differences, and returns the worst entry: see
/// [`check_gradients_of`].
///
/// ```
/// use rebit::nn::check_gradients;
/// use rebit::prelude::*;
/// let net = rebit::nn::cifar_resnet(3, 8, [4, 4, 4], 1, 5, rng(0))?;
/// let worst = check_gradients(&net, &images(3, 3, 8, 8, &mut rng(1)))?;
/// assert!(worst.error < 0.02, "{worst}");
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// As [`check_gradients_of`].
pub fn check_gradients(net: &Net, x: &Images) -> Result<GradientCheck> {
    check_gradients_of(net, &[x], &[&net.output_name()])
}

/// Compares gradients of inputs and parameters with finite differences, and returns the worst entry.
///
/// The loss is `sum_i r_i y_i` over all numbers `y` of the named outputs, with fixed standard-normal `r`, in training
/// mode. Of each tensor some entries are compared, among them that of the largest gradient:
///
/// ```text
/// expected = (loss(v + h) - loss(v - h)) / 2h        error = |found - expected| / max(|gradients of the tensor|)
/// ```
///
/// An `f32` leaves two to three digits: 0.02 is a sound bound. A step function has no useful finite differences, so a
/// network with quantisers is compared before they are put in. Parameters and running statistics are as before
/// afterwards. Through a [frozen](Net::frozen) handle only the inputs are compared.
///
/// # Errors
/// As [`Net::trace_many`]; [`Error::Invalid`] for a network in which there is nothing to compare.
pub fn check_gradients_of(
    net: &Net,
    inputs: &[&Images],
    outputs: &[&str],
) -> Result<GradientCheck> {
    let before = net.state()?;
    let checked = Check::new(net, inputs, outputs).and_then(|check| check.worst());
    net.restore(&before)?;
    checked
}

struct Check<'a> {
    net: &'a Net,
    inputs: Vec<Images>,
    outputs: &'a [&'a str],
    /// The loss by each output.
    tops: Vec<Images>,
    /// Name, numbers and gradient of each tensor; the inputs come first.
    tensors: Vec<(String, Vec<f32>, Vec<f32>)>,
}

impl<'a> Check<'a> {
    fn new(net: &'a Net, inputs: &[&Images], outputs: &'a [&'a str]) -> Result<Self> {
        let inputs: Vec<Images> = inputs.iter().map(|x| (*x).clone()).collect();
        let lent: Vec<&Images> = inputs.iter().collect();
        let mut pass = net.trace_many(&lent, Mode::Train)?;
        let mut rng = rng(0);
        let mut tops = Vec::new();
        for name in outputs {
            let (n, c, h, w) = *pass.images(name)?.shape();
            tops.push(images(n, c, h, w, &mut rng));
        }
        let pairs: Vec<(&str, &Images)> = outputs.iter().copied().zip(&tops).collect();
        let mut grads = pass.backward(&pairs, Wants::ALL)?;
        let mut tensors = Vec::new();
        for (i, x) in inputs.iter().enumerate() {
            tensors.push((format!("input {i}"), read(x), gradient(&mut grads, x)?));
        }
        if !net.frozen {
            for p in net.parameters().iter().filter(|p| p.is_trainable()) {
                let found = gradient(&mut grads, &p.value)?;
                tensors.push((p.name.clone(), p.to_vec(), found));
            }
        }
        Ok(Check {
            net,
            inputs,
            outputs,
            tops,
            tensors,
        })
    }

    fn worst(&self) -> Result<GradientCheck> {
        let largest = |g: &[f32]| g.iter().fold(0.0, |m: f64, g| m.max(f64::from(g.abs())));
        let all = self.tensors.iter().map(|(_, _, g)| largest(g));
        let floor = FLOOR * all.fold(0.0, f64::max);
        let mut worst: Option<GradientCheck> = None;
        for (tensor, (name, values, gradient)) in self.tensors.iter().enumerate() {
            let scale = largest(gradient).max(floor);
            for index in entries(gradient) {
                let found = f64::from(gradient[index]);
                let expected = self.difference(tensor, index, found, values)?;
                let error = match found == expected {
                    true => 0.0,
                    false => (found - expected).abs() / scale,
                };
                // NaN is the worst there is.
                let error = if error.is_nan() { f64::INFINITY } else { error };
                if worst.as_ref().is_none_or(|w| error > w.error) {
                    worst = Some(GradientCheck {
                        tensor: name.clone(),
                        index,
                        found,
                        expected,
                        error,
                    });
                }
            }
        }
        worst.ok_or_else(|| Error::invalid("gradients", "there is no number to compare"))
    }

    /// The finite difference that is nearest to the gradient, of those with each step.
    fn difference(&self, tensor: usize, index: usize, found: f64, values: &[f32]) -> Result<f64> {
        let squares: f32 = values.iter().map(|v| v * v).sum();
        let size = (squares / values.len() as f32).sqrt().max(0.05);
        let mut best = f64::NAN;
        for step in STEPS {
            let mut moved = values.to_vec();
            let mut loss = |by: f32| -> Result<(f64, f64)> {
                moved[index] = values[index] + by;
                Ok((self.loss(tensor, &moved)?, f64::from(moved[index])))
            };
            let ((high, above), (low, below)) = (loss(step * size)?, loss(-step * size)?);
            let slope = (high - low) / (above - below);
            if best.is_nan() || (slope - found).abs() < (best - found).abs() {
                best = slope;
            }
        }
        self.put(tensor, values)?;
        Ok(best)
    }

    /// The loss with other numbers in one tensor.
    fn loss(&self, tensor: usize, values: &[f32]) -> Result<f64> {
        self.put(tensor, values)?;
        let mut inputs: Vec<&Images> = self.inputs.iter().collect();
        let moved;
        if let Some(x) = self.inputs.get(tensor) {
            moved = from_vec(values.to_vec(), *x.shape())?;
            inputs[tensor] = &moved;
        }
        let mut pass = self.net.run_many(&inputs, Mode::Train)?;
        let mut loss = 0.0;
        for (name, top) in self.outputs.iter().zip(&self.tops) {
            let (y, top) = (read(&pass.images(name)?), read(top));
            let terms = y
                .iter()
                .zip(&top)
                .map(|(y, r)| f64::from(*y) * f64::from(*r));
            loss += terms.sum::<f64>();
        }
        Ok(loss)
    }

    fn put(&self, tensor: usize, values: &[f32]) -> Result<()> {
        match tensor < self.inputs.len() {
            true => Ok(()),
            false => self.net.set_parameter(&self.tensors[tensor].0, values),
        }
    }
}

fn gradient<S: dfdx::prelude::Shape>(
    grads: &mut Grads,
    of: &dfdx::prelude::Tensor<S, f32, crate::Dev>,
) -> Result<Vec<f32>> {
    lend_gradient(grads, of, |g| Ok(g.view()?.into_owned()))
}

/// Entries to compare.
fn entries(gradient: &[f32]) -> Vec<usize> {
    let largest = (0..gradient.len()).max_by(|&a, &b| {
        let size = |i: usize| gradient[i].abs();
        size(a).total_cmp(&size(b))
    });
    let step = gradient.len().div_ceil(ENTRIES - 1).max(1);
    let spread = (0..gradient.len()).step_by(step);
    largest.into_iter().chain(spread).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{BackwardPass, Extent, ForwardPass, Layer, NetBuilder, ParamId, Role};

    /// `a x^2`, whose gradients are right up to the given factors.
    struct Square {
        a: ParamId,
        factors: [f32; 2],
    }

    impl Layer for Square {
        fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
            Ok(inputs[0])
        }
        fn parameters(&self) -> Vec<ParamId> {
            vec![self.a]
        }
        fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
            let a = cx.params().one(self.a)?;
            cx.map(|x| a * x * x)
        }
        fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
            let [fx, fa] = self.factors;
            let a = cx.params().one(self.a)?;
            cx.map_grad(|x, dy| fx * 2.0 * a * x * dy)?;
            let da = cx.sum(|x, dy| fa * x * x * dy)?;
            cx.add_param_grad(self.a, &[da])
        }
    }

    fn worst(factors: [f32; 2], frozen: bool) -> Result<GradientCheck> {
        let mut b = NetBuilder::new(2, 3, 3, rng(1));
        let x = b.input();
        let a = b.scalar("square.a", Role::Weight, 0.7)?;
        let x = b.layer("square", &[x], Square { a, factors })?;
        let net = b.build(x)?;
        let net = if frozen { net.frozen() } else { net };
        check_gradients(&net, &images(2, 2, 3, 3, &mut rng(2)))
    }

    #[test]
    fn right_gradients_pass_and_each_wrong_one_is_found() -> Result<()> {
        assert!(worst([1.0, 1.0], false)?.error < 0.01);
        let of_input = worst([1.1, 1.0], false)?;
        assert!(
            of_input.error > 0.05 && of_input.tensor == "input 0",
            "{of_input}"
        );
        let of_param = worst([1.0, 0.9], false)?;
        assert!(
            of_param.error > 0.05 && of_param.tensor == "square.a",
            "{of_param}"
        );
        assert!(worst([f32::NAN, 1.0], false)?.error.is_infinite());
        // Nothing is said of parameters whose gradients nobody computes.
        assert!(worst([1.0, 0.9], true)?.error < 0.01);
        Ok(())
    }

    #[test]
    fn the_network_is_afterwards_as_before() -> Result<()> {
        let net = crate::train::tests::tiny_net(1);
        let before = net.state()?;
        let worst = check_gradients(&net, &images(2, 3, 8, 8, &mut rng(2)))?;
        assert!(worst.error < 0.02, "{worst}");
        assert_eq!(net.state()?, before);
        Ok(())
    }
}
