//! rebit: quantisation-aware training for Rust notebooks, on dfdx.
//!
//! Everything a cell touches is concrete (one device, `f32`, run-time shapes), so cells compile in a
//! fraction of a second while the work happens in this library, compiled once at full optimisation.

pub mod boxes;
mod buffer;
pub mod cell;
pub mod data;
pub mod error;
mod files;
pub mod gpu;
pub mod integer;
mod memory;
pub mod metrics;
pub mod nn;
pub mod onnx;
pub mod ops;
pub mod papers;
pub mod plot;
pub mod prelude;
pub mod ptq;
pub mod quant;
pub mod show;
mod tensors;
pub mod train;

#[cfg(feature = "_emu")]
use rebit_cuda_emulator as _;

pub use buffer::{HostAccess, buffer};
pub use error::{Error, Result};
pub use tensors::*;
pub use {dfdx, plotters};
