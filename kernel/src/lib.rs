//! The rebit kernel: sessions of compiled cells, and the front ends that use them.

pub mod error;
pub mod jupyter;
pub mod output;
pub mod render;
pub mod session;
pub mod workshop;

pub use error::{Error, Result};
