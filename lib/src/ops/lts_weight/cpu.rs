//! The LTS weight quantiser on the CPU: one pass over the weight and its state each way.

use dfdx::prelude::{Cpu, Storage};
use rayon::prelude::*;

use super::{LtsCounts, LtsState, LtsStep, LtsWeightKernel};
use crate::error::Result;
use crate::ops::fake_quant::{BoundGrad, BoundSums, FakeQuant};
use crate::ops::parallel::{CHUNK, LANES, expect_len, wide};
use crate::tensors::CpuBuffer as Buffer;

/// One chunk of a layer's state.
struct Part<'a> {
    w: &'a [f32],
    distance: &'a mut [f32],
    previous: &'a mut [f32],
    frozen: &'a mut [bool],
    saved: &'a mut [f32],
    y: &'a mut [f32],
}

/// Entries whose intermediate values are kept at once. Short loops over few buffers are what the compiler
/// turns into vector code; one loop over all six is not.
const BLOCK: usize = 256;

#[inline(always)]
fn train_chunk(part: Part, f: FakeQuant, step: LtsStep) -> LtsCounts {
    let mut counts = LtsCounts::default();
    let states = part
        .distance
        .chunks_mut(BLOCK)
        .zip(part.previous.chunks_mut(BLOCK))
        .zip(part.frozen.chunks_mut(BLOCK));
    let values = part
        .w
        .chunks(BLOCK)
        .zip(part.saved.chunks_mut(BLOCK))
        .zip(part.y.chunks_mut(BLOCK));
    for (((distance, previous), frozen), ((w, saved), y)) in states.zip(values) {
        for ((saved, &frozen), &w) in saved.iter_mut().zip(&*frozen).zip(w) {
            *saved = effective(frozen, *saved, w);
        }
        let mut place = [0.0; BLOCK];
        let mut level = [0.0; BLOCK];
        let (place, level) = (&mut place[..w.len()], &mut level[..w.len()]);
        for (n, &w) in place.iter_mut().zip(&*saved) {
            *n = f.normalise(w);
        }
        for (q, &n) in level.iter_mut().zip(&*place) {
            *q = f.round(n);
        }
        for (y, &q) in y.iter_mut().zip(&*level) {
            *y = f.scale * q + f.offset;
        }
        counts.flipped += follow(distance, previous, place, level, f.step(), step.momentum);
        // Distances are at least 0: a negative limit is never met.
        let limit = step.threshold.map_or(-1.0, |rate| rate * f.step());
        let (total, new) = freeze(frozen, distance, limit);
        counts.frozen += total;
        counts.newly_frozen += new;
    }
    counts
}

/// Moves distances and previous levels; returns how many levels changed.
#[inline(always)]
fn follow(
    distance: &mut [f32],
    previous: &mut [f32],
    place: &[f32],
    level: &[f32],
    delta: f32,
    keep: f32,
) -> usize {
    let mut flipped = 0u32;
    for (&q, &before) in level.iter().zip(&*previous) {
        // An entry never seen has NaN for a level and did not flip.
        flipped += (q != before && !before.is_nan()) as u32;
    }
    let distances = distance.iter_mut().zip(previous);
    for ((distance, previous), (&n, &q)) in distances.zip(place.iter().zip(level)) {
        let smoothed = (1.0 - keep) * (n - q).abs() + keep * *distance;
        *distance = if q == *previous { smoothed } else { delta };
        *previous = q;
    }
    flipped as usize
}

/// Freezes entries within the limit; returns how many are frozen, and how many of them newly.
#[inline(always)]
fn freeze(frozen: &mut [bool], distance: &[f32], limit: f32) -> (usize, usize) {
    let (mut before, mut after) = (0u32, 0u32);
    for (frozen, &distance) in frozen.iter_mut().zip(distance) {
        before += *frozen as u32;
        *frozen |= distance <= limit;
        after += *frozen as u32;
    }
    (after as usize, (after - before) as usize)
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
    let inputs = w.chunks(LANES).zip(frozen.chunks(LANES));
    let inputs = inputs.zip(saved.chunks(LANES));
    let outputs = dy.chunks(LANES).zip(dw.chunks_mut(LANES));
    for (((w, frozen), saved), (dy, dw)) in inputs.zip(outputs) {
        let mut place = [0.0; LANES];
        let mut gradient = [0.0; LANES];
        for (n, ((&w, &frozen), &saved)) in place.iter_mut().zip(w.iter().zip(frozen).zip(saved)) {
            *n = f.normalise(effective(frozen, saved, w));
        }
        for (i, (g, &dy)) in gradient.iter_mut().zip(dy).enumerate() {
            *g = slope * sums.add(i, place[i], dy);
        }
        for ((dw, &g), &frozen) in dw.iter_mut().zip(&gradient).zip(frozen) {
            let before = if accumulate { *dw } else { 0.0 };
            *dw = before + if frozen { 0.0 } else { g };
        }
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
