//! The gradient of the weights: for each tap a small outer product per pixel, summed in registers.
//!
//! The pixels are cut into chunks by the shape alone; each chunk sums into memory of its own and the chunks are
//! added in order, so the result has the same bits at any number of threads.

use pulp::Simd;
use rayon::prelude::*;

use super::super::ConvShape;
use super::chunks::{Band, Chunks, add_chunks, add_pixels};
use super::outer::{Area, Outer, depthwise, outer_product};
use super::plan::Plan;
use super::scratch::with_scratch;
use super::source::{BLOCK, Quantiser, copy_band};
use super::{Input, Level, WeightGrads};

/// Floats of input and output gradient that one walk over the taps touches, to stay in the first-level cache.
const WALK_FLOATS: usize = 8 * 1024;

/// `dw` and `dbias` on slices whose lengths were checked.
pub(crate) fn run(level: Level, s: &ConvShape, input: Input, dy: &[f32], grads: WeightGrads) {
    let plan = Plan::forward(s);
    level.run(GradWeight {
        plan: &plan,
        x: input.x,
        quant: input.quant.map(Quantiser::new),
        dy,
        dw: grads.dw,
        dbias: grads.dbias,
    });
}

struct GradWeight<'a> {
    plan: &'a Plan,
    x: &'a [f32],
    quant: Option<Quantiser>,
    dy: &'a [f32],
    dw: &'a mut [f32],
    dbias: Option<&'a mut [f32]>,
}

impl pulp::WithSimd for GradWeight<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        grad_weight(simd, self);
    }
}

/// Vectors of output channels: first channel of the group, channels, vectors.
fn out_blocks(channels: usize, lanes: usize) -> Vec<(usize, usize, usize)> {
    let mut blocks = Vec::new();
    let mut start = 0;
    while start < channels {
        let vectors = if channels - start > lanes { 2 } else { 1 };
        let here = (channels - start).min(vectors * lanes);
        blocks.push((start, here, vectors));
        start += here;
    }
    blocks
}

/// Where the sums of one group's (out block, source block, tap) stand: `[group][out][source][tap][BLOCK][width]`.
struct SumLayout {
    blocks: Vec<(usize, usize, usize)>,
    taps: usize,
    lanes: usize,
    src_blocks: usize,
    group_len: usize,
    len: usize,
}

impl SumLayout {
    fn new(plan: &Plan, lanes: usize) -> Self {
        let taps = plan.passes[0].taps.len();
        if plan.depthwise {
            let src_blocks = plan.source.blocks();
            let group_len = src_blocks * taps * BLOCK;
            return SumLayout {
                blocks: Vec::new(),
                taps,
                lanes,
                src_blocks,
                group_len,
                len: group_len,
            };
        }
        let blocks = out_blocks(plan.out_per_group, lanes);
        let src_blocks = plan.source.blocks_per_group();
        let width: usize = blocks.iter().map(|b| b.2 * lanes).sum();
        let group_len = width * src_blocks * taps * BLOCK;
        SumLayout {
            blocks,
            taps,
            lanes,
            src_blocks,
            group_len,
            len: group_len * plan.groups,
        }
    }

    /// Floats of the sums of all weights and biases.
    fn with_bias(&self, plan: &Plan) -> usize {
        (self.len + plan.out.2).next_multiple_of(BLOCK)
    }
}

/// The chunks of a plan's gradient at registers of so many lanes.
pub(crate) fn chunks(plan: &Plan, lanes: usize) -> Chunks {
    Chunks::new(plan, SumLayout::new(plan, lanes).with_bias(plan))
}

fn grad_weight<S: Simd>(simd: S, job: GradWeight) {
    let plan = job.plan;
    let channels = plan.out.2;
    let sums = SumLayout::new(plan, S::F32_LANES);
    let sum_len = sums.with_bias(plan);
    let chunks = Chunks::new(plan, sum_len);
    let taps = plan.tap_offsets(&plan.passes[0]);
    with_scratch(chunks.count * sum_len, |memory| {
        memory
            .par_chunks_exact_mut(sum_len)
            .enumerate()
            .for_each(|(k, sum)| {
                sum.fill(0.0);
                for band in chunks.bands_of(k) {
                    add_band(simd, &job, &sums, &taps, chunks.band(band), sum);
                }
            });
        add_chunks(simd, memory, sum_len);
        let sum = &memory[..sum_len];
        unpack(plan, &sums, sum, job.dw);
        if let Some(db) = job.dbias {
            db.copy_from_slice(&sum[sums.len..sums.len + channels]);
        }
    });
}

/// From the sums' order to OIHW.
fn unpack(plan: &Plan, sums: &SumLayout, sum: &[f32], dw: &mut [f32]) {
    let taps = sums.taps;
    if plan.depthwise {
        for (channel, row) in dw.chunks_exact_mut(taps).enumerate() {
            let start = channel / BLOCK * taps * BLOCK + channel % BLOCK;
            for (tap, d) in row.iter_mut().enumerate() {
                *d = sum[start + tap * BLOCK];
            }
        }
        return;
    }
    dw.par_chunks_exact_mut(plan.src_per_group * taps)
        .enumerate()
        .for_each(|(out, filter)| {
            let (group, out) = (out / plan.out_per_group, out % plan.out_per_group);
            let mut start = group * sums.group_len;
            for &(first, count, vectors) in &sums.blocks {
                let width = vectors * sums.lanes;
                if out < first + count {
                    start += out - first;
                    for (c, plane) in filter.chunks_exact_mut(taps).enumerate() {
                        let block = start + (c / BLOCK * taps * BLOCK + c % BLOCK) * width;
                        for (tap, d) in plane.iter_mut().enumerate() {
                            *d = sum[block + tap * BLOCK * width];
                        }
                    }
                    return;
                }
                start += width * sums.src_blocks * taps * BLOCK;
            }
        });
}

/// Adds the products of one band.
fn add_band<S: Simd>(
    simd: S,
    job: &GradWeight,
    sums: &SumLayout,
    taps: &[usize],
    Band { image, from, rows }: Band,
    sum: &mut [f32],
) {
    let plan = job.plan;
    let (height, width, channels) = plan.out;
    let (first, end) = plan.source_rows(from, from + rows);
    let src_rows = (end - first) as usize;
    let dy_from = (image * height + from) * width * channels;
    let dy = &job.dy[dy_from..dy_from + rows * width * channels];
    let (weights, bias) = sum.split_at_mut(sums.len);
    if job.dbias.is_some() {
        add_pixels(simd, dy, &mut bias[..channels]);
    }
    with_scratch(plan.source.len(src_rows), |scratch| {
        copy_band(
            simd,
            &plan.source,
            job.x,
            image,
            (first, end),
            job.quant,
            scratch,
        );
        let block_stride = src_rows * plan.source.row_len();
        let line = plan.src_stride * plan.source.row_len();
        let blocks = if plan.depthwise {
            1
        } else {
            plan.source.blocks()
        };
        let walk = (WALK_FLOATS / (line * blocks + width * channels)).max(1);
        for row in (0..rows).step_by(walk) {
            let area = Area {
                rows: walk.min(rows - row),
                cols: width,
                x_line: line,
                dy_line: width * channels,
                dy_step: channels,
            };
            let dy = &dy[row * width * channels..];
            let x = &scratch[row * line..];
            if plan.depthwise {
                for block in 0..plan.source.blocks() {
                    let lanes = (channels - block * BLOCK).min(BLOCK);
                    let x = &x[block * block_stride..];
                    let dy = &dy[block * BLOCK..];
                    let sum = &mut weights[block * sums.taps * BLOCK..][..sums.taps * BLOCK];
                    depthwise(simd, area, x, dy, lanes, taps, sum);
                }
                continue;
            }
            for group in 0..plan.groups {
                let mut at = group * sums.group_len;
                for &(start, count, vectors) in &sums.blocks {
                    let dy = &dy[group * plan.out_per_group + start..];
                    let sum_width = vectors * S::F32_LANES;
                    for block in 0..sums.src_blocks {
                        let base = (group * sums.src_blocks + block) * block_stride;
                        let used = (plan.src_per_group - block * BLOCK).min(BLOCK);
                        for &offset in taps {
                            let sum = &mut weights[at..at + BLOCK * sum_width];
                            let outer = Outer {
                                area,
                                x: &x[base + offset..],
                                dy,
                                count,
                                sum,
                            };
                            outer_product(simd, vectors, used, outer);
                            at += BLOCK * sum_width;
                        }
                    }
                }
            }
        }
    });
}
