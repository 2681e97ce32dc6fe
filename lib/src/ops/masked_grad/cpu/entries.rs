//! The free entries in the order in which they are computed.

use std::ops::Range;

use super::super::FreezeMask;
use crate::ops::conv2d::cpu::plan::Plan;
use crate::ops::conv2d::cpu::source::BLOCK;

/// Source channels of a slice: what the taps of so many channels read of a few pixels fits the first-level cache.
const SLICE: usize = 8;
/// Most entries of a set: with the output gradient they fill sixteen registers.
pub(crate) const SET: usize = 8;

/// Entries of one output channel that read one slice of the source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Set {
    /// Source slice, over all blocks of channels.
    pub slice: u32,
    /// Output channel.
    pub out: u32,
    /// First entry, and how many there are, at most [`SET`].
    pub first: u32,
    pub count: u32,
}

impl Set {
    /// The block of source channels that it reads.
    pub fn block(&self) -> usize {
        self.slice as usize * SLICE / BLOCK
    }

    pub fn entries(&self) -> Range<usize> {
        self.first as usize..(self.first + self.count) as usize
    }
}

/// All free entries of a layer, by source slice, then by output channel.
pub(crate) struct Entries {
    pub sets: Vec<Set>,
    /// Where each entry reads the planes of its block (floats from the first one's start).
    pub offsets: Vec<u32>,
    /// Place of each entry in the weight.
    pub at: Vec<u32>,
}

impl Entries {
    /// `offset` tells where channel `c` of a block is read through a tap.
    pub fn new(plan: &Plan, frozen: &FreezeMask, offset: impl Fn(usize, usize) -> usize) -> Self {
        let taps = plan.passes[0].taps.len();
        let slices_per_block = BLOCK / SLICE;
        let slices = plan.source.blocks_per_group() * slices_per_block;
        // Slice of the group and offset of each place in a filter.
        let places: Vec<(usize, u32)> = (0..plan.src_per_group * taps)
            .map(|within| {
                let (c, tap) = (within / taps, within % taps);
                (c / SLICE, offset(c % BLOCK, tap) as u32)
            })
            .collect();
        // Cells are `[group][slice][output channel of the group]`.
        let visit = |f: &mut dyn FnMut(usize, u32, usize)| {
            let (mut filter, mut base) = (0, 0);
            let mut cells = 0;
            frozen.for_each_free(|at| {
                while at >= base + places.len() {
                    base += places.len();
                    filter += 1;
                    let (group, out) = (filter / plan.out_per_group, filter % plan.out_per_group);
                    cells = group * slices * plan.out_per_group + out;
                }
                let (slice, offset) = places[at - base];
                f(cells + slice * plan.out_per_group, offset, at);
            });
        };
        let mut ends = vec![0u32; plan.groups * slices * plan.out_per_group];
        visit(&mut |cell, _, _| ends[cell] += 1);
        let mut sets = Vec::new();
        let mut sum = 0;
        for (cell, end) in ends.iter_mut().enumerate() {
            let (slice, out) = (cell / plan.out_per_group, cell % plan.out_per_group);
            let group = slice / slices;
            // Equal sets rather than full ones and a rest.
            let parts = end.div_ceil(SET as u32);
            sets.extend((0..parts).map(|k| {
                let (first, next) = (k * *end / parts, (k + 1) * *end / parts);
                Set {
                    slice: slice as u32,
                    out: (group * plan.out_per_group + out) as u32,
                    first: sum + first,
                    count: next - first,
                }
            }));
            (*end, sum) = (sum, sum + *end);
        }
        let (mut offsets, mut at) = (vec![0; sum as usize], vec![0; sum as usize]);
        visit(&mut |cell, offset, entry| {
            let next = &mut ends[cell];
            offsets[*next as usize] = offset;
            at[*next as usize] = entry as u32;
            *next += 1;
        });
        Entries { sets, offsets, at }
    }

    /// The sets in so many runs of about as many entries each, fewer where there are fewer sets; none is empty.
    pub fn parts(&self, wanted: usize) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        let mut from = 0;
        for k in 1..=wanted {
            let goal = k * self.at.len() / wanted;
            let to = self.sets.partition_point(|s| s.entries().end <= goal);
            if to > from {
                parts.push(from..to);
                from = to;
            }
        }
        parts
    }
}
