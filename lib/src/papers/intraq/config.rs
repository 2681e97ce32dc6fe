//! Settings of the synthesis: which losses pull at the pixels, how strongly they move, for how long.

use std::path::PathBuf;

use crate::{Error, Result};

/// Local object reinforcement: in some steps the network sees a part of each image, enlarged to the whole.
///
/// With probability [`probability`](Self::probability) a step shows parts, one for each image: a share of the area drawn
/// from `[min_area, 1]`, an aspect ratio of 3/4 to 4/3, a place; resized bilinearly, mirrored with probability one half.
/// The gradient goes through the resizing into the pixels.
///
/// Source: arXiv:2111.09136, local object reinforcement; one coin for the batch and the mirroring as in the authors' code.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Reinforcement {
    /// Share of the steps that show parts.
    pub probability: f32,
    /// The smallest share of the area, eta.
    pub min_area: f32,
}

/// The loss on the class of an image.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Inception {
    /// None: images of no class; they are labelled by the network's answer.
    None,
    /// Cross entropy: the baselines' "inception loss".
    Hard,
    /// The squared distance of the class's probability from a target that is drawn once for each image, see
    /// [`soft_inception_loss`](super::soft_inception_loss).
    Soft {
        /// The lowest target, epsilon.
        lowest: f32,
        /// Share of the images with a target in `[lowest, 1]`; that of the others is 1. 1/2 in the authors' code.
        share: f32,
    },
}

/// The marginal distance constraint: how near and how far from the centre of its class an image's features may lie, as
/// cosine distances; see [`marginal_distance_loss`](super::marginal_distance_loss).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Margins {
    /// lambda_l: nearer ones are pushed away.
    pub lower: f32,
    /// lambda_u: farther ones are pulled back.
    pub upper: f32,
}

/// The learning rate of the pixels over a batch's steps.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum PixelSchedule {
    /// Times `factor` after more than `patience` steps without a loss below `(1 - 1e-4)` of the best, but never below
    /// `lowest`: what the authors use. Shorter runs want a cosine: parts switch the loss up and down, and a short patience
    /// takes that for a plateau.
    Plateau {
        /// Multiplier.
        factor: f32,
        /// Steps that are waited.
        patience: usize,
        /// The lowest learning rate.
        lowest: f32,
    },
    /// Half a cosine down to `lowest`.
    Cosine {
        /// The last learning rate.
        lowest: f32,
    },
}

/// Settings of [`synthesise`](super::synthesise).
///
/// ```
/// use rebit::papers::intraq::IntraqConfig;
/// let config = IntraqConfig { images: 64, batch: 32, iterations: 10, ..IntraqConfig::default() };
/// assert!(config.check().is_ok());
/// assert!(IntraqConfig { batch: 0, ..config }.check().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct IntraqConfig {
    /// Images in all.
    pub images: usize,
    /// Images that are made together; the statistics are theirs.
    pub batch: usize,
    /// Steps of each batch.
    pub iterations: usize,
    /// Adam's learning rate for the pixels.
    pub lr: f32,
    /// How it falls.
    pub schedule: PixelSchedule,
    /// Local object reinforcement.
    pub reinforcement: Option<Reinforcement>,
    /// The marginal distance constraint; the first batch has no centres yet.
    pub margins: Option<Margins>,
    /// The loss on the class.
    pub inception: Inception,
    /// The node whose activation is an image's features: what the last layer reads, if nothing is said.
    pub features: Option<String>,
    /// Seed of noise, labels, targets and parts.
    pub seed: u64,
    /// Where the run keeps its state every [`save_every`](Self::save_every) steps, and continues from.
    pub checkpoint: Option<PathBuf>,
    /// Steps between two states on disk.
    pub save_every: usize,
    /// Live progress.
    pub show: bool,
}

impl Default for IntraqConfig {
    /// The authors' settings for CIFAR-10.
    fn default() -> Self {
        IntraqConfig {
            images: 5120,
            batch: 256,
            iterations: 1000,
            lr: 0.5,
            schedule: PixelSchedule::Plateau {
                factor: 0.1,
                patience: 50,
                lowest: 1e-4,
            },
            reinforcement: Some(Reinforcement {
                probability: 0.5,
                min_area: 0.5,
            }),
            margins: Some(Margins {
                lower: 0.05,
                upper: 0.8,
            }),
            inception: Inception::Soft {
                lowest: 0.95,
                share: 0.5,
            },
            features: None,
            seed: 0,
            checkpoint: None,
            save_every: 100,
            show: true,
        }
    }
}

impl IntraqConfig {
    /// The authors' settings for CIFAR-100.
    pub fn cifar100() -> Self {
        IntraqConfig {
            margins: Some(Margins {
                lower: 0.02,
                upper: 1.0,
            }),
            inception: Inception::Soft {
                lowest: 0.6,
                share: 0.5,
            },
            ..IntraqConfig::default()
        }
    }

    /// For small networks and two processor cores: 512 images in batches of 128, 300 steps
    /// with a cosine, a choice of this library.
    pub fn small() -> Self {
        IntraqConfig {
            images: 512,
            batch: 128,
            iterations: 300,
            schedule: PixelSchedule::Cosine { lowest: 1e-3 },
            ..IntraqConfig::default()
        }
    }

    /// The baseline "BN + IL": statistics and cross entropy, none of the paper's three remedies.
    pub fn homogeneous(self) -> Self {
        IntraqConfig {
            reinforcement: None,
            margins: None,
            inception: Inception::Hard,
            ..self
        }
    }

    /// Statistics alone: images without a class.
    pub fn statistics_only(self) -> Self {
        IntraqConfig {
            inception: Inception::None,
            ..self.homogeneous()
        }
    }

    /// What two runs must agree on to be the same run; everything but where it is kept and shown.
    pub(super) fn settings(&self) -> String {
        let bare = IntraqConfig {
            checkpoint: None,
            save_every: 0,
            show: false,
            ..self.clone()
        };
        format!("{bare:?}")
    }

    /// Refuses settings that mean nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the setting.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: String, why: &str| Err(Error::invalid(what, why));
        let share = |x: f32| (0.0..=1.0).contains(&x);
        for (name, count) in [
            ("images", self.images),
            ("batch", self.batch),
            ("iterations", self.iterations),
        ] {
            if count == 0 {
                return refuse(format!("{name} 0"), "must be at least 1");
            }
        }
        if !(self.lr > 0.0 && self.lr.is_finite()) {
            return refuse(
                format!("learning rate {}", self.lr),
                "must be above 0 and finite",
            );
        }
        if let Some(Reinforcement {
            probability,
            min_area,
        }) = self.reinforcement
            && !(share(probability) && min_area > 0.0 && min_area <= 1.0)
        {
            return refuse(
                format!("parts with probability {probability} and area {min_area}"),
                "are shares: 0 to 1, and the area above 0",
            );
        }
        if let Some(Margins { lower, upper }) = self.margins
            && !(0.0 <= lower && lower <= upper && upper <= 2.0)
        {
            return refuse(
                format!("margins {lower} and {upper}"),
                "are cosine distances in ascending order: 0 to 2",
            );
        }
        if let Inception::Soft {
            lowest,
            share: of_images,
        } = self.inception
            && !(share(lowest) && share(of_images))
        {
            return refuse(
                format!("soft targets from {lowest} for a share {of_images}"),
                "are shares: 0 to 1",
            );
        }
        Ok(())
    }
}
