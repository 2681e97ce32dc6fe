//! FDDA: fine-grained data distribution alignment, post-training quantisation with one real image a class.
//!
//! One image a class is too little to train a low-bit network on, but it says where in each deep layer the statistics of
//! its class lie. A generator is trained until its images have the statistics of the whole training set (what batch norms
//! remember) and, those of one class, the statistics of that class ([`Centres`]): to the point (the centralised loss) and
//! with noise around it (the distorted loss, [`distorted`]). [`quantise`] then trains low-bit copies of the network on the
//! real images and the generated ones together.
//!
//! Source: Zhong et al., arXiv:2109.04186 (abstract), and the authors' code; where both differ, the code.

mod centres;
mod config;
mod generator;
mod losses;
mod run;
mod state;
mod student;
#[cfg(test)]
mod tests;

pub use centres::{Centres, batch_statistics, first_deep_norm, one_image_per_class};
pub use config::{FddaConfig, GeneratorLosses, RangesFrom};
pub use generator::{Drawn, GeneratorShape, SingleClass, generate, generator};
pub use losses::{Distortion, GeneratorLoss, distorted, generator_loss, statistics_loss};
pub use run::{FddaRun, FddaTrace, quantise};
