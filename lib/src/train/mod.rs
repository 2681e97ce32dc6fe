//! Training: the loop, optimiser groups, learning-rate schedules, checkpoints.
//!
//! [`train`] runs a [`crate::nn::Net`] over a [`crate::data::Dataset`] with live progress; an [`Observer`]
//! looks at (or steers) every step, which is how papers add their own rules without a loop of their own.

mod adam;
mod config;
mod evaluate;
mod history;
mod optimiser;
mod resume;
mod run;
mod schedule;
mod super_resolution;
#[cfg(test)]
pub(crate) mod tests;
mod view;

pub use adam::Adam;
pub use config::{BoundRule, TrainConfig};
pub use evaluate::{accuracy, try_accuracy};
pub use history::{EpochRecord, History};
pub use optimiser::Optimiser;
pub use resume::state_file;
pub use run::{Observer, Step, train, train_with, try_train};
pub use schedule::Schedule;
pub(crate) use super_resolution::check_loss;
pub use super_resolution::{
    SrConfig, SrHistory, SrScore, enlarge, evaluate_bicubic, evaluate_sr, score_images, train_sr,
};
