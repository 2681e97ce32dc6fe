//! The free entries and no others, a chunk of pixels in each lane of a register.
//!
//! The dense gradient sums each chunk's products pixel by pixel and then adds the chunks in order. Here the same sums
//! stand beside each other: lane `l` of an entry's register walks through chunk `l`. So the bits are those of the dense
//! gradient, and an entry costs one multiply-add a pixel whatever its neighbours are. What is paid for that are the
//! [`Planes`]: rows of all lanes' images, turned.

use std::ops::Range;

use pulp::Simd;
use rayon::prelude::*;

use super::super::FreezeMask;
use super::entries::{Entries, Set};
use super::planes::{Fill, Planes};
use super::products::{Products, blocks};
use crate::ops::conv2d::ConvShape;
use crate::ops::conv2d::cpu::chunks::{Band, Chunks, add_chunks, add_pixels};
use crate::ops::conv2d::cpu::plan::Plan;
use crate::ops::conv2d::cpu::scratch::with_scratch;
use crate::ops::conv2d::cpu::source::{BLOCK, Quantiser};
use crate::ops::conv2d::cpu::{Input, Level, WeightGrads, grad_weight};

/// Floats of a window's planes, to stay in the second-level cache.
const WINDOW_FLOATS: usize = 160 * 1024;

/// The free entries of `dw`, zeros in the others, and `dbias`; lengths were checked.
pub(crate) fn run(
    level: Level,
    s: &ConvShape,
    input: Input,
    dy: &[f32],
    frozen: &FreezeMask,
    grads: WeightGrads,
) {
    let plan = &Plan::forward(s);
    let chunks = grad_weight::chunks(plan, level.lanes());
    // Where half of the lanes would be idle, half a register is as quick and its multiply-adds find more units.
    let level = match level {
        Level::Native if 2 * chunks.count <= level.lanes() => Level::Avx2,
        level => level,
    };
    let lanes = level.lanes();
    let window = window_rows(plan, &chunks, lanes);
    let xs = Planes::of_input(plan, window, lanes);
    let dys = Planes::of_gradient(plan, window, lanes);
    let taps = plan.tap_offsets(&plan.passes[0]);
    let offset = |c: usize, tap: usize| c * xs.plane() + taps[tap] / BLOCK * lanes;
    let entries = &Entries::new(plan, frozen, offset);
    level.run(Lanes {
        plan,
        chunks,
        window,
        xs,
        dys,
        entries,
        x: input.x,
        quant: input.quant.map(Quantiser::new),
        dy,
        grads,
    });
}

/// Output rows whose planes fit the cache.
fn window_rows(plan: &Plan, chunks: &Chunks, lanes: usize) -> usize {
    let (_, width, channels) = plan.out;
    let x = plan.source.blocks() * plan.source.row_len() * plan.src_stride;
    let row = (x + width * channels.next_multiple_of(BLOCK)) * lanes;
    (WINDOW_FLOATS / row).clamp(1, chunks.band_rows)
}

struct Lanes<'a> {
    plan: &'a Plan,
    chunks: Chunks,
    window: usize,
    xs: Planes,
    dys: Planes,
    entries: &'a Entries,
    x: &'a [f32],
    quant: Option<Quantiser>,
    dy: &'a [f32],
    grads: WeightGrads<'a>,
}

impl pulp::WithSimd for Lanes<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        all(simd, self);
    }
}

/// Some sets of entries in some lanes' chunks.
struct Part<'a> {
    chunks: Range<usize>,
    sets: Range<usize>,
    /// `[entry][lane]`.
    sum: &'a mut [f32],
}

fn all<S: Simd>(simd: S, mut job: Lanes) {
    let entries = job.entries;
    let lanes = S::F32_LANES;
    let groups = job.chunks.count.div_ceil(lanes);
    let group_len = entries.at.len() * lanes;
    // Bits do not depend on who computes an entry, so there may be as many parts as threads.
    let parts = entries.parts(rayon::current_num_threads().div_ceil(groups));
    with_scratch(groups * group_len, |memory| {
        let mut rest = &mut *memory;
        let mut work = Vec::new();
        for group in 0..groups {
            let chunks = group * lanes..((group + 1) * lanes).min(job.chunks.count);
            for sets in &parts {
                let len: u32 = entries.sets[sets.clone()].iter().map(|s| s.count).sum();
                let (sum, later) = rest.split_at_mut(len as usize * lanes);
                rest = later;
                work.push(Part {
                    chunks: chunks.clone(),
                    sets: sets.clone(),
                    sum,
                });
            }
        }
        work.into_par_iter()
            .for_each(|part| add_part(simd, &job, part));
        let dw = &mut *job.grads.dw;
        dw.fill(0.0);
        for (entry, &at) in entries.at.iter().enumerate() {
            let lane = |chunk: usize| chunk / lanes * group_len + entry * lanes + chunk % lanes;
            let first = memory[lane(0)];
            dw[at as usize] = (1..job.chunks.count).fold(first, |sum, k| sum + memory[lane(k)]);
        }
    });
    if let Some(db) = job.grads.dbias.take() {
        add_bias(simd, &job, db);
    }
}

/// The sums of the output gradient, in the dense gradient's order.
fn add_bias<S: Simd>(simd: S, job: &Lanes, db: &mut [f32]) {
    let (height, width, channels) = job.plan.out;
    let len = channels.next_multiple_of(BLOCK);
    with_scratch(job.chunks.count * len, |memory| {
        (memory.par_chunks_exact_mut(len).enumerate()).for_each(|(k, sum)| {
            sum.fill(0.0);
            for band in job.chunks.bands_of(k).map(|k| job.chunks.band(k)) {
                let from = (band.image * height + band.from) * width * channels;
                let dy = &job.dy[from..from + band.rows * width * channels];
                add_pixels(simd, dy, &mut sum[..channels]);
            }
        });
        add_chunks(simd, memory, len);
        db.copy_from_slice(&memory[..channels]);
    });
}

/// One part: the bands of its chunks in turn, those of all lanes at once.
fn add_part<S: Simd>(simd: S, job: &Lanes, part: Part) {
    let mut sets = job.entries.sets[part.sets].to_vec();
    let blocks = blocks(&sets);
    let first = sets.first().map_or(0, |set| set.first as usize);
    // Kernels of one size follow each other: a jump that changes with each set is guessed wrong.
    sets.sort_by_key(|set| (set.slice, set.count));
    let (x_len, dy_len) = (
        job.xs.len(blocks.len()),
        job.dys.len(job.dys.layout.blocks()),
    );
    let copies = job.xs.copies().max(job.dys.copies());
    part.sum.fill(0.0);
    let bands: Vec<Range<usize>> = part.chunks.map(|k| job.chunks.bands_of(k)).collect();
    let longest = bands.iter().map(Range::len).max().unwrap_or(0);
    with_scratch(x_len + dy_len + copies, |memory| {
        let (xs, memory) = memory.split_at_mut(x_len);
        let (dys, copies) = memory.split_at_mut(dy_len);
        let mut windows = Windows {
            job,
            sets,
            first,
            sum: part.sum,
            blocks,
            xs,
            dys,
            copies,
        };
        for k in 0..longest {
            let band = |lane: usize| {
                let index = bands.get(lane)?.start + k;
                (index < bands[lane].end).then(|| job.chunks.band(index))
            };
            let lanes: Vec<Option<Band>> = (0..S::F32_LANES).map(band).collect();
            // Rows that some lanes do not have are windows of their own.
            let mut ends: Vec<usize> = lanes.iter().flatten().map(|band| band.rows).collect();
            ends.sort_unstable();
            ends.dedup();
            let mut from = 0;
            for end in ends {
                let there = lanes
                    .iter()
                    .map(|band| band.filter(|band| band.rows > from));
                windows.add(simd, &there.collect::<Vec<_>>(), from..end);
                from = end;
            }
        }
    });
}

/// The memory of a part, and what it computes there.
struct Windows<'a> {
    job: &'a Lanes<'a>,
    sets: Vec<Set>,
    /// The first entry of `sum`.
    first: usize,
    sum: &'a mut [f32],
    blocks: Range<usize>,
    xs: &'a mut [f32],
    dys: &'a mut [f32],
    copies: &'a mut [f32],
}

impl Windows<'_> {
    /// Adds some rows of a band in each lane, as many at a time as a window holds.
    fn add<S: Simd>(&mut self, simd: S, lanes: &[Option<Band>], rows: Range<usize>) {
        let Lanes { plan, xs, dys, .. } = self.job;
        let stride = plan.src_stride;
        let mut kept = 0;
        let mut from = rows.start;
        while from < rows.end {
            let count = self.job.window.min(rows.end - from);
            // What the window's last row reads is as far below it as in a whole window.
            let x_rows = xs.rows - (self.job.window - count) * stride;
            let at = |scale: usize| -> Vec<Option<(usize, usize)>> {
                let place = |band: &Band| (band.image, (band.from + from) * scale);
                lanes.iter().map(|band| band.as_ref().map(place)).collect()
            };
            let input = Fill {
                x: self.job.x,
                quant: self.job.quant,
                lanes: &at(stride),
                idle: 0.0,
                rows: kept..x_rows,
                blocks: self.blocks.clone(),
            };
            xs.fill(simd, input, self.copies, self.xs);
            let gradient = Fill {
                x: self.job.dy,
                quant: None,
                lanes: &at(1),
                // Of all numbers only this one changes no sum, not even its sign.
                idle: -0.0,
                rows: 0..count,
                blocks: 0..dys.layout.blocks(),
            };
            dys.fill(simd, gradient, self.copies, self.dys);
            simd.vectorize(Products {
                sets: &self.sets,
                offsets: &self.job.entries.offsets,
                first: self.first,
                sum: self.sum,
                x: self.xs,
                x_block: BLOCK * xs.plane(),
                first_block: self.blocks.start,
                x_line: stride * xs.line(),
                dy: self.dys,
                dy_plane: dys.plane(),
                rows: count,
                width: plan.out.1,
            });
            from += count;
            kept = x_rows.saturating_sub(count * stride);
            if kept > 0 && from < rows.end {
                xs.move_up(self.xs, count * stride);
            }
        }
    }
}
