//! Settings of a run.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How the freezing threshold `r(t)`, in level steps, grows with progress after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Threshold {
    /// The same throughout; the authors' value is 0.1.
    Constant(f32),
    /// `r = p`, the schedule of the paper's main runs.
    Linear,
    /// `r = sin(pi p / 2)`.
    Sine,
}

impl Threshold {
    /// The threshold at progress `p` in `(0, 1]`.
    ///
    /// ```
    /// use rebit::papers::lts::Threshold;
    /// assert_eq!(Threshold::Linear.rate(0.25), 0.25);
    /// assert!(Threshold::Sine.rate(1.0 / 3.0) > 0.49);
    /// ```
    pub fn rate(self, p: f32) -> f32 {
        match self {
            Threshold::Constant(r) => r,
            Threshold::Linear => p,
            Threshold::Sine => (std::f32::consts::FRAC_PI_2 * p).sin(),
        }
    }
}

/// Which of the free weights are frozen when the threshold asks for some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Selection {
    /// Those near their level: the method.
    Nearest,
    /// As many, at random: the control.
    Random,
    /// As many, those farthest from their level: the adversary.
    Farthest,
}

/// Settings of LTS; the defaults are the paper's main runs at a memory that suits short trainings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LtsConfig {
    /// Bits of weights and activations.
    pub bits: u32,
    /// Growth of the threshold.
    pub threshold: Threshold,
    /// Share of the training before anything may be frozen.
    pub warmup: f32,
    /// Memory of the moving average of distances; scale it with the length of the run.
    pub momentum: f32,
    /// Which weights freeze.
    pub selection: Selection,
    /// Whether masks act. Without, the run is the no-freeze baseline and masks are only recorded.
    pub freeze: bool,
    /// Whether gradients of frozen weights are left uncomputed. The bounds of a layer then learn from its
    /// free weights only; in the authors' code, which computes everything, from all.
    pub masked: bool,
    /// Whether the first convolution and the last layer are quantised too.
    pub first_and_last: bool,
    /// Seed of random selection.
    pub seed: u64,
}

impl Default for LtsConfig {
    fn default() -> Self {
        LtsConfig {
            bits: 2,
            threshold: Threshold::Linear,
            warmup: 0.2,
            momentum: 0.9,
            selection: Selection::Nearest,
            freeze: true,
            masked: true,
            first_and_last: true,
            seed: 0,
        }
    }
}

impl LtsConfig {
    /// The same run without freezing: the baseline every claim compares with.
    pub fn baseline() -> Self {
        LtsConfig {
            freeze: false,
            ..LtsConfig::default()
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        crate::ops::fake_quant::levels(self.bits)?;
        if !(0.0..1.0).contains(&self.warmup) {
            return Err(Error::invalid(
                format!("warmup {}", self.warmup),
                "must be a share of the training, 0 to below 1",
            ));
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return Err(Error::invalid(
                format!("momentum {}", self.momentum),
                "must be 0 to below 1",
            ));
        }
        Ok(())
    }

    /// Threshold of the step that follows `done` of `total` steps; `None` during the warm-up.
    pub fn rate(&self, done: usize, total: usize) -> Option<f32> {
        let (t, end) = ((done + 1) as f32, total as f32);
        let start = self.warmup * end;
        (t > start).then(|| self.threshold.rate((t - start) / (end - start)))
    }
}
