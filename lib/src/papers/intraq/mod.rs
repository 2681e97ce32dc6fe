//! IntraQ: synthetic images with intra-class heterogeneity for zero-shot quantisation.
//!
//! A network is to be quantised and no image of its training set is at hand. [`synthesise`] makes images from the network
//! alone; [`finetune`] trains a low-bit copy on them with the network as its teacher. Images that only match statistics and
//! class are all alike; three remedies keep them apart: parts of images in place of the whole ([`Reinforcement`]), margins
//! around the centre of a class ([`Margins`]) and probabilities that need not be 1 ([`Inception::Soft`]).
//!
//! Source: Zhong et al., arXiv:2111.09136, and the authors' code; where both differ, the code.

mod centres;
mod config;
mod draw;
mod losses;
mod state;
mod student;
mod synthesis;
#[cfg(test)]
mod tests;

pub use crate::ptq::StudentRun;
pub use centres::Centres;
pub use config::{Inception, IntraqConfig, Margins, PixelSchedule, Reinforcement};
pub use draw::{Parts, Start};
pub use losses::{marginal_distance_loss, soft_inception_loss};
pub use student::{StudentConfig, finetune, quantised};
pub use synthesis::{LossTrace, Synthetic, synthesise};
