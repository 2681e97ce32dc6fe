//! Around the quantisers of [`crate::ops`]: where their bounds come from, and what leaves as integers.
//!
//! The quantiser itself (formula, gradient, [`Bounds`], [`FakeQuant`]) is an op and lives in
//! [`crate::ops::fake_quant`]; its names are repeated here.

pub(crate) mod blocks;
mod display;
mod ema;
mod ends;
mod export;
mod histogram;
mod level_use;
mod range;
mod search;

use crate::Result;
pub use crate::ops::fake_quant::{Bounds, FakeQuant, levels};
pub use ema::{Ema, EmaRule};
pub use export::{Quantised, quantise, quantise_values};
pub use histogram::Histogram;
pub use level_use::LevelUse;
pub use range::{Range, RangeFrom, RangeObserver, RangeUpdate};

/// `[-3 std, 3 std]` of a weight tensor, the LTS initialisation: [`Range::LtsWeight`].
///
/// # Errors
/// As [`Range::bounds`].
pub fn weight_three_sigma(w: &[f32]) -> Result<Bounds> {
    Range::LtsWeight.bounds(w)
}

/// `[min, 3 std / sqrt(1 - 2/pi)]` of an activation: [`Range::LtsActivation`].
///
/// # Errors
/// As [`Range::bounds`].
pub fn activation_three_sigma(x: &[f32]) -> Result<Bounds> {
    Range::LtsActivation.bounds(x)
}
