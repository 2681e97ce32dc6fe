//! Settings of a training.

use std::path::PathBuf;

use crate::nn::UNetConfig;
use crate::{Error, Result};

/// What tells a texture whether it is right.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Supervision {
    /// The features of the re-ID network in its layers: `sum_l c_l (1 - cos_l)`, the paper's choice.
    Layers,
    /// The same, and the pooled feature as in [`Pooled`](Self::Pooled).
    LayersAndPooled,
    /// The pooled feature of the network: `1 - cos`.
    Pooled,
    /// What the classifiers of the network say: binary cross entropy of their softmax.
    Softmax,
    /// The batch-hard triplet loss: the composites are the anchors, the pictures positives and negatives.
    Triplet {
        /// By how much a negative is to be farther.
        margin: f32,
    },
    /// No network: the mean absolute difference of pixels within the silhouette.
    Pixels,
    /// Layers and pixels, each with weight 1.
    LayersAndPixels,
    /// The true texture, by its L1 distance: an oracle, which no real setting has.
    Texture,
}

/// What stands behind the rendered person when a re-ID network looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Background {
    /// That of another picture, at random, as in the paper.
    #[default]
    Random,
    /// The picture's own.
    Own,
    /// Random, and features are compared where the person is only.
    Masked,
    /// Black.
    Black,
}

/// Settings of [`train`](super::train).
///
/// ```
/// use rebit::papers::reid_texture::{Supervision, TextureConfig};
/// let pixels = TextureConfig { supervision: Supervision::Pixels, ..TextureConfig::small() };
/// assert!(pixels.check().is_ok());
/// assert!(TextureConfig { steps: 0, ..pixels }.check().is_err());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TextureConfig {
    /// The generator.
    pub net: UNetConfig,
    /// What it learns from.
    pub supervision: Supervision,
    /// What stands behind the person.
    pub background: Background,
    /// Weight of the loss on faces and hands, the mean square of `(T - T_real) m` with `T` from -1 to 1; 0 for none.
    pub face: f32,
    /// Whether the body is rendered in the pose of another picture of the batch, and not in its own.
    pub other_pose: bool,
    /// Whether the network sees a grey picture always: it can learn one texture for all.
    pub blind: bool,
    /// Steps.
    pub steps: usize,
    /// People of a step, and pictures of each.
    pub batch: (usize, usize),
    /// Learning rate of Adam.
    pub lr: f32,
    /// At which share of the steps it falls to a fifth; above 1 for never.
    pub fall: f32,
    /// Weight decay, decoupled.
    pub decay: f32,
    /// Seed of weights and batches.
    pub seed: u64,
    /// Where the run keeps its state every [`save_every`](Self::save_every) steps, and continues from.
    pub checkpoint: Option<PathBuf>,
    /// Steps between two states on disk.
    pub save_every: usize,
    /// Live progress.
    pub show: bool,
}

impl TextureConfig {
    /// The authors' settings: 120 epochs of about 540 steps of 4 people with 4 pictures each, for pictures of 128x64.
    pub fn paper() -> Self {
        TextureConfig {
            net: UNetConfig::default(),
            supervision: Supervision::Layers,
            background: Background::Random,
            face: 1.0,
            other_pose: false,
            blind: false,
            steps: 120 * 540,
            batch: (4, 4),
            lr: 1e-4,
            fall: 2.0,
            decay: 1e-5,
            seed: 0,
            checkpoint: None,
            save_every: 540,
            show: true,
        }
    }

    /// For pictures of 64x32 and two processor cores, a choice of this library: the small U-Net, 700 steps, a learning rate
    /// of 1e-3 that falls to a fifth at three quarters, a weight of 2 for faces and hands.
    pub fn small() -> Self {
        TextureConfig {
            net: UNetConfig::small(),
            face: 2.0,
            steps: 700,
            lr: 1e-3,
            fall: 0.75,
            save_every: 100,
            ..TextureConfig::paper()
        }
    }

    /// With another supervision.
    pub fn supervised_by(self, supervision: Supervision) -> Self {
        TextureConfig {
            supervision,
            ..self
        }
    }

    /// What two runs must agree on to be the same run; everything but where it is kept and shown.
    pub(super) fn settings(&self) -> String {
        let bare = TextureConfig {
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
        if self.steps == 0 {
            return refuse("a training of 0 steps".into(), "learns nothing");
        }
        let (people, pictures) = self.batch;
        if people * pictures == 0 {
            let what = format!("batches of {people} people with {pictures} pictures");
            return refuse(what, "both must be at least 1");
        }
        if matches!(self.supervision, Supervision::Triplet { .. }) && people < 2 {
            return refuse("a triplet loss of one person".into(), "has no negative");
        }
        if !(self.lr > 0.0 && self.lr.is_finite()) {
            let what = format!("learning rate {}", self.lr);
            return refuse(what, "must be above 0 and finite");
        }
        for (name, value) in [
            ("face weight", self.face),
            ("weight decay", self.decay),
            ("fall", self.fall),
        ] {
            if !(value >= 0.0 && value.is_finite()) {
                return refuse(format!("{name} {value}"), "must be a number from 0 on");
            }
        }
        Ok(())
    }
}
