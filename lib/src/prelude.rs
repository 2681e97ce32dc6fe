//! What a notebook sees.

pub use crate::error::{Error, Result};
pub use crate::tensors::*;
pub use dfdx::prelude::{HasShape as _, SplitTape as _, Trace as _};
