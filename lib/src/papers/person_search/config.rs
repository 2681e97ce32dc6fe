//! Settings of a joint training.

use std::path::PathBuf;

use crate::ops::focal::Focal;
use crate::train::Schedule;
use crate::{Error, Result};

/// Which loss reaches what. The score of a box never gets a gradient of the re-ID losses: it is in no crop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Whether the re-ID losses reach the detector, through the four coordinates of each box.
    pub boxes: bool,
    /// Whether they reach the weights of the re-ID network.
    pub reid: bool,
    /// Whether the detector has its own loss. Without it boxes drift to what is most telling.
    pub detection: bool,
}

impl Default for Routing {
    /// To the boxes alone, beside the detection loss: the re-ID network is frozen.
    fn default() -> Self {
        Routing {
            boxes: true,
            reid: false,
            detection: true,
        }
    }
}

/// Who moves when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turns {
    /// Detector and re-ID network in every step, each as far as the [`Routing`] lets it.
    #[default]
    Simultaneous,
    /// The detector alone for so many steps, then the re-ID network alone for as many, and so on.
    Alternating(usize),
}

/// What happens to a proposal that cannot be cut out: not finite, without area, or with less than
/// [`PersonSearchConfig::least`] pixels within the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unusable {
    /// It is left out and counted.
    #[default]
    Drop,
    /// The run ends with an error.
    Refuse,
}

/// The triplet loss against proxies, see [`proxy_triplet`](crate::ops::triplet::proxy_triplet).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proxies {
    /// Its weight beside the identity loss.
    pub weight: f32,
    /// Its margin, a distance of features of unit length.
    pub margin: f32,
    /// How much of itself a proxy keeps at an update.
    pub momentum: f32,
}

impl Default for Proxies {
    fn default() -> Self {
        Proxies {
            weight: 1.0,
            margin: 0.3,
            momentum: 0.5,
        }
    }
}

/// Settings of [`joint`](super::joint); all of them are choices of this library.
///
/// ```
/// use rebit::papers::person_search::PersonSearchConfig;
/// let config = PersonSearchConfig { lambda: 3.0, ..PersonSearchConfig::default() };
/// assert!(config.check().is_ok());
/// assert_eq!(config.control().lambda, 0.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PersonSearchConfig {
    /// Steps.
    pub steps: usize,
    /// Scenes of a step.
    pub scenes: usize,
    /// The most boxes of a scene that are cut out.
    pub per_scene: usize,
    /// The most of one person.
    pub per_person: usize,
    /// The least IoU with the annotated box of the person whose identity a box gets.
    pub overlap: f32,
    /// Weight of the re-ID losses; 0 trains the detector alone.
    pub lambda: f32,
    /// The triplet loss; `None` for the cross entropy alone.
    pub proxies: Option<Proxies>,
    /// Which loss reaches what.
    pub routing: Routing,
    /// Who moves when.
    pub turns: Turns,
    /// Learning rate of the detector's Adam.
    pub lr: f32,
    /// Learning rate of the re-ID network's Adam.
    pub reid_lr: f32,
    /// How both fall over the run.
    pub schedule: Schedule,
    /// The largest gradient of a box's own re-ID loss, before its weight: the length of the vector of its four
    /// coordinates, each in units of the box's width or height.
    pub clip: f32,
    /// The fewest pixels within the image, in height and in width, of a box that is cut out.
    pub least: f32,
    /// What happens to others.
    pub unusable: Unusable,
    /// The detector's loss of scores.
    pub focal: Focal,
    /// Seed of the batches.
    pub seed: u64,
    /// Where the run keeps its state every [`save_every`](Self::save_every) steps, and continues from.
    pub checkpoint: Option<PathBuf>,
    /// Steps between two states on disk.
    pub save_every: usize,
    /// Live progress.
    pub show: bool,
}

impl Default for PersonSearchConfig {
    fn default() -> Self {
        PersonSearchConfig {
            steps: 220,
            scenes: 8,
            per_scene: 6,
            per_person: 2,
            overlap: 0.5,
            lambda: 1.0,
            proxies: None,
            routing: Routing::default(),
            turns: Turns::default(),
            lr: 2e-4,
            reid_lr: 2e-4,
            schedule: Schedule::cosine(0.1),
            clip: 3.0,
            least: 4.0,
            unusable: Unusable::default(),
            focal: Focal {
                alpha: 0.5,
                gamma: 2.0,
            },
            seed: 0,
            checkpoint: None,
            save_every: 100,
            show: true,
        }
    }
}

impl PersonSearchConfig {
    /// The control: as many steps of the detection loss alone.
    pub fn control(self) -> Self {
        PersonSearchConfig {
            lambda: 0.0,
            proxies: None,
            routing: Routing::default(),
            turns: Turns::Simultaneous,
            ..self
        }
    }

    /// What two runs must agree on to be the same run.
    pub(super) fn settings(&self) -> String {
        let bare = PersonSearchConfig {
            checkpoint: None,
            save_every: 0,
            show: false,
            ..self.clone()
        };
        format!("{bare:?}")
    }

    /// Who moves in a step: the detector, the re-ID network.
    pub(super) fn moves(&self, step: usize) -> (bool, bool) {
        match self.turns {
            Turns::Simultaneous => (true, self.routing.reid),
            Turns::Alternating(steps) => {
                let second = step / steps.max(1) % 2 == 1;
                (!second, second)
            }
        }
    }

    /// Refuses settings that mean nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the setting.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: String, why: &str| Err(Error::invalid(what, why));
        if self.scenes == 0 || self.per_scene == 0 || self.per_person == 0 {
            let what = format!(
                "{} scenes of {} boxes, {} of a person",
                self.scenes, self.per_scene, self.per_person
            );
            return refuse(what, "each must be at least 1");
        }
        for (name, value) in [
            ("lr", self.lr),
            ("reid_lr", self.reid_lr),
            ("clip", self.clip),
        ] {
            if !(value > 0.0 && value.is_finite()) {
                return refuse(format!("{name} {value}"), "must be above 0 and finite");
            }
        }
        for (name, value) in [("lambda", self.lambda), ("least", self.least)] {
            if !(value >= 0.0 && value.is_finite()) {
                return refuse(format!("{name} {value}"), "must be finite and not below 0");
            }
        }
        if !(0.0..=1.0).contains(&self.overlap) {
            let what = format!("overlap {}", self.overlap);
            return refuse(what, "is an IoU, from 0 to 1");
        }
        if let Some(p) = self.proxies
            && !(p.weight >= 0.0 && p.margin >= 0.0 && (0.0..=1.0).contains(&p.momentum))
        {
            let why = "weight and margin are not below 0, the momentum is from 0 to 1";
            return refuse(format!("{p:?}"), why);
        }
        let Routing {
            boxes,
            reid,
            detection,
        } = self.routing;
        if self.lambda == 0.0 && (reid || !detection) {
            let why = "leaves the re-ID losses out, and something has no other loss";
            return refuse("lambda 0".into(), why);
        }
        if !boxes && !detection && !reid {
            return refuse("a routing of no loss".into(), "trains nothing");
        }
        match self.turns {
            Turns::Alternating(0) => refuse("turns of 0 steps".into(), "must be at least 1"),
            Turns::Alternating(_) if !reid => {
                let why = "need a re-ID network that is trained: set routing.reid";
                refuse("alternating turns".into(), why)
            }
            _ => Ok(()),
        }
    }
}
