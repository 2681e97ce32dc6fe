//! Training: the loop, optimiser groups, learning-rate schedules, checkpoints.
//!
//! [`train`] runs a [`crate::nn::Net`] over a [`crate::data::Dataset`] with live progress; an [`Observer`]
//! looks at (or steers) every step, which is how papers add their own rules without a loop of their own.

mod classify;
mod config;
mod detector;
mod evaluate;
mod history;
mod leaf;
mod losses;
mod masked;
mod observer;
mod optimiser;
mod reid;
mod resume;
mod rules;
mod run_file;
mod schedule;
mod super_resolution;
mod task;
#[cfg(test)]
pub(crate) mod tests;
mod trainer;
mod view;

pub use classify::{optimiser, train, train_with, try_train};
pub use config::{BoundRule, TrainConfig};
pub use detector::{
    CellTargets, TrainDetectorConfig, detection_loss, mean_overlap, scene_batch, train_detector,
};
pub use evaluate::{accuracy, top1, try_accuracy};
pub use history::{EpochRecord, History};
pub use leaf::Leaf;
pub use losses::{
    distillation, moments_loss, squared_error, total, try_distillation, try_moments_loss,
    try_squared_error, try_total,
};
pub use masked::{Deviation, masked_error, try_masked_error};
pub use observer::{Observer, Step, StepLosses, from_bytes, to_bytes};
pub use optimiser::{Groups, Optimiser, Owned, Picks, Select};
pub use reid::{TrainReidConfig, crop_map, train_reid};
pub use resume::{check_same_run, norms_fingerprint, read_state, state_file, write_state};
pub use rules::{Adam, Rule, RuleStep, Sgd};
pub use run_file::RunFile;
pub use schedule::Schedule;
pub use super_resolution::{
    PatchError, SrConfig, SrHistory, SrScore, enlarge, evaluate_bicubic, evaluate_sr, score_images,
    train_sr,
};
pub use task::{Loss, Task};
pub use trainer::Trainer;
pub use view::Shown;
