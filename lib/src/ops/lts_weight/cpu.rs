//! The LTS weight quantiser on the CPU: one pass over the weight and its state each way.

use dfdx::prelude::{Cpu, Storage};
use rayon::prelude::*;

use super::{LtsCounts, LtsState, LtsStep, LtsWeightKernel};
use crate::error::Result;
use crate::ops::fake_quant::{BoundGrad, BoundSums, FakeQuant};
use crate::ops::parallel::{CHUNK, LANES, expect_len, wide};
use crate::tensors::Buffer;

/// One chunk of a layer's state.
struct Part<'a> {
    w: &'a [f32],
    distance: &'a mut [f32],
    previous: &'a mut [f32],
    frozen: &'a mut [bool],
    saved: &'a mut [f32],
    y: &'a mut [f32],
}

#[inline(always)]
fn train_chunk(part: Part, f: FakeQuant, step: LtsStep) -> LtsCounts {
    let delta = f.step();
    let keep = step.momentum;
    // Distances are at least 0: a negative limit is never met.
    let limit = step.threshold.map_or(-1.0, |rate| rate * delta);
    let (mut frozen, mut newly_frozen, mut flipped) = (0u32, 0u32, 0u32);
    let states = part.distance.iter_mut().zip(part.previous).zip(part.frozen);
    let values = part.w.iter().zip(part.saved).zip(part.y);
    for (((distance, previous), bit), ((&w, saved), y)) in states.zip(values) {
        let value = effective(*bit, *saved, w);
        let n = f.normalise(value);
        let q = f.round(n);
        let changed = q != *previous;
        let smoothed = (1.0 - keep) * (n - q).abs() + keep * *distance;
        let now = if changed { delta } else { smoothed };
        let settled = now <= limit && !*bit;
        flipped += (changed && !previous.is_nan()) as u32;
        newly_frozen += settled as u32;
        *bit |= settled;
        frozen += *bit as u32;
        *distance = now;
        *previous = q;
        *saved = value;
        *y = f.scale * q + f.offset;
    }
    LtsCounts {
        frozen: frozen as usize,
        newly_frozen: newly_frozen as usize,
        flipped: flipped as usize,
    }
}

#[inline(always)]
fn effective(frozen: bool, saved: f32, w: f32) -> f32 {
    if frozen { saved } else { w }
}

#[inline(always)]
fn grad_chunk(
    w: &[f32],
    f: FakeQuant,
    frozen: &[bool],
    saved: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    accumulate: bool,
) -> (f64, f64) {
    let slope = f.scale / (f.upper - f.lower);
    let mut sums = BoundSums::ZERO;
    let entries = w.iter().zip(frozen).zip(saved).zip(dy).zip(dw);
    for (i, ((((&w, &frozen), &saved), &dy), dw)) in entries.enumerate() {
        let g = slope * sums.add(i % LANES, f.normalise(effective(frozen, saved, w)), dy);
        let before = if accumulate { *dw } else { 0.0 };
        *dw = before + if frozen { 0.0 } else { g };
    }
    sums.total()
}

fn check(op: &'static str, f: FakeQuant, state: &LtsState<Buffer>, len: usize) -> Result<()> {
    f.check()?;
    expect_len(op, "state.distance", len, state.distance.len())?;
    expect_len(op, "state.previous", len, state.previous.len())?;
    expect_len(op, "state.frozen", len, state.frozen.len())?;
    expect_len(op, "state.saved", len, state.saved.len())
}

impl LtsWeightKernel for Cpu {
    fn lts_state(&self, len: usize) -> Result<LtsState<Buffer>> {
        let mut previous = <Cpu as Storage<f32>>::try_alloc_len(self, len)?;
        previous.fill(f32::NAN);
        Ok(LtsState {
            distance: <Cpu as Storage<f32>>::try_alloc_len(self, len)?,
            previous,
            frozen: vec![false; len],
            saved: <Cpu as Storage<f32>>::try_alloc_len(self, len)?,
        })
    }

    fn lts_weight_forward(
        &self,
        w: &Buffer,
        f: FakeQuant,
        step: Option<LtsStep>,
        state: &mut LtsState<Buffer>,
        y: &mut Buffer,
    ) -> Result<LtsCounts> {
        check("lts_weight", f, state, w.len())?;
        expect_len("lts_weight", "y", w.len(), y.len())?;
        let Some(step) = step else {
            evaluate(w, f, state, y);
            return Ok(LtsCounts {
                frozen: state.frozen.iter().filter(|f| **f).count(),
                ..LtsCounts::default()
            });
        };
        step.check()?;
        let counts: Vec<LtsCounts> = w
            .par_chunks(CHUNK)
            .zip(state.distance.par_chunks_mut(CHUNK))
            .zip(state.previous.par_chunks_mut(CHUNK))
            .zip(state.frozen.par_chunks_mut(CHUNK))
            .zip(state.saved.par_chunks_mut(CHUNK))
            .zip(y.par_chunks_mut(CHUNK))
            .map(|(((((w, distance), previous), frozen), saved), y)| {
                let part = Part {
                    w,
                    distance,
                    previous,
                    frozen,
                    saved,
                    y,
                };
                wide(move || train_chunk(part, f, step))
            })
            .collect();
        Ok(counts.iter().fold(LtsCounts::default(), |a, b| LtsCounts {
            frozen: a.frozen + b.frozen,
            newly_frozen: a.newly_frozen + b.newly_frozen,
            flipped: a.flipped + b.flipped,
        }))
    }

    fn lts_weight_grad(
        &self,
        w: &Buffer,
        f: FakeQuant,
        state: &LtsState<Buffer>,
        dy: &Buffer,
        dw: &mut Buffer,
        accumulate: bool,
    ) -> Result<BoundGrad> {
        check("lts_weight_grad", f, state, w.len())?;
        expect_len("lts_weight_grad", "dy", w.len(), dy.len())?;
        expect_len("lts_weight_grad", "dw", w.len(), dw.len())?;
        let sums: Vec<(f64, f64)> = w
            .par_chunks(CHUNK)
            .zip(state.frozen.par_chunks(CHUNK))
            .zip(state.saved.par_chunks(CHUNK))
            .zip(dy.par_chunks(CHUNK))
            .zip(dw.par_chunks_mut(CHUNK))
            .map(|((((w, frozen), saved), dy), dw)| {
                wide(move || grad_chunk(w, f, frozen, saved, dy, dw, accumulate))
            })
            .collect();
        Ok(f.bound_grad(sums))
    }

    fn lts_restore(&self, state: &LtsState<Buffer>, w: &mut Buffer) -> Result<()> {
        expect_len("lts_restore", "state.frozen", w.len(), state.frozen.len())?;
        expect_len("lts_restore", "state.saved", w.len(), state.saved.len())?;
        for ((w, &frozen), &saved) in w.iter_mut().zip(&state.frozen).zip(state.saved.iter()) {
            *w = effective(frozen, saved, *w);
        }
        Ok(())
    }
}

fn evaluate(w: &[f32], f: FakeQuant, state: &LtsState<Buffer>, y: &mut [f32]) {
    y.par_chunks_mut(CHUNK)
        .zip(w.par_chunks(CHUNK))
        .zip(state.frozen.par_chunks(CHUNK))
        .zip(state.saved.par_chunks(CHUNK))
        .for_each(|(((y, w), frozen), saved)| {
            wide(move || {
                for (((y, &w), &frozen), &saved) in y.iter_mut().zip(w).zip(frozen).zip(saved) {
                    *y = f.quantise(effective(frozen, saved, w));
                }
            })
        });
}
