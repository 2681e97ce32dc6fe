//! What a notebook sees.

pub use crate::data;
pub use crate::error::{Error, Result};
pub use crate::show::{
    self, Budget, LiveDisplay, Progress, Show, Table, budget, check_interrupt, display, progress,
    spread,
};
pub use crate::tensors::*;
pub use crate::{claim, finding};
pub use dfdx::prelude::{HasShape as _, SplitTape as _, Trace as _};
