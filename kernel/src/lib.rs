//! The rebit kernel: sessions of compiled cells, and the front ends that use them.

pub mod error;
pub mod output;
pub mod session;
pub mod supervisor;
pub mod workshop;

pub use error::{Error, Result};
