//! Shadow masks: what each rule would have frozen on a run that freezes nothing, and how often it was wrong.

use serde::{Deserialize, Serialize};

use super::Selection;
use super::layer::{LtsLayer, seen};
use super::select::{due, freeze_up_to};
use crate::data::epoch_rng;

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

const RULES: [Selection; 3] = [Selection::Nearest, Selection::Random, Selection::Farthest];

/// Masks and levels at the freeze, for the three rules, of one layer.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Shadow {
    frozen: [Vec<bool>; 3],
    level: [Vec<f32>; 3],
}

impl Shadow {
    pub fn new(len: usize) -> Self {
        Shadow {
            frozen: [(); 3].map(|()| vec![false; len]),
            level: [(); 3].map(|()| vec![0.0; len]),
        }
    }

    /// Freezes after a training step at threshold `rate`.
    pub fn observe(&mut self, layer: &LtsLayer, rate: f32) {
        let (distance, q) = (&*seen(&layer.state.distance), &*seen(&layer.state.previous));
        let limit = rate * layer.delta;
        let target = due(distance, &self.frozen[0], limit);
        for (r, rule) in RULES.into_iter().enumerate() {
            let mut rng = epoch_rng(
                layer.config.seed ^ (layer.index << 32) ^ 0x5ad0,
                layer.iteration,
            );
            let level = &mut self.level[r];
            // The nearest rule's target is exactly the entries within the threshold.
            freeze_up_to(target, rule, distance, &mut self.frozen[r], &mut rng, |i| {
                level[i] = q[i]
            });
        }
    }

    /// Frozen and wrongly frozen entries of each rule, given the final levels.
    fn count(&self, q: &[f32]) -> [(usize, usize); 3] {
        [0, 1, 2].map(|r| {
            let frozen = self.frozen[r].iter().filter(|f| **f).count();
            let wrong = |i: &usize| self.frozen[r][*i] && self.level[r][*i] != q[*i];
            (frozen, (0..q.len()).filter(wrong).count())
        })
    }

    /// Rates over all layers.
    pub fn rates<'a>(pairs: impl Iterator<Item = (&'a Shadow, &'a [f32])>) -> WrongFreeze {
        let mut sum = [(0, 0); 3];
        for (shadow, q) in pairs {
            for (s, (frozen, wrong)) in sum.iter_mut().zip(shadow.count(q)) {
                *s = (s.0 + frozen, s.1 + wrong);
            }
        }
        let [nearest, random, farthest] =
            sum.map(|(frozen, wrong)| 100.0 * wrong as f64 / frozen.max(1) as f64);
        WrongFreeze {
            nearest,
            random,
            farthest,
        }
    }
}
