//! One row of a comparison.

use super::{Lts, LtsConfig, LtsReport, quantise};
use crate::Result;
use crate::data::ImageSource;
use crate::nn::Net;
use crate::train::{History, TrainConfig, train_with};

/// A finished training under LTS.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Losses, accuracies and times.
    pub history: History,
    /// Savings and masks.
    pub report: LtsReport,
}

/// Quantises `net` as `lts` says and trains it: [`quantise`], then [`train_with`].
///
/// # Errors
/// As these two.
pub fn train(
    net: &Net,
    train_set: &dyn ImageSource,
    test_set: &dyn ImageSource,
    config: &TrainConfig,
    lts: LtsConfig,
) -> Result<Trial> {
    train_by(net, train_set, test_set, config, quantise(net, lts)?)
}

/// Trains a quantised `net` under its observer, from [`quantise`] or [`super::quantise_by`].
///
/// # Errors
/// As [`train_with`].
pub fn train_by(
    net: &Net,
    train_set: &dyn ImageSource,
    test_set: &dyn ImageSource,
    config: &TrainConfig,
    mut observer: Lts,
) -> Result<Trial> {
    let history = train_with(net, train_set, test_set, config, &mut observer)?;
    Ok(Trial {
        history,
        report: observer.report(),
    })
}
