//! The free entries packed into registers: sixteen products of a tap in one multiply-add.
//!
//! A tap of a block (16 input channels, 16 output channels) has up to 256 entries. Lane `l` of a vector computes one
//! of them, from channel `source[l]` of the input and channel `out[l]` of the output gradient, both brought into
//! place by a permutation. A *straight* vector has `out[l] = l` and needs only the first one; a *free* one takes any
//! sixteen entries.

use super::super::FreezeMask;
use super::permute::walks;
use crate::ops::conv2d::cpu::plan::Plan;
use crate::ops::conv2d::cpu::source::BLOCK;

/// Time of a straight and of a free vector: what they wait for are their permutations, one and two.
const STRAIGHT_COST: usize = 1;
const FREE_COST: usize = 2;

/// Where a vector reads the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Block of source channels, over all groups.
    pub block: u32,
    pub tap: u32,
}

/// The vectors of sixteen output channels: the straight ones, then the free ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OutBlock {
    /// First vector, and how many are straight.
    pub first: usize,
    pub straight: usize,
    /// First free vector in `out`, and how many there are.
    pub first_out: usize,
    pub free: usize,
}

/// All free entries of a layer.
#[derive(Default)]
pub(crate) struct Vectors {
    /// `[group][out block]`.
    pub blocks: Vec<OutBlock>,
    /// Where each vector reads.
    pub places: Vec<Place>,
    /// Input channel of each lane of each vector, within its block.
    pub source: Vec<[i32; BLOCK]>,
    /// Output channel of each lane of each free vector, within its block.
    pub out: Vec<[i32; BLOCK]>,
    /// Lane (over all vectors) of each entry, and its place in the weight.
    pub lanes: Vec<(u32, u32)>,
    /// Walks over the pixels that all of them take.
    pub walks: usize,
}

/// A free entry within its cell.
#[derive(Clone, Copy, Default)]
struct Entry {
    source: u8,
    out: u8,
    at: u32,
}

/// Free vectors that wait until the straight ones of their block are known.
#[derive(Default)]
struct Waiting {
    places: Vec<Place>,
    source: Vec<[i32; BLOCK]>,
    lanes: Vec<(u32, u32)>,
}

impl Vectors {
    pub fn new(plan: &Plan, frozen: &FreezeMask) -> Self {
        let taps = plan.passes[0].taps.len();
        let source_blocks = plan.src_per_group.div_ceil(BLOCK);
        let out_blocks = plan.out_per_group.div_ceil(BLOCK);
        let (ends, entries) = sort(plan, frozen);
        let mut vectors = Vectors::default();
        let mut waiting = Waiting::default();
        let mut start = 0;
        for (index, ends) in ends.chunks_exact(source_blocks * taps).enumerate() {
            let (first, first_out) = (vectors.source.len(), vectors.out.len());
            for (cell, &end) in ends.iter().enumerate() {
                let place = Place {
                    block: (index / out_blocks * source_blocks + cell / taps) as u32,
                    tap: (cell % taps) as u32,
                };
                vectors.pack(&entries[start..end], place, &mut waiting);
                start = end;
            }
            let straight = vectors.source.len() - first;
            let before = (vectors.source.len() * BLOCK) as u32;
            vectors.places.append(&mut waiting.places);
            vectors.source.append(&mut waiting.source);
            let lanes = waiting.lanes.drain(..);
            vectors.lanes.extend(lanes.map(|(l, at)| (before + l, at)));
            let free = vectors.out.len() - first_out;
            vectors.walks += walks(straight) + walks(free);
            vectors.blocks.push(OutBlock {
                first,
                straight,
                first_out,
                free,
            });
        }
        vectors
    }

    /// Packs one cell: so many straight vectors that the whole is cheapest.
    fn pack(&mut self, entries: &[Entry], place: Place, waiting: &mut Waiting) {
        // Entry k is the `rank[k]`-th of its output channel; straight vector r takes those of rank r.
        let mut seen = [0u8; BLOCK];
        let mut rank = [0u8; BLOCK * BLOCK];
        let mut of_rank = [0usize; BLOCK + 1];
        for (entry, rank) in entries.iter().zip(&mut rank) {
            *rank = seen[entry.out as usize];
            seen[entry.out as usize] += 1;
            of_rank[*rank as usize] += 1;
        }
        let (mut straight, mut free, mut best) = (0, 0, usize::MAX);
        let mut left = entries.len();
        for (ranks, taken) in of_rank.iter().enumerate() {
            let cost = STRAIGHT_COST * ranks + FREE_COST * left.div_ceil(BLOCK);
            if cost < best {
                (straight, free, best) = (ranks, left.div_ceil(BLOCK), cost);
            }
            left -= taken;
        }
        let (first, first_free) = (self.source.len(), waiting.source.len());
        let first_out = self.out.len();
        self.source.resize(first + straight, [0; BLOCK]);
        self.places.resize(first + straight, place);
        waiting.source.resize(first_free + free, [0; BLOCK]);
        waiting.places.resize(first_free + free, place);
        self.out.resize(first_out + free, [0; BLOCK]);
        let mut packed = 0;
        for (entry, &rank) in entries.iter().zip(&rank) {
            let source = i32::from(entry.source);
            if (rank as usize) < straight {
                let (vector, lane) = (first + rank as usize, entry.out as usize);
                self.source[vector][lane] = source;
                self.lanes.push(((vector * BLOCK + lane) as u32, entry.at));
            } else {
                let (vector, lane) = (packed / BLOCK, packed % BLOCK);
                packed += 1;
                self.out[first_out + vector][lane] = i32::from(entry.out);
                let vector = first_free + vector;
                waiting.source[vector][lane] = source;
                (waiting.lanes).push(((vector * BLOCK + lane) as u32, entry.at));
            }
        }
    }
}

/// The free entries sorted by cells `[group][out block][source block][tap]`: end of each cell, entries.
fn sort(plan: &Plan, frozen: &FreezeMask) -> (Vec<usize>, Vec<Entry>) {
    let taps = plan.passes[0].taps.len();
    let source_blocks = plan.src_per_group.div_ceil(BLOCK);
    let out_blocks = plan.out_per_group.div_ceil(BLOCK);
    let cells = plan.groups * out_blocks * source_blocks * taps;
    // Cell and source channel of each place in a filter, but for the filter's own offset.
    let places: Vec<(usize, u8)> = (0..plan.src_per_group * taps)
        .map(|within| {
            let (c, tap) = (within / taps, within % taps);
            (c / BLOCK * taps + tap, (c % BLOCK) as u8)
        })
        .collect();
    let visit = |f: &mut dyn FnMut(usize, Entry)| {
        let (mut filter, mut base) = (0, 0);
        frozen.for_each_free(|at| {
            while at >= base + places.len() {
                base += places.len();
                filter += 1;
            }
            let (group, out) = (filter / plan.out_per_group, filter % plan.out_per_group);
            let (cell, source) = places[at - base];
            let block = group * out_blocks + out / BLOCK;
            let entry = Entry {
                source,
                out: (out % BLOCK) as u8,
                at: at as u32,
            };
            f(block * source_blocks * taps + cell, entry);
        });
    };
    let mut ends = vec![0; cells];
    visit(&mut |cell, _| ends[cell] += 1);
    let mut sum = 0;
    for end in &mut ends {
        (*end, sum) = (sum, sum + *end);
    }
    let mut entries = vec![Entry::default(); sum];
    visit(&mut |cell, entry| {
        entries[ends[cell]] = entry;
        ends[cell] += 1;
    });
    (ends, entries)
}
