//! What a training run is made of.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Schedule;
use crate::data::{Augment, Normalize};
use crate::{Error, Result};

/// How the bounds and scales of quantisers are updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BoundRule {
    /// Adam, as in the LTS code of 2023.
    Adam,
    /// SGD without momentum, as in the LTS code of 2022.
    Sgd,
}

/// Settings of a run; the defaults are the LTS recipe for CIFAR-10 at 20 epochs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrainConfig {
    /// Name shown beside the progress bar and in figures.
    pub label: String,
    /// Passes over the training set.
    pub epochs: usize,
    /// Samples of a step.
    pub batch_size: usize,
    /// Seed of order and augmentation.
    pub seed: u64,
    /// Largest learning rate of SGD (weights, biases, batch norm).
    pub lr: f32,
    /// Momentum of SGD.
    pub momentum: f32,
    /// L2 weight decay of SGD.
    pub weight_decay: f32,
    /// Whether the momentum is Nesterov's.
    pub nesterov: bool,
    /// Learning rate of quantiser bounds and scales.
    pub bound_lr: f32,
    /// Update rule of quantiser bounds and scales, without weight decay.
    pub bound_rule: BoundRule,
    /// Whether batch norm is updated without momentum and weight decay.
    pub plain_norm: bool,
    /// Course of all learning rates.
    pub schedule: Schedule,
    /// Label smoothing of the cross entropy.
    pub label_smoothing: f32,
    /// Random crops and flips of training images.
    pub augment: Option<Augment>,
    /// Mean and standard deviation of the pixels.
    pub normalize: Normalize,
    /// Test accuracy is measured every so many epochs, and after the last.
    pub eval_every: usize,
    /// Steps after which test accuracy is also measured within an epoch; 0 for never. For runs of few, long epochs.
    pub eval_steps: usize,
    /// Where the run's state is written after each epoch, and continued from.
    pub checkpoint: Option<PathBuf>,
    /// Steps after which the state is also written within an epoch; 0 for the ends of epochs only. Worth it where
    /// an epoch takes hours.
    pub checkpoint_steps: usize,
    /// Whether the last batch of an epoch is left out when it is smaller than the others.
    pub drop_last: bool,
    /// Live progress and figure.
    pub show: bool,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            label: "training".into(),
            epochs: 20,
            batch_size: 128,
            seed: 0,
            lr: 0.1,
            momentum: 0.9,
            weight_decay: 1e-4,
            nesterov: false,
            bound_lr: 1e-4,
            bound_rule: BoundRule::Adam,
            plain_norm: false,
            schedule: Schedule::quarters(),
            label_smoothing: 0.0,
            augment: Some(Augment::default()),
            normalize: Normalize::CIFAR10,
            eval_every: 1,
            eval_steps: 0,
            checkpoint: None,
            checkpoint_steps: 0,
            drop_last: false,
            show: true,
        }
    }
}

impl TrainConfig {
    /// What two runs must agree on to be the same run.
    pub(super) fn fingerprint(&self) -> Result<String> {
        let same = TrainConfig {
            checkpoint: None,
            checkpoint_steps: 0,
            show: false,
            label: String::new(),
            ..self.clone()
        };
        let told = serde_json::to_string(&same).map_err(|e| Error::invalid("train", e))?;
        // Parts between commas, so that a difference is told by its part.
        Ok(told.replace(",\"", ", \""))
    }

    /// Refuses settings with which nothing can be trained.
    pub(crate) fn check(&self, samples: usize) -> Result<()> {
        if self.epochs == 0 || self.batch_size == 0 || self.eval_every == 0 {
            return Err(Error::invalid(
                "train",
                "epochs, batch_size and eval_every must be at least 1",
            ));
        }
        if samples == 0 {
            return Err(Error::invalid(
                "train",
                "the training set has 0 images: nothing to learn from",
            ));
        }
        if self.drop_last && samples < self.batch_size {
            return Err(Error::invalid(
                "train",
                format!(
                    "{samples} images make no batch of {} and drop_last leaves the rest out",
                    self.batch_size
                ),
            ));
        }
        if !(self.lr > 0.0 && self.lr.is_finite()) {
            return Err(Error::invalid(
                format!("lr {}", self.lr),
                "must be above 0 and finite",
            ));
        }
        Ok(())
    }
}
