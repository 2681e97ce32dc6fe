//! The rules that move a parameter, on buffers: SGD and Adam as dfdx defines them.
//!
//! With the gradient `g`, the learning rate `lr`, the momentum `u` and the weight decay `wd` of the settings:
//!
//! ```text
//! SGD    g += wd w;   v = g + u v;   w -= lr v              (Nesterov: w -= lr (g + u v))
//! Adam   m = b1 m + (1 - b1) g;      v = b2 v + (1 - b2) g^2
//!        w -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
//! ```
//!
//! dfdx's own rules work on tensors, whose buffers dfdx keeps to itself; a network's parameters are buffers that its
//! kernels read (see [`crate::nn`]). The settings are dfdx's [`SgdConfig`] and [`AdamConfig`], and on the CPU the
//! results are theirs, bit for bit. Decoupled weight decay of dfdx is offered by neither.

use dfdx::prelude::{AdamConfig, Momentum, SgdConfig, Storage, WeightDecay};

use crate::error::{Error, Result};
use crate::ops::parallel::expect_len;

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

/// Update rules on a device's own buffers.
pub trait UpdateKernel: Storage<f32> {
    /// One step of stochastic gradient descent; without momentum `velocity` is neither read nor written.
    ///
    /// # Errors
    /// [`Error::Shape`] when the lengths differ, [`Error::Invalid`] for decoupled weight decay.
    fn sgd(
        &self,
        rule: &SgdConfig,
        w: &mut Self::Vec,
        velocity: &mut Self::Vec,
        grad: &Self::Vec,
    ) -> Result<()>;

    /// Step `t` (from 1) of Adam with the moments `first` and `second`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the lengths differ, [`Error::Invalid`] for weight decay.
    fn adam(
        &self,
        rule: &AdamConfig,
        t: i32,
        w: &mut Self::Vec,
        first: &mut Self::Vec,
        second: &mut Self::Vec,
        grad: &Self::Vec,
    ) -> Result<()>;
}

/// [`SgdConfig`] in the numbers of the kernels.
#[derive(Clone, Copy)]
struct Sgd {
    lr: f32,
    decay: f32,
    momentum: f32,
    /// 0: none, 1: classic, 2: Nesterov.
    kind: u32,
}

impl Sgd {
    fn new(rule: &SgdConfig) -> Result<Self> {
        let (kind, momentum) = match rule.momentum {
            None => (0, 0.0),
            Some(Momentum::Classic(u)) => (1, u as f32),
            Some(Momentum::Nesterov(u)) => (2, u as f32),
        };
        let decay = match rule.weight_decay {
            None => 0.0,
            Some(WeightDecay::L2(wd)) => wd as f32,
            Some(WeightDecay::Decoupled(_)) => return Err(decoupled("SGD")),
        };
        Ok(Sgd {
            lr: rule.lr as f32,
            decay,
            momentum,
            kind,
        })
    }
}

/// [`AdamConfig`] in the numbers of the kernels.
#[derive(Clone, Copy)]
struct Adam {
    lr: f32,
    beta1: f32,
    beta2: f32,
    eps: f32,
    /// `1 / (1 - beta^t)`.
    unbias1: f32,
    unbias2: f32,
}

impl Adam {
    fn new(rule: &AdamConfig, t: i32) -> Result<Self> {
        if rule.weight_decay.is_some() {
            return Err(decoupled("Adam"));
        }
        let [beta1, beta2] = rule.betas.map(|b| b as f32);
        Ok(Adam {
            lr: rule.lr as f32,
            beta1,
            beta2,
            eps: rule.eps as f32,
            unbias1: (1.0 - beta1.powi(t)).recip(),
            unbias2: (1.0 - beta2.powi(t)).recip(),
        })
    }
}

fn decoupled(rule: &str) -> Error {
    Error::invalid(
        format!("weight decay of {rule}"),
        "SGD takes WeightDecay::L2 or none, Adam none",
    )
}

fn check_len(n: usize, lengths: &[(&str, usize)]) -> Result<()> {
    lengths
        .iter()
        .try_for_each(|(name, len)| expect_len("update", name, n, *len))
}
