//! Settings of a run: what the generator learns, what students learn from, for how long.

use std::path::PathBuf;

use super::{Distortion, GeneratorShape};
use crate::data::Augment;
use crate::ptq::StudentLevels;
use crate::quant::EmaRule;
use crate::train::Schedule;
use crate::{Error, Result};

/// Weights of what a generator learns, see [`generator_loss`](super::generator_loss).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct GeneratorLosses {
    /// Of the cross entropy of the mixed batch.
    pub class: f32,
    /// Of the cross entropy of the batch of one class.
    pub single: f32,
    /// Of `L_BNS`.
    pub statistics: f32,
    /// Of the centralised loss `L_C`.
    pub centralised: f32,
    /// Of the distorted loss `L_D`.
    pub distorted: f32,
    /// The noise of `L_D`.
    pub distortion: Distortion,
}

impl GeneratorLosses {
    /// The authors' weights: `0.5 CE + 0.5 CE' + 0.2 L_BNS + 0.01 L_C + 0.9 L_D`.
    pub fn fdda() -> Self {
        GeneratorLosses {
            class: 0.5,
            single: 0.5,
            statistics: 0.2,
            centralised: 0.01,
            distorted: 0.9,
            distortion: Distortion::default(),
        }
    }

    /// The baseline GDFQ: `CE + 0.1 L_BNS`, without batches of one class.
    ///
    /// Source: Xu et al., arXiv:2003.03603, with FDDA's generator.
    pub fn gdfq() -> Self {
        GeneratorLosses {
            class: 1.0,
            single: 0.0,
            statistics: 0.1,
            centralised: 0.0,
            distorted: 0.0,
            ..GeneratorLosses::fdda()
        }
    }

    /// The centralised loss alone, with the weight of both.
    pub fn centralised_only() -> Self {
        GeneratorLosses {
            centralised: 0.91,
            distorted: 0.0,
            ..GeneratorLosses::fdda()
        }
    }

    /// The distorted loss alone, with the weight of both.
    pub fn distorted_only() -> Self {
        GeneratorLosses {
            centralised: 0.0,
            distorted: 0.91,
            ..GeneratorLosses::fdda()
        }
    }

    /// Whether batches of one class are made.
    pub fn of_one_class(&self) -> bool {
        [self.single, self.centralised, self.distorted]
            .iter()
            .any(|w| *w != 0.0)
    }
}

/// Which images students read the ranges of their activations off. The moving averages of
/// [`StudentLevels::average`] follow the batches, and are fixed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum RangesFrom {
    /// The mixed batches of the generator's first so many steps, as the authors' code does: of a generator that has hardly
    /// begun to learn.
    FirstSteps(usize),
    /// The mixed batches of the last so many steps before students begin, a choice of this library.
    WarmedUp(usize),
    /// So many batches of the calibration images as they are, a choice of this library.
    Calibration(usize),
}

/// Settings of [`quantise`](super::quantise).
///
/// ```
/// use rebit::papers::fdda::{FddaConfig, GeneratorLosses};
/// let config = FddaConfig { warmup: 100, steps: 50, ..FddaConfig::small(3) };
/// assert!(config.check().is_ok());
/// assert_eq!(config.clone().gdfq().losses, Some(GeneratorLosses::gdfq()));
/// assert!(config.calibration_only().losses.is_none());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FddaConfig {
    /// What the generator learns; without, there is none, and students train on the calibration images alone.
    pub losses: Option<GeneratorLosses>,
    /// Its sizes.
    pub shape: GeneratorShape,
    /// Images of each of the generator's batches.
    pub batch: usize,
    /// Calibration images of a student's step; 0 trains students on generated images alone.
    pub real: usize,
    /// The students. The generator never looks at them, so several learn from one.
    pub students: Vec<StudentLevels>,
    /// Where the ranges of their activations come from.
    pub ranges: RangesFrom,
    /// Steps of the generator alone.
    pub warmup: usize,
    /// Steps after them, in each of which the generator moves first and then the students; may be 0.
    pub steps: usize,
    /// Learning rate of the generator's Adam, with betas 0.5 and 0.999.
    pub generator_lr: f32,
    /// How it falls over all steps.
    pub generator_schedule: Schedule,
    /// Learning rate of the students' SGD with Nesterov momentum 0.9 and weight decay 1e-4.
    pub lr: f32,
    /// Steps in which it falls to 0 along half a cosine; after as many it has risen again.
    pub cosine: usize,
    /// Weight of the distillation loss.
    pub alpha: f32,
    /// Its temperature.
    pub temperature: f32,
    /// Random parts of the calibration images.
    pub augment: Option<Augment>,
    /// Random parts of the generated images, before students and teacher see them.
    pub augment_generated: Option<Augment>,
    /// Seed of everything.
    pub seed: u64,
    /// Steps between two measurements of the students; 0 measures before and after training.
    pub eval_every: usize,
    /// Where the run keeps its state every [`save_every`](Self::save_every) steps, and continues from.
    pub checkpoint: Option<PathBuf>,
    /// Steps between two states on disk.
    pub save_every: usize,
    /// Live progress.
    pub show: bool,
}

/// Iterations of what the authors call an epoch.
const EPOCH: usize = 200;

impl FddaConfig {
    /// The authors' settings for ImageNet: 50 epochs of 200 steps for the generator, 350 with the student.
    ///
    /// The published numbers are of code without [`augment_generated`](Self::augment_generated); the newest has it.
    pub fn bits(bits: u32) -> Self {
        FddaConfig {
            losses: Some(GeneratorLosses::fdda()),
            shape: GeneratorShape::default(),
            batch: 16,
            real: 16,
            students: vec![StudentLevels::bits(bits).average(EmaRule::FromZero)],
            ranges: RangesFrom::FirstSteps(4 * EPOCH),
            warmup: 50 * EPOCH,
            steps: 350 * EPOCH,
            generator_lr: 1e-3,
            generator_schedule: Schedule::quarters(),
            lr: 1e-6,
            cosine: 100 * EPOCH,
            alpha: 20.0,
            temperature: 20.0,
            augment: Some(Augment::ResizedCrop {
                min_area: 0.08,
                flip: true,
            }),
            augment_generated: Some(Augment::ResizedCrop {
                min_area: 0.5,
                flip: true,
            }),
            seed: 0,
            eval_every: 0,
            checkpoint: None,
            save_every: 200,
            show: true,
        }
    }

    /// For small networks and two processor cores, a choice of this library: a generator of half the width, 600 and 200
    /// steps of 32 and 32 images, a student's learning rate of 1e-4, ranges off the generator as it is after its warm-up.
    pub fn small(bits: u32) -> Self {
        FddaConfig {
            shape: GeneratorShape::small(),
            batch: 32,
            real: 32,
            ranges: RangesFrom::WarmedUp(100),
            warmup: 600,
            steps: 200,
            generator_schedule: Schedule::Constant,
            lr: 1e-4,
            cosine: 200,
            ..FddaConfig::bits(bits)
        }
    }

    /// With other weights of what the generator learns.
    pub fn losses(self, losses: GeneratorLosses) -> Self {
        FddaConfig {
            losses: Some(losses),
            ..self
        }
    }

    /// The baseline: a generator without the classes' statistics, and calibration images.
    pub fn gdfq(self) -> Self {
        self.losses(GeneratorLosses::gdfq())
    }

    /// No generator: as many images a step, all of them calibration images, ranges off these too.
    pub fn calibration_only(self) -> Self {
        let generated = if self.losses.is_some() { self.batch } else { 0 };
        FddaConfig {
            losses: None,
            real: self.real + generated,
            ranges: RangesFrom::Calibration(100),
            warmup: 0,
            ..self
        }
    }

    /// What two runs must agree on to be the same run; everything but where it is kept and shown.
    pub(super) fn settings(&self) -> String {
        let bare = FddaConfig {
            checkpoint: None,
            save_every: 0,
            show: false,
            ..self.clone()
        };
        format!("{bare:?}")
    }

    /// The generator's steps whose batches students read ranges off.
    pub(super) fn range_steps(&self) -> std::ops::Range<usize> {
        match self.ranges {
            RangesFrom::FirstSteps(n) => 0..n.min(self.warmup),
            RangesFrom::WarmedUp(n) => self.warmup.saturating_sub(n)..self.warmup,
            RangesFrom::Calibration(_) => 0..0,
        }
    }

    /// The factor of the students' learning rate after `step` of their steps.
    pub(super) fn student_factor(&self, step: usize) -> f32 {
        let share = step as f32 / self.cosine.max(1) as f32;
        0.5 * (1.0 + (std::f32::consts::PI * share).cos())
    }

    /// Refuses settings that mean nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the setting.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: String, why: &str| Err(Error::invalid(what, why));
        for (name, lr) in [("generator's", self.generator_lr), ("students'", self.lr)] {
            if !(lr > 0.0 && lr.is_finite()) {
                return refuse(
                    format!("{name} learning rate {lr}"),
                    "must be above 0 and finite",
                );
            }
        }
        for (name, value) in [("alpha", self.alpha), ("temperature", self.temperature)] {
            if !(value >= 0.0 && value.is_finite()) {
                return refuse(format!("{name} {value}"), "must be finite and not below 0");
            }
        }
        if self.losses.is_some() && self.batch < 2 {
            return refuse(
                format!("batches of {} generated images", self.batch),
                "have no statistics; take at least 2",
            );
        }
        if self.losses.is_none() && self.real == 0 && self.steps > 0 {
            return refuse(
                "steps without a generator and without calibration images".into(),
                "have nothing to learn from",
            );
        }
        let generator = self.losses.is_some();
        let batches = match self.ranges {
            RangesFrom::Calibration(n) => n,
            _ if !generator => 0,
            _ => self.range_steps().len(),
        };
        if batches == 0 && !self.students.is_empty() {
            return refuse(
                format!("ranges from {:?}", self.ranges),
                "are those of no batch: a run without a generator takes RangesFrom::Calibration, one with it a warm-up",
            );
        }
        if self.cosine == 0 {
            return refuse("a cosine of 0 steps".into(), "must be at least 1");
        }
        self.students.iter().try_for_each(|levels| levels.check())
    }
}
