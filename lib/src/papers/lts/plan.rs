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

    /// Freezes of layer `i` after a training forward, of which are given level step, distances and levels.
    pub fn observe(
        &mut self,
        i: usize,
        (delta, distances, levels): (f32, &[f32], &[f32]),
        (done, total): (usize, usize),
    ) {
        let Some(rate) = rate_after(self.threshold, self.warmup, done, total) else {
            return;
        };
        let now = distances.iter().zip(levels);
        for (level, (distance, q)) in self.level[i].iter_mut().zip(now) {
            if level.is_nan() && *distance <= rate * delta {
                *level = *q;
                self.frozen += 1;
            }
        }
    }

    /// Counts what is frozen after all layers of a step.
    pub fn end_step(&mut self) {
        self.sum += self.frozen as f64;
    }

    /// The plan's outcome, given the levels at the end.
    pub fn result(&self, levels: &[Vec<f32>], iterations: usize, parameters: usize) -> Plan {
        let pairs = self.level.iter().flatten();
        let wrong = pairs
            .zip(levels.iter().flatten())
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
