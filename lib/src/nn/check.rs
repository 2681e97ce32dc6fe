//! Gradients of a network against finite differences.

use dfdx::prelude::HasShape;

use super::net::Net;
use super::param::Param;
use super::wants::Wants;
use super::{Activations, Mode};
use crate::{Grads, HostAccess, Images, Result, from_vec, read};

/// Steps of the differences: small ones stay on one side of a rectifier's corner, large ones drown rounding.
const STEPS: [f32; 6] = [3e-2, 1e-2, 4e-3, 1.5e-3, 6e-4, 2.5e-4];

/// Entries that are looked at in each tensor: those with the largest gradients, and some spread over it.
const LARGEST: usize = 2;
const SPREAD: usize = 3;

/// A gradient below these shares, of the scalar's terms and of the largest gradient of its tensor, is compared with
/// them: it drowns in rounding, or is a small difference of large terms.
const FLOORS: (f32, f32) = (2e-3, 0.2);

/// Where the gradients of a network differ most from finite differences.
#[derive(Clone, Debug, PartialEq)]
pub struct Worst {
    /// Name of the parameter, or of the input's node.
    pub name: String,
    /// Which of its numbers.
    pub index: usize,
    /// In which mode.
    pub mode: Mode,
    /// The library's (or the layer's own) gradient.
    pub gradient: f32,
    /// That of finite differences.
    pub difference: f32,
    /// How far they are apart, as a share of the larger one (or of what rounding leaves of a small one).
    pub error: f32,
    /// How many entries were compared.
    pub compared: usize,
}

impl std::fmt::Display for Worst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mode = match self.mode {
            Mode::Train => "training",
            Mode::Eval => "inference",
        };
        write!(
            f,
            "{}[{}] in {mode}: gradient {}, finite differences {}, {:.2} % apart (the worst of {})",
            self.name,
            self.index,
            self.gradient,
            self.difference,
            100.0 * self.error,
            self.compared
        )
    }
}

/// Compares the gradients of a network with finite differences: `(L(v + h) - L(v - h)) / 2h` for some entries `v` of
/// every trainable parameter and of the input, in training and in inference, where `L = sum a_i y_i^2 + b_i y_i` is a
/// smooth scalar of the output with fixed weights. Of several `h` the one that agrees best counts, so a corner nearby or
/// rounding is not an error, and a wrong gradient is. An error below 0.01 is what right layers reach.
///
/// The network is left as it was: a duplicate is measured. Quantisers round, so straight-through gradients do not agree.
///
/// ```
/// use rebit::prelude::*;
/// let mut b = NetBuilder::new(2, 6, 6, rng(1));
/// let x = b.conv("conv", b.input(), Conv::new(4))?;
/// let x = b.norm("norm", x, Activation::Relu)?;
/// let x = b.flatten(x)?;
/// let x = b.linear("fc", x, 3)?;
/// let net = b.build(x)?;
/// let worst = rebit::nn::check_gradients(&net, &images(4, 2, 6, 6, &mut rng(2)))?;
/// assert!(worst.error < 0.01, "{worst}");
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// As [`Net::run`] and [`Net::duplicate`].
pub fn check_gradients(net: &Net, x: &Images) -> Result<Worst> {
    check_gradients_many(net, &[x])
}

/// [`check_gradients`] of a network with several inputs. An input that holds nothing but whole numbers is taken for
/// class indices, which have no gradient, and stays.
///
/// # Errors
/// As [`check_gradients`].
pub fn check_gradients_many(net: &Net, inputs: &[&Images]) -> Result<Worst> {
    let net = net.duplicate()?;
    let mut check = Check {
        inputs: inputs.iter().map(|x| (*x).clone()).collect(),
        output: net.output_name(),
        names: net.input_names(),
        net,
        mode: Mode::Train,
        worst: None,
        compared: 0,
    };
    for mode in [Mode::Train, Mode::Eval] {
        check.mode = mode;
        check.run()?;
    }
    let compared = check.compared;
    let worst = check.worst.ok_or_else(|| {
        crate::Error::invalid(
            "check_gradients",
            "there is neither an input nor a parameter to move",
        )
    })?;
    Ok(Worst { compared, ..worst })
}

struct Check {
    net: Net,
    inputs: Vec<Images>,
    names: Vec<String>,
    output: String,
    mode: Mode,
    worst: Option<Worst>,
    compared: usize,
}

/// What is moved.
enum Moved<'a> {
    Param(&'a Param),
    Input(usize),
}

impl Check {
    fn run(&mut self) -> Result<()> {
        let (mut grads, scale) = self.gradients()?;
        for param in self.net.parameters().iter().filter(|p| p.is_trainable()) {
            let ours = gradient(&mut grads, &param.value)?;
            self.compare(
                &param.name,
                &ours,
                &param.to_vec(),
                Moved::Param(param),
                scale,
            )?;
        }
        for i in 0..self.inputs.len() {
            let values = read(&self.inputs[i]);
            if values.iter().all(|v| v.fract() == 0.0) {
                continue;
            }
            let ours = gradient(&mut grads, &self.inputs[i])?;
            let name = self.names[i].clone();
            self.compare(&name, &ours, &values, Moved::Input(i), scale)?;
        }
        Ok(())
    }

    fn trace(&self, inputs: &[Images]) -> Result<Activations> {
        let inputs: Vec<&Images> = inputs.iter().collect();
        self.net.trace_many(&inputs, self.mode)
    }

    /// The gradients of the scalar, and the sum of its terms' magnitudes.
    fn gradients(&self) -> Result<(Grads, f32)> {
        let mut trace = self.trace(&self.inputs)?;
        let y = trace.output()?;
        let values = read(&y);
        let dy = values.iter().enumerate().map(|(i, y)| {
            let (a, b) = weights(i);
            (2.0 * a * f64::from(*y) + b) as f32
        });
        let dy = from_vec(dy.collect(), *y.shape())?;
        let grads = trace.backward(&[(&self.output, &dy)], Wants::ALL)?;
        let terms = values.iter().enumerate().map(|(i, y)| term(i, *y).abs());
        Ok((grads, terms.sum::<f64>() as f32))
    }

    fn scalar(&self, inputs: &[Images]) -> Result<f64> {
        let y = read(&self.trace(inputs)?.output()?);
        Ok(y.iter().enumerate().map(|(i, y)| term(i, *y)).sum())
    }

    /// The scalar with one number of what is moved replaced.
    fn at(&self, moved: &Moved, values: &[f32], index: usize, value: f32) -> Result<f64> {
        let mut other = values.to_vec();
        other[index] = value;
        match moved {
            Moved::Param(param) => {
                self.net.set_parameter(&param.name, &other)?;
                let scalar = self.scalar(&self.inputs);
                self.net.set_parameter(&param.name, values)?;
                scalar
            }
            Moved::Input(i) => {
                let mut inputs = self.inputs.clone();
                inputs[*i] = from_vec(other, *inputs[*i].shape())?;
                self.scalar(&inputs)
            }
        }
    }

    fn compare(
        &mut self,
        name: &str,
        ours: &[f32],
        values: &[f32],
        moved: Moved,
        scale: f32,
    ) -> Result<()> {
        let largest = ours.iter().fold(0.0f32, |m, g| m.max(g.abs()));
        let floor = (FLOORS.0 * scale).max(FLOORS.1 * largest);
        for index in entries(ours) {
            let gradient = ours[index];
            let mut best: Option<Worst> = None;
            for step in STEPS {
                let (high, low) = (values[index] + step, values[index] - step);
                let rise =
                    self.at(&moved, values, index, high)? - self.at(&moved, values, index, low)?;
                let difference = (rise / (f64::from(high) - f64::from(low))) as f32;
                let larger = gradient.abs().max(difference.abs()).max(floor);
                let error = match (gradient - difference).abs() / larger {
                    // 0 against 0, of an output that is 0.
                    error if error.is_nan() && gradient == difference => 0.0,
                    error if error.is_nan() => f32::INFINITY,
                    error => error,
                };
                if best.as_ref().is_none_or(|b| error < b.error) {
                    best = Some(Worst {
                        name: name.into(),
                        index,
                        mode: self.mode,
                        gradient,
                        difference,
                        error,
                        compared: 0,
                    });
                }
                if error < 1e-3 {
                    break;
                }
            }
            self.compared += 1;
            let worse = |b: &Worst| self.worst.as_ref().is_none_or(|w| b.error > w.error);
            if let Some(best) = best.filter(worse) {
                self.worst = Some(best);
            }
        }
        Ok(())
    }
}

/// Weights of the square and of the value of an output: all different, so that no norm behind it hides a gradient.
fn weights(i: usize) -> (f64, f64) {
    let spread = |step: usize, of: usize| ((i * step + 5) % of) as f64 / of as f64;
    (0.5 + spread(37, 101), 2.0 * spread(53, 89) - 1.0)
}

fn term(i: usize, y: f32) -> f64 {
    let ((a, b), y) = (weights(i), f64::from(y));
    a * y * y + b * y
}

/// The gradient of a tensor; zeros where no gradient came to it.
fn gradient<S: dfdx::prelude::Shape>(
    grads: &mut Grads,
    x: &dfdx::prelude::Tensor<S, f32, crate::Dev>,
) -> Result<Vec<f32>> {
    Ok(grads.get_or_alloc_mut(x)?.view()?.into_owned())
}

/// Indices of the entries that are looked at.
fn entries(ours: &[f32]) -> Vec<usize> {
    let n = ours.len();
    let mut by_size: Vec<usize> = (0..n).collect();
    by_size.sort_by(|a, b| ours[*b].abs().total_cmp(&ours[*a].abs()));
    by_size.truncate(LARGEST);
    let spread = (0..SPREAD).map(|i| i * n.saturating_sub(1) / (SPREAD - 1));
    let mut all: Vec<usize> = spread.chain(by_size).filter(|i| *i < n).collect();
    all.sort_unstable();
    all.dedup();
    all
}
