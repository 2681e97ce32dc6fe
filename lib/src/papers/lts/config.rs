//! Settings of a run.

use serde::{Deserialize, Serialize};

use super::layer::Grid;
use crate::nn::{Place, Scaled, Slots, Uniform};
use crate::quant::{Range, RangeFrom};
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

impl std::fmt::Display for Threshold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Threshold::Constant(r) => write!(f, "constant {r}"),
            Threshold::Linear => f.write_str("linear"),
            Threshold::Sine => f.write_str("sine"),
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

impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Selection::Nearest => "nearest",
            Selection::Random => "random",
            Selection::Farthest => "farthest",
        })
    }
}

/// Which generation of the authors' quantiser rounds weights and inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quantiser {
    /// Code of 2023 (versions 3 and 4 of the paper): trained bounds for weights and inputs, levels spread evenly
    /// between them. The level of a frozen weight can still move with its bounds.
    TrainedBounds,
    /// Code of 2022 (versions 1 and 2): weights at multiples of a scale of three standard deviations that is
    /// set once and never trained, on a signed grid with one level more below 0 than above; inputs at multiples
    /// of a trained scale. The level of a frozen weight is fixed.
    FixedScale,
}

/// How the first convolution and the last layer are quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ends {
    /// As every other layer, the image included (code of 2023).
    Quantised,
    /// First convolution: 8-bit weights, image in full precision. Last layer: 8-bit weights with a trained scale,
    /// 8-bit input (code of 2022 on CIFAR). Neither is ever frozen; for the first convolution that is this
    /// library's choice.
    EightBit,
    /// Both in full precision (code of 2022 on ImageNet).
    FullPrecision,
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
    /// Memory `m` of the moving average of distances; scale it with the length of the run.
    pub ema: f32,
    /// Which weights freeze.
    pub selection: Selection,
    /// Whether masks act. Without, the run is the no-freeze baseline and masks are only recorded.
    pub freeze: bool,
    /// Whether gradients of frozen weights are left uncomputed. The bounds of a layer then learn from its
    /// free weights only; in the authors' code, which computes everything, from all.
    pub masked: bool,
    /// Generation of the quantiser.
    pub quantiser: Quantiser,
    /// First convolution and last layer.
    pub ends: Ends,
    /// Seed of random selection.
    pub seed: u64,
}

impl Default for LtsConfig {
    fn default() -> Self {
        LtsConfig {
            bits: 2,
            threshold: Threshold::Linear,
            warmup: 0.2,
            ema: 0.9,
            selection: Selection::Nearest,
            freeze: true,
            masked: true,
            quantiser: Quantiser::TrainedBounds,
            ends: Ends::Quantised,
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

    /// The quantisers of the authors' code of 2022 on CIFAR: fixed weight scales, first and last layer at 8 bits.
    pub fn code_2022() -> Self {
        LtsConfig {
            quantiser: Quantiser::FixedScale,
            ends: Ends::EightBit,
            ..LtsConfig::default()
        }
    }

    /// The grid of weights on `bits` bits, and where its range comes from; `trained` is for scales alone, bounds always
    /// are.
    pub(super) fn weight_grid(&self, bits: u32, trained: bool) -> (Grid, RangeFrom) {
        let range = Range::LtsWeight;
        match self.quantiser {
            Quantiser::TrainedBounds => (Grid::Bounds(Uniform::normalised(bits)), range.trained()),
            Quantiser::FixedScale if trained => (Grid::Scale(Scaled::bits(bits)), range.trained()),
            Quantiser::FixedScale => (Grid::Scale(Scaled::bits(bits)), range.into()),
        }
    }

    /// These slots with the quantiser of the input on `bits` bits.
    pub(super) fn with_input(&self, slots: Slots, bits: u32) -> Slots {
        let range = Range::LtsActivation.trained();
        match self.quantiser {
            Quantiser::TrainedBounds => slots.inputs(Uniform::normalised(bits), range),
            Quantiser::FixedScale => slots.inputs(Scaled::bits(bits), range),
        }
    }

    /// Whether the weights of the layer at `place` may freeze.
    pub(super) fn freezes(&self, place: Place) -> bool {
        place == Place::Inner || self.ends == Ends::Quantised
    }

    /// Quantisers of a first or last layer that is treated unlike the others.
    pub(super) fn end(&self, place: Place) -> Slots {
        if self.ends == Ends::FullPrecision {
            return Slots::none();
        }
        let slots = match self.weight_grid(8, place == Place::Last) {
            (Grid::Bounds(grid), range) => Slots::weights(grid, range),
            (Grid::Scale(grid), range) => Slots::weights(grid, range),
        };
        match place {
            Place::Last => self.with_input(slots, 8),
            _ => slots,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        crate::ops::fake_quant::levels(self.bits)?;
        let refuse = |what: String, why: &str| Err(Error::invalid(what, why));
        match self.threshold {
            Threshold::Constant(r) if !(r >= 0.0 && r.is_finite()) => refuse(
                format!("constant threshold {r}"),
                "is a number of level steps, 0 or more",
            ),
            _ if !(0.0..1.0).contains(&self.warmup) => refuse(
                format!("warmup {}", self.warmup),
                "must be a share of the training, 0 to below 1",
            ),
            _ if !(0.0..1.0).contains(&self.ema) => {
                refuse(format!("ema {}", self.ema), "must be 0 to below 1")
            }
            _ => Ok(()),
        }
    }

    /// Threshold of the step that follows `done` of `total` steps; `None` during the warm-up.
    pub fn rate(&self, done: usize, total: usize) -> Option<f32> {
        rate_after(self.threshold, self.warmup, done, total)
    }
}

/// Threshold of the step that follows `done` of `total` steps, of which a share `warmup` freezes nothing.
pub(crate) fn rate_after(
    threshold: Threshold,
    warmup: f32,
    done: usize,
    total: usize,
) -> Option<f32> {
    let (t, end) = ((done + 1) as f32, total as f32);
    let start = warmup * end;
    (t > start).then(|| threshold.rate((t - start) / (end - start)))
}
