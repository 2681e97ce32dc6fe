//! DDTB: super-resolution networks in 2 to 4 bits with dynamic dual trainable bounds.
//!
//! Networks for super-resolution have no batch norm to tame their activations: the ranges are asymmetric and differ from
//! image to image. DDTB gives each activation two trained bounds and, where the ranges vary most, a tiny gate
//! that rescales both for every image. [`quantise`] puts quantisers at the sites of a network and returns the
//! [`Ddtb`] that steers them through calibration, static and active phase; [`train`] is the whole recipe.
//!
//! Source: Zhong et al., arXiv:2203.03844, and the authors' code. The op is [`crate::ops::bound_quant`]. The baseline
//! PAMS is Li et al., arXiv:2011.04212.

mod attention;
mod config;
mod controller;
mod gate;
mod record;
mod site;
#[cfg(test)]
mod tests;
mod train;
mod workbench;

pub use crate::nn::pretrained_edsr;
pub use crate::quant::LevelUse;
pub use attention::{AttentionTransfer, attention_loss, try_attention_loss};
pub use config::{Bounding, DdtbConfig, GateGradient, Gates};
pub use controller::{Ddtb, Phase, quantise};
pub use record::SiteRecord;
pub use train::{DdtbRun, fine_tune_without_body, quantised_edsr, train};
pub use workbench::{Trial, Workbench};
