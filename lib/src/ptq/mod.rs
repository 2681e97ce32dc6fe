//! Quantising a trained network without training it: from a network and some hundred images to a network on levels, and
//! what that cost, layer by layer.
//!
//! ```
//! use rebit::prelude::*;
//! let net = resnet20(10, rng(0));
//! let calibration = images(16, 3, 32, 32, &mut rng(1));
//! let (q, report) = post_training(&net, &calibration, &PtqConfig::bits(8))?;
//! println!("{report}");
//! assert_eq!(q.predict(&calibration)?.shape(), &(16, 10));
//! # Ok::<(), Error>(())
//! ```
//!
//! [`post_training()`] puts the parts together as its [`PtqConfig`] says; each can be called alone: batch norms folded
//! ([`Net::folded`](crate::nn::Net::folded)), ranges of neighbouring layers evened out ([`equalise()`]), ranges read
//! ([`crate::quant::RangeObserver`]), the means of a layer's output put back ([`correct_bias`]), rounding that is learned
//! ([`round_adaptively`]), running statistics of a quantised network estimated anew ([`reestimate_norms`]). What each layer
//! costs alone is its [`sensitivity()`], and [`allocate_bits`] spends a budget of bytes by it. Where training follows after
//! all, [`distil()`] fine-tunes what was made, [`student()`] makes the low-bit copy and [`student_loss`] says what it learns from its teacher.
//!
//! Everything here stands on what a notebook sees.

mod adaround;
mod allocate;
mod analytic;
mod calibration;
mod config;
mod correct;
mod distil;
mod equalise;
mod graph;
mod norms;
mod place;
mod post_training;
mod report;
mod sensitivity;
mod student;
#[cfg(test)]
mod tests;

pub use adaround::{AdaRoundConfig, round_adaptively};
pub use allocate::{Allocation, BitBudget, allocate_bits};
pub use analytic::{correct_bias_analytically, input_means};
pub use config::{Correction, LayerBits, PtqConfig};
pub use correct::correct_bias;
pub use distil::{DistilConfig, distil};
pub use equalise::{Equalised, equalise};
pub use norms::reestimate_norms;
pub use post_training::post_training;
pub use report::{LayerReport, PtqReport};
pub use sensitivity::{
    LayerSensitivity, Sensitivity, SensitivityConfig, sensitivity, sensitivity_with,
};
pub use student::{StudentLevels, StudentRun, student, student_loss};
