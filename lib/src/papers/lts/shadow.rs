//! Shadow masks: what a rule would have frozen on a run that freezes nothing, and how often it was wrong.

use serde::{Deserialize, Serialize};

use super::Selection;
use super::criterion::{BuiltIn, Criterion, chosen};
use super::layer::{LtsLayer, seen};
use crate::{Error, Result};

/// Parts of the training by whose end freezes are counted.
const PARTS: usize = 20;

/// Share of the weights a rule would have frozen whose level at the end is another, in percent.
///
/// Every rule freezes as many weights of a layer at an iteration as the method does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WrongFreeze {
    /// LTS: near their level.
    pub nearest: f64,
    /// At random.
    pub random: f64,
    /// Far from their level.
    pub farthest: f64,
}

/// What one rule would have frozen, and when it was wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShadowRates {
    /// The rule's name.
    pub rule: String,
    /// Weights it would have frozen in each twentieth of the training.
    pub frozen: Vec<usize>,
    /// Those of them whose level at the end is another.
    pub wrong: Vec<usize>,
}

impl ShadowRates {
    /// Share of the frozen weights whose level at the end is another, in percent.
    pub fn total(&self) -> f64 {
        percent(self.wrong.iter().sum(), self.frozen.iter().sum())
    }

    /// The same of the weights frozen in each twentieth; NaN where there are none.
    pub fn over_time(&self) -> Vec<f64> {
        let parts = self.wrong.iter().zip(&self.frozen);
        parts
            .map(|(wrong, frozen)| match frozen {
                0 => f64::NAN,
                _ => percent(*wrong, *frozen),
            })
            .collect()
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// Masks of one rule, layer by layer.
pub(crate) struct Shadow {
    layers: Vec<(Box<dyn Criterion>, Mask)>,
}

/// What a rule has frozen of one layer.
#[derive(Clone, Serialize, Deserialize)]
struct Mask {
    frozen: Vec<bool>,
    /// Iteration and level at the freeze, where frozen.
    at: Vec<u32>,
    level: Vec<f32>,
}

/// State of a shadow in a checkpoint.
#[derive(Serialize, Deserialize)]
pub(crate) struct ShadowState {
    masks: Vec<Mask>,
    criteria: Vec<Vec<u8>>,
}

impl Shadow {
    /// A shadow that freezes nothing yet, from the criterion and the number of weights of each layer.
    pub fn new(layers: Vec<(Box<dyn Criterion>, usize)>) -> Self {
        let mask = |n| Mask {
            frozen: vec![false; n],
            at: vec![0; n],
            level: vec![0.0; n],
        };
        let layers = layers.into_iter().map(|(c, n)| (c, mask(n)));
        Shadow {
            layers: layers.collect(),
        }
    }

    /// A shadow of a built-in rule.
    pub fn built_in(rule: Selection, seed: u64, lengths: &[usize]) -> Self {
        let criterion = |(i, n): (usize, &usize)| -> (Box<dyn Criterion>, usize) {
            let seed = seed ^ ((i as u64) << 32) ^ 0x5ad0;
            (Box::new(BuiltIn { rule, seed }), *n)
        };
        Shadow::new(lengths.iter().enumerate().map(criterion).collect())
    }

    /// Entries of layer `i` that are frozen or within `limit` of their level.
    pub fn due(&self, i: usize, layer: &LtsLayer, limit: f32) -> usize {
        let distance = seen(&layer.state.distance);
        let now = self.layers[i].1.frozen.iter().zip(distance.iter());
        now.filter(|(frozen, d)| **frozen || **d <= limit).count()
    }

    /// Freezes after a training step until as many are frozen of layer `i` as the method has due.
    pub fn observe(&mut self, i: usize, layer: &LtsLayer, due: usize) {
        let (criterion, mask) = &mut self.layers[i];
        let have = mask.frozen.iter().filter(|f| **f).count();
        let (value, distance, level) = (
            seen(&layer.state.saved),
            seen(&layer.state.distance),
            seen(&layer.state.previous),
        );
        let now = layer.seen(&value, &distance, &level, &mask.frozen);
        for i in chosen(criterion.as_mut(), &now, due.saturating_sub(have)) {
            mask.frozen[i] = true;
            mask.at[i] = layer.iteration as u32;
            mask.level[i] = level[i];
        }
    }

    /// Frozen and wrongly frozen entries, given the final levels.
    pub fn rates(&self, levels: &[Vec<f32>], iterations: usize) -> ShadowRates {
        let mut found = ShadowRates {
            rule: self.layers.first().map_or_else(String::new, |l| l.0.name()),
            frozen: vec![0; PARTS],
            wrong: vec![0; PARTS],
        };
        for ((_, mask), q) in self.layers.iter().zip(levels) {
            for i in (0..q.len()).filter(|&i| mask.frozen[i]) {
                let part = (mask.at[i] as usize * PARTS / iterations.max(1)).min(PARTS - 1);
                found.frozen[part] += 1;
                found.wrong[part] += usize::from(mask.level[i] != q[i]);
            }
        }
        found
    }

    pub fn save(&self) -> Result<ShadowState> {
        let criteria = self.layers.iter().map(|(c, _)| c.save());
        Ok(ShadowState {
            masks: self.layers.iter().map(|(_, m)| m.clone()).collect(),
            criteria: criteria.collect::<Result<_>>()?,
        })
    }

    pub fn restore(&mut self, state: ShadowState) -> Result<()> {
        let ours = self.layers.iter().map(|(_, m)| m.frozen.len());
        if !ours.eq(state.masks.iter().map(|m| m.frozen.len())) {
            let why = "has shadow masks of other layers; start afresh";
            return Err(Error::invalid("checkpoint of LTS", why));
        }
        let found = state.masks.into_iter().zip(&state.criteria);
        for ((criterion, mask), (found, bytes)) in self.layers.iter_mut().zip(found) {
            *mask = found;
            criterion.restore(bytes)?;
        }
        Ok(())
    }
}
