//! What other schedules would have frozen on a run that freezes nothing: an ablation for the price of one run.

use serde::{Deserialize, Serialize};

use super::Threshold;
use super::config::rate_after;

/// What a schedule would have saved on the recorded run, and how often it would have been wrong.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Growth of the threshold.
    pub threshold: Threshold,
    /// Share of the training before anything may freeze.
    pub warmup: f32,
    /// Weight updates it would have eliminated, in percent, as in [`super::LtsReport::updates_eliminated`].
    pub updates_eliminated: f64,
    /// Share of the weights it would have frozen whose level at the end is another, in percent.
    pub wrong_freeze: f64,
}

/// One layer after a training forward.
pub(crate) struct Now<'a> {
    /// Level step.
    pub delta: f32,
    pub distance: &'a [f32],
    pub level: &'a [f32],
}

/// Masks and levels at the freeze of one schedule.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct PlanMasks {
    threshold: Threshold,
    warmup: f32,
    /// By layer and weight: the level at the freeze; NaN while free.
    level: Vec<Vec<f32>>,
    frozen: usize,
    /// Sum over iterations of the number of frozen weights.
    sum: f64,
}

impl PlanMasks {
    pub fn new(threshold: Threshold, warmup: f32, lengths: Vec<usize>) -> Self {
        PlanMasks {
            threshold,
            warmup,
            level: lengths.into_iter().map(|n| vec![f32::NAN; n]).collect(),
            frozen: 0,
            sum: 0.0,
        }
    }

    /// Freezes after a training step.
    pub fn observe(&mut self, layers: &[Now], done: usize, total: usize) {
        if let Some(rate) = rate_after(self.threshold, self.warmup, done, total) {
            for (layer, level) in layers.iter().zip(&mut self.level) {
                let limit = rate * layer.delta;
                let now = layer.distance.iter().zip(layer.level);
                for (level, (distance, q)) in level.iter_mut().zip(now) {
                    if level.is_nan() && *distance <= limit {
                        *level = *q;
                        self.frozen += 1;
                    }
                }
            }
        }
        self.sum += self.frozen as f64;
    }

    /// The plan's outcome, given the levels at the end.
    pub fn result(&self, levels: &[&[f32]], iterations: usize, parameters: usize) -> Plan {
        let pairs = self.level.iter().flatten();
        let wrong = pairs
            .zip(levels.iter().copied().flatten())
            .filter(|(then, now)| !then.is_nan() && then != now)
            .count();
        Plan {
            threshold: self.threshold,
            warmup: self.warmup,
            updates_eliminated: 100.0 * self.sum / (iterations.max(1) * parameters.max(1)) as f64,
            wrong_freeze: 100.0 * wrong as f64 / self.frozen.max(1) as f64,
        }
    }
}
