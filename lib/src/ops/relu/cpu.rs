//! Rectifiers on the CPU.

use dfdx::prelude::Cpu;

use super::{Activation, ActivationKernel};
use crate::error::Result;
use crate::ops::parallel::{expect_len, map, map2, update, update2};
use crate::tensors::CpuBuffer as Buffer;

/// `value` clamped to `lowest..=highest`; NaN stays NaN (`f32::max` would hide it).
#[inline(always)]
fn clamp(value: f32, (lowest, highest): (f32, f32)) -> f32 {
    let raised = if value < lowest { lowest } else { value };
    if raised > highest { highest } else { raised }
}

/// `gradient` where the output lies strictly between the corners (or is NaN), else 0; a corner that is NaN is none.
#[inline(always)]
fn pass(y: f32, gradient: f32, (lowest, highest): (f32, f32)) -> f32 {
    if y <= lowest || y >= highest {
        0.0
    } else {
        gradient
    }
}

impl ActivationKernel for Cpu {
    fn activate(&self, act: Activation, x: &Buffer, y: &mut Buffer) -> Result<()> {
        expect_len("activate", "y", x.len(), y.len())?;
        let bounds = act.bounds();
        map(x, y, move |x| clamp(x, bounds));
        Ok(())
    }

    fn activate_grad(
        &self,
        act: Activation,
        y: &Buffer,
        dy: &Buffer,
        dx: &mut Buffer,
        accumulate: bool,
    ) -> Result<()> {
        expect_len("activate_grad", "dy", y.len(), dy.len())?;
        expect_len("activate_grad", "dx", y.len(), dx.len())?;
        let bounds = act.corners();
        if accumulate {
            update2(y, dy, dx, move |dx, y, dy| dx + pass(y, dy, bounds));
        } else {
            map2(y, dy, dx, move |y, dy| pass(y, dy, bounds));
        }
        Ok(())
    }

    fn add(&self, a: &Buffer, b: &Buffer, y: &mut Buffer) -> Result<()> {
        expect_len("add", "b", a.len(), b.len())?;
        expect_len("add", "y", a.len(), y.len())?;
        map2(a, b, y, |a, b| a + b);
        Ok(())
    }

    fn accumulate(&self, from: &Buffer, into: &mut Buffer) -> Result<()> {
        expect_len("accumulate", "into", from.len(), into.len())?;
        update(from, into, |into, from| into + from);
        Ok(())
    }
}
