//! What a run saves, counted the paper's way.

use serde::{Deserialize, Serialize};

/// Frozen share of one layer, averaged over the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerShare {
    /// Name of the layer.
    pub name: String,
    /// Its weights.
    pub weights: usize,
    /// Multiply-accumulates of one sample's forward pass.
    pub macs: usize,
    /// Mean share of its weights that were frozen.
    pub frozen: f64,
}

/// Savings and course of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LtsReport {
    /// Mean over all iterations of frozen weights / trainable parameters, in percent: the paper's "weight
    /// updates eliminated".
    pub updates_eliminated: f64,
    /// Half of it, in percent: the paper's "backward FLOPs eliminated" (a backward pass is two equal
    /// products, of which only the weight gradient can be skipped).
    pub backward_flops_eliminated: f64,
    /// The same weighted by each layer's own FLOPs, in percent.
    pub backward_flops_exact: f64,
    /// Frozen weights / weights after each iteration.
    pub frozen_share: Vec<f32>,
    /// Threshold `r` at each iteration; 0 during the warm-up.
    pub rate: Vec<f32>,
    /// Share of weights whose level changed in each iteration.
    pub flip_rate: Vec<f32>,
    /// Share of weights that already have their final level and never leave it again, at each epoch's end.
    pub settled: Vec<f32>,
    /// The same after each iteration.
    pub settled_course: Vec<f32>,
    /// Histograms of `D/Delta` over `[0, 1)` in 50 bins, one an epoch, as shares.
    pub distance: Vec<Vec<f32>>,
    /// Layer by layer.
    pub layers: Vec<LayerShare>,
    /// Share of weights whose level never changed.
    pub never_flipped: f32,
    /// Shadow masks of a run that does not freeze, rule by rule.
    pub shadows: Vec<super::ShadowRates>,
    /// Their shares of wrong freezes over the whole run, of the built-in rules.
    pub wrong_freeze: Option<super::WrongFreeze>,
    /// What other schedules would have done, see [`super::Lts::also_record`].
    pub plans: Vec<super::Plan>,
}

impl LtsReport {
    /// Share of weights that have settled for good when a share `p` of the training is over.
    pub fn settled_after(&self, p: f64) -> f32 {
        let at = (p * self.settled_course.len() as f64).round() as usize;
        let course = self.settled_course.get(at.saturating_sub(1));
        course.copied().unwrap_or(f32::NAN)
    }

    /// The same among those weights whose level changes at all; NaN where none does.
    pub fn moving_settled_after(&self, p: f64) -> f32 {
        (self.settled_after(p) - self.never_flipped) / (1.0 - self.never_flipped)
    }

    /// Progress `(i + 1) / n` of the iterations, for the x axis of figures.
    pub fn progress(&self) -> Vec<f64> {
        let n = self.frozen_share.len() as f64;
        (1..=self.frozen_share.len())
            .map(|i| i as f64 / n)
            .collect()
    }
}

/// The frozen share to expect at threshold `r`: distances are near-uniform on half a step, so `min(1, 2r)`.
///
/// ```
/// use rebit::papers::lts::expected_share;
/// assert_eq!(expected_share(0.25), 0.5);
/// assert_eq!(expected_share(0.8), 1.0);
/// ```
pub fn expected_share(rate: f32) -> f32 {
    (2.0 * rate).clamp(0.0, 1.0)
}
