//! Parameter groups: SGD for weights and batch norm, Adam (or SGD) for the bounds of quantisers.

use dfdx::tensor_ops::{AdamConfig, Momentum, SgdConfig, WeightDecay};

use super::{BoundRule, TrainConfig};
use crate::nn::{Net, Role};
use crate::ops::update::UpdateKernel;
use crate::{Buffer, Result, dev};

/// State of one parameter's update rule.
enum Slot {
    Sgd {
        velocity: Buffer,
    },
    /// SGD without momentum and decay; its rule does not touch the velocity.
    Plain {
        bound: bool,
        velocity: Buffer,
    },
    Adam {
        first: Buffer,
        second: Buffer,
    },
    Still,
}

/// Updates a network's parameters from the gradients of its last backward pass.
///
/// The rules are those of dfdx's [`SgdConfig`] and [`AdamConfig`] (see [`crate::ops::update`]); frozen weights are put back and keep no
/// momentum.
pub struct Optimiser {
    slots: Vec<Slot>,
    sgd: SgdConfig,
    plain: SgdConfig,
    adam: AdamConfig,
    lr: f64,
    bound_lr: f64,
    step: i32,
}

impl Optimiser {
    /// Fresh state for every parameter of `net`.
    pub fn new(net: &Net, config: &TrainConfig) -> Self {
        let zeros = |len| crate::nn::buffer(vec![0.0; len]);
        let params = net.parameters();
        let slots = params.iter().map(|p| match p.role {
            Role::Norm if config.plain_norm => Slot::Plain {
                bound: false,
                velocity: zeros(p.len()),
            },
            Role::Bound if config.bound_rule == BoundRule::Sgd => Slot::Plain {
                bound: true,
                velocity: zeros(p.len()),
            },
            Role::Weight | Role::Bias | Role::Norm => Slot::Sgd {
                velocity: zeros(p.len()),
            },
            Role::Bound => Slot::Adam {
                first: zeros(p.len()),
                second: zeros(p.len()),
            },
            Role::Statistic | Role::Scale => Slot::Still,
        });
        let momentum = f64::from(config.momentum);
        let momentum = if config.nesterov {
            Momentum::Nesterov(momentum)
        } else {
            Momentum::Classic(momentum)
        };
        let decay = WeightDecay::L2(f64::from(config.weight_decay));
        Optimiser {
            slots: slots.collect(),
            sgd: SgdConfig {
                lr: 0.0,
                momentum: Some(momentum),
                weight_decay: Some(decay),
            },
            plain: SgdConfig {
                lr: 0.0,
                momentum: None,
                weight_decay: None,
            },
            adam: AdamConfig {
                lr: 0.0,
                ..AdamConfig::default()
            },
            lr: f64::from(config.lr),
            bound_lr: f64::from(config.bound_lr),
            step: 0,
        }
    }

    /// One update; `factor` is the schedule's share of the learning rates.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn update(&mut self, net: &Net, factor: f32) -> Result<()> {
        self.step += 1;
        self.sgd.lr = self.lr * f64::from(factor);
        self.adam.lr = self.bound_lr * f64::from(factor);
        let mut inner = net.lock();
        let inner = &mut *inner;
        for (id, slot) in self.slots.iter_mut().enumerate() {
            if matches!(slot, Slot::Still) {
                continue;
            }
            inner.stale[id] = true;
            let (w, grad) = (&mut inner.values[id], &inner.grads[id]);
            match slot {
                Slot::Sgd { velocity } => dev().sgd(&self.sgd, w, velocity, grad)?,
                Slot::Adam { first, second } => {
                    dev().adam(&self.adam, self.step, w, first, second, grad)?;
                }
                Slot::Plain { bound, velocity } => {
                    self.plain.lr = if *bound { self.adam.lr } else { self.sgd.lr };
                    dev().sgd(&self.plain, w, velocity, grad)?;
                }
                Slot::Still => {}
            }
        }
        for (node, quant) in inner.quant.iter_mut().enumerate() {
            let Some(quant) = quant else { continue };
            let weight = inner.nodes[node]
                .weight()
                .expect("quantisers sit on convolutions");
            if let (true, Slot::Sgd { velocity }) =
                (quant.quantiser.freezes(), &mut self.slots[weight])
            {
                let w = &mut inner.values[weight];
                quant.quantiser.after_step(w, velocity)?;
            }
        }
        Ok(())
    }

    /// Buffers that a checkpoint must hold, by parameter index and kind.
    pub(crate) fn state(&self) -> Vec<(usize, &'static str, &Buffer)> {
        let mut state = Vec::new();
        for (i, slot) in self.slots.iter().enumerate() {
            match slot {
                Slot::Sgd { velocity } => state.push((i, "velocity", velocity)),
                Slot::Adam { first, second } => {
                    state.push((i, "first", first));
                    state.push((i, "second", second));
                }
                Slot::Plain { .. } | Slot::Still => {}
            }
        }
        state
    }

    /// The buffer of a parameter's state by kind, to be filled from a checkpoint.
    pub(crate) fn state_mut(&mut self, param: usize, kind: &str) -> Option<&mut Buffer> {
        match (self.slots.get_mut(param)?, kind) {
            (Slot::Sgd { velocity }, "velocity") => Some(velocity),
            (Slot::Adam { first, .. }, "first") => Some(first),
            (Slot::Adam { second, .. }, "second") => Some(second),
            _ => None,
        }
    }

    /// Updates made so far.
    pub fn steps(&self) -> i32 {
        self.step
    }

    pub(crate) fn set_steps(&mut self, step: i32) {
        self.step = step;
    }
}
