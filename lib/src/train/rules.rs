//! How one tensor follows its gradient.

use dfdx::tensor_ops::{AdamConfig, Momentum, SgdConfig, WeightDecay};

use crate::ops::affine::AffineKernel;
use crate::ops::update::UpdateKernel;
use crate::{Buffer, Error, Result, dev};

/// A step of one rule: which it is, counted from 1, and what the schedule makes of its learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RuleStep {
    /// Steps so far, this one included.
    pub number: i32,
    /// Factor of the learning rate.
    pub factor: f32,
}

/// How one tensor follows its gradient; [`Sgd`] and [`Adam`] are built in.
pub trait Rule: Send + 'static {
    /// Moving averages that the rule keeps of each tensor, by name.
    fn averages(&self) -> &'static [&'static str];

    /// Refuses settings that nothing can be trained with; asked before each step.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the setting.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Moves `w`.
    ///
    /// # Errors
    /// When the device refuses.
    fn update(
        &self,
        step: RuleStep,
        w: &mut Buffer,
        averages: &mut [Buffer],
        gradient: &Buffer,
    ) -> Result<()>;
}

/// Stochastic gradient descent, see [`crate::ops::update`].
///
/// ```
/// use rebit::prelude::*;
/// let net = resnet20(10, rng(0));
/// let mut sgd = Sgd::new(0.1).momentum(0.9).decay(1e-4).over(&net)?.group(Role::Bound, Adam::new(1e-3));
/// let x = images(4, 3, 32, 32, &mut rng(1));
/// let loss = cross_entropy(net.forward(x.leaky_trace(), Mode::Train)?, &[0, 1, 2, 3]);
/// sgd.step(&mut loss.backward())?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    lr: f32,
    momentum: f32,
    nesterov: bool,
    decay: f32,
    /// Without momentum and decay the kernel is asked for neither.
    plain: bool,
}

impl Sgd {
    /// Without momentum and weight decay.
    pub fn new(lr: f32) -> Self {
        Sgd {
            lr,
            momentum: 0.0,
            nesterov: false,
            decay: 0.0,
            plain: true,
        }
    }

    /// With momentum.
    pub fn momentum(mut self, momentum: f32) -> Self {
        self.momentum = momentum;
        self.plain = false;
        self
    }

    /// With Nesterov's momentum.
    pub fn nesterov(mut self, momentum: f32) -> Self {
        self.nesterov = true;
        self.momentum(momentum)
    }

    /// With L2 weight decay.
    pub fn decay(mut self, decay: f32) -> Self {
        self.decay = decay;
        self.plain = false;
        self
    }
}

impl Rule for Sgd {
    fn averages(&self) -> &'static [&'static str] {
        &["velocity"]
    }

    fn check(&self) -> Result<()> {
        finite("lr", self.lr)?;
        finite("momentum", self.momentum)?;
        finite("weight decay", self.decay)
    }

    fn update(
        &self,
        step: RuleStep,
        w: &mut Buffer,
        averages: &mut [Buffer],
        gradient: &Buffer,
    ) -> Result<()> {
        let momentum = f64::from(self.momentum);
        let momentum = match self.nesterov {
            true => Momentum::Nesterov(momentum),
            false => Momentum::Classic(momentum),
        };
        let rule = SgdConfig {
            lr: f64::from(self.lr) * f64::from(step.factor),
            momentum: (!self.plain).then_some(momentum),
            weight_decay: (!self.plain).then(|| WeightDecay::L2(f64::from(self.decay))),
        };
        let [velocity] = averages else {
            return Err(no_averages());
        };
        dev().sgd(&rule, w, velocity, gradient)
    }
}

/// Adam, see [`crate::ops::update`], with beta 0.9 and 0.999 and epsilon 1e-8; AdamW with [`decay`](Adam::decay).
///
/// ```
/// use rebit::prelude::*;
/// let pixels = Leaf::images(images(2, 3, 8, 8, &mut rng(0)));
/// let mut adam = Adam::new(0.1).over(&pixels)?;
/// let before = pixels.to_vec();
/// adam.step(&mut pixels.as_images()?.leaky_trace().square().mean().backward())?;
/// assert!((pixels.to_vec()[0] - before[0]).abs() > 0.09);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    lr: f32,
    betas: [f64; 2],
    eps: f64,
    decay: f32,
}

impl Adam {
    /// Without weight decay.
    pub fn new(lr: f32) -> Self {
        let AdamConfig { betas, eps, .. } = AdamConfig::default();
        Adam {
            lr,
            betas,
            eps,
            decay: 0.0,
        }
    }

    /// Other shares of the past in the two averages.
    pub fn betas(mut self, first: f32, second: f32) -> Self {
        self.betas = [f64::from(first), f64::from(second)];
        self
    }

    /// Another epsilon.
    pub fn eps(mut self, eps: f32) -> Self {
        self.eps = f64::from(eps);
        self
    }

    /// Decoupled weight decay (AdamW): `w -= lr decay w` before the step.
    pub fn decay(mut self, decay: f32) -> Self {
        self.decay = decay;
        self
    }
}

impl Rule for Adam {
    fn averages(&self) -> &'static [&'static str] {
        &["first", "second"]
    }

    fn check(&self) -> Result<()> {
        finite("lr", self.lr)?;
        finite("eps", self.eps as f32)?;
        finite("weight decay", self.decay)?;
        let share = |beta: &f64| (0.0..1.0).contains(beta);
        match self.betas.iter().all(share) {
            true => Ok(()),
            false => Err(Error::invalid(
                format!("betas {} and {}", self.betas[0], self.betas[1]),
                "must be from 0 to below 1",
            )),
        }
    }

    fn update(
        &self,
        step: RuleStep,
        w: &mut Buffer,
        averages: &mut [Buffer],
        gradient: &Buffer,
    ) -> Result<()> {
        let rule = AdamConfig {
            lr: f64::from(self.lr) * f64::from(step.factor),
            betas: self.betas,
            eps: self.eps,
            ..AdamConfig::default()
        };
        let [first, second] = averages else {
            return Err(no_averages());
        };
        if self.decay != 0.0 {
            let keep = 1.0 - self.lr * step.factor * self.decay;
            // `mix` adds nothing of the gradient: the decay alone.
            dev().mix(keep, w, 0.0, gradient)?;
        }
        dev().adam(&rule, step.number, w, first, second, gradient)
    }
}

/// A setting of an optimiser that is a number.
pub(super) fn finite(what: &str, value: f32) -> Result<()> {
    match value.is_finite() {
        true => Ok(()),
        false => Err(Error::invalid(format!("{what} {value}"), "must be finite")),
    }
}

fn no_averages() -> Error {
    Error::invalid("rule", "was given other averages than it asked for")
}
