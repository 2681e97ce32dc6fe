//! LTS: freezing the partly scratch-off lottery ticket in quantisation-aware training.
//!
//! Most weights reach the level they will end at long before training ends. LTS smooths each weight's
//! distance to its level and freezes the weight for good when the distance falls under a threshold that
//! grows with training. [`quantise`] gives a network the quantisers and returns the [`Lts`] that steers them
//! as an observer of [`crate::train::train_with`].
//!
//! Source: Zhong et al., arXiv:2211.08544, and the authors' code of 2023. The op itself is
//! [`crate::ops::lts_weight`].

mod config;
mod criterion;
mod layer;
mod observer;
mod plan;
mod quantise;
mod recipe;
mod record;
mod shadow;
mod state;
#[cfg(test)]
mod tests;
mod timing;
mod trial;

pub use config::{Ends, LtsConfig, Quantiser, Selection, Threshold};
pub use criterion::{Criterion, Seen};
pub use observer::Lts;
pub use plan::Plan;
pub use quantise::{quantise, quantise_by};
pub use recipe::Recipe;
pub use record::{LayerShare, LtsReport, expected_share};
pub use shadow::{ShadowRates, WrongFreeze};
pub use timing::{BackwardTime, Pattern, time_backward};
pub use trial::{Trial, train, train_by};
