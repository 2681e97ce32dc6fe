//! A step, done and noted.

use rebit::Result;

use super::exchange::{Begun, Steps};

/// Does and notes a step that returns its loss, or another number.
pub fn timed(told: &mut Steps, step: impl FnOnce() -> Result<f32>) -> Result<()> {
    let begun = Begun::now();
    let loss = step()?;
    told.end(begun, loss);
    Ok(())
}
