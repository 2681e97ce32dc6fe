//! The free entries sixteen at a time, over the same copies of the images as the dense gradient and in the same order: an
//! entry's bits are those that it has there.

use pulp::Simd;
use rayon::prelude::*;

use super::super::FreezeMask;
use super::permute::{self, Ahead, Part, Walk};
use super::vectors::Vectors;
use crate::ops::conv2d::ConvShape;
use crate::ops::conv2d::cpu::chunks::{Band, Chunks, add_chunks, add_pixels};
use crate::ops::conv2d::cpu::outer::Area;
use crate::ops::conv2d::cpu::plan::Plan;
use crate::ops::conv2d::cpu::scratch::with_scratch;
use crate::ops::conv2d::cpu::source::{BLOCK, Quantiser, copy_band};
use crate::ops::conv2d::cpu::{Input, Level, WeightGrads, grad_weight};

/// Floats of one block of input and one of output gradient that a cell walks over, to stay in the first-level cache.
const WALK_FLOATS: usize = 10 * 1024;

/// Whether this machine has the instructions.
pub(crate) fn available(level: Level) -> bool {
    level == Level::Native && std::arch::is_x86_feature_detected!("avx512f")
}

/// The free entries of `dw`, zeros in the others, and `dbias`; lengths were checked, and [`available`] was asked.
pub(crate) fn run(
    level: Level,
    s: &ConvShape,
    input: Input,
    dy: &[f32],
    frozen: &FreezeMask,
    grads: WeightGrads,
) {
    assert!(available(level));
    let plan = &Plan::forward(s);
    level.run(Gathered {
        plan,
        vectors: &Vectors::new(plan, frozen),
        chunks: grad_weight::chunks(plan, level.lanes()),
        x: input.x,
        quant: input.quant.map(Quantiser::new),
        dy,
        dw: grads.dw,
        dbias: grads.dbias,
    });
}

struct Gathered<'a> {
    plan: &'a Plan,
    vectors: &'a Vectors,
    chunks: Chunks,
    x: &'a [f32],
    quant: Option<Quantiser>,
    dy: &'a [f32],
    dw: &'a mut [f32],
    dbias: Option<&'a mut [f32]>,
}

impl pulp::WithSimd for Gathered<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        gathered(simd, self);
    }
}

fn gathered<S: Simd>(simd: S, job: Gathered) {
    let (plan, vectors) = (job.plan, job.vectors);
    let channels = plan.out.2;
    let lanes = vectors.source.len() * BLOCK;
    let sum_len = (lanes + channels).next_multiple_of(BLOCK);
    let taps = plan.tap_offsets(&plan.passes[0]);
    with_scratch(job.chunks.count * sum_len, |memory| {
        memory
            .par_chunks_exact_mut(sum_len)
            .enumerate()
            .for_each(|(k, sum)| {
                sum.fill(0.0);
                for band in job.chunks.bands_of(k) {
                    add_band(simd, &job, &taps, job.chunks.band(band), sum);
                }
            });
        add_chunks(simd, memory, sum_len);
        job.dw.fill(0.0);
        for &(lane, at) in &vectors.lanes {
            job.dw[at as usize] = memory[lane as usize];
        }
        if let Some(db) = job.dbias {
            db.copy_from_slice(&memory[lanes..lanes + channels]);
        }
    });
}

/// Adds the products of some destination rows of one image.
fn add_band<S: Simd>(
    simd: S,
    job: &Gathered,
    taps: &[usize],
    Band { image, from, rows }: Band,
    sum: &mut [f32],
) {
    let plan = job.plan;
    let rows = from..from + rows;
    let (height, width, channels) = plan.out;
    let (first, end) = plan.source_rows(rows.start, rows.end);
    let src_rows = (end - first) as usize;
    let dy_from = (image * height + rows.start) * width * channels;
    let dy = &job.dy[dy_from..dy_from + rows.len() * width * channels];
    let (sums, bias) = sum.split_at_mut(job.vectors.source.len() * BLOCK);
    if job.dbias.is_some() {
        add_pixels(simd, dy, &mut bias[..channels]);
    }
    with_scratch(plan.source.len(src_rows), |xs| {
        copy_band(
            simd,
            &plan.source,
            job.x,
            image,
            (first, end),
            job.quant,
            xs,
        );
        let x_block = src_rows * plan.source.row_len();
        let places = job.vectors.places.iter();
        let offsets: Vec<usize> = places
            .map(|p| p.block as usize * x_block + taps[p.tap as usize])
            .collect();
        let line = plan.src_stride * plan.source.row_len();
        let walks = rows
            .len()
            .div_ceil((WALK_FLOATS / (line + width * BLOCK)).max(1));
        // In memory the next band follows this one.
        let x_row = plan.source.width * plan.source.channels;
        let image_len = plan.source.height * x_row;
        let below = (end - plan.source.top as isize).clamp(0, plan.source.height as isize);
        let next_x = &job.x[image * image_len + below as usize * x_row..];
        let next_dy = &job.dy[dy_from + dy.len()..];
        for walk in 0..walks {
            let (row, end) = (walk * rows.len() / walks, (walk + 1) * rows.len() / walks);
            let area = Area {
                rows: end - row,
                cols: width,
                x_line: line,
                dy_line: width * channels,
                dy_step: channels,
            };
            let (x_at, dy_at) = (row * plan.src_stride * x_row, row * area.dy_line);
            let ahead = Ahead::new(
                [
                    &next_x[x_at.min(next_x.len())..],
                    &next_dy[dy_at.min(next_dy.len())..],
                ],
                [
                    area.rows * plan.src_stride * x_row,
                    area.rows * area.dy_line,
                ],
                area.rows * width * job.vectors.walks,
            );
            let (x, dy) = (&xs[row * line..], &dy[row * width * channels..]);
            add_area(job, area, ahead, x, &offsets, dy, sums.as_chunks_mut().0);
        }
    });
}

/// All vectors over the pixels of one area.
fn add_area(
    job: &Gathered,
    area: Area,
    mut ahead: Ahead,
    x: &[f32],
    offsets: &[usize],
    dy: &[f32],
    sums: &mut [[f32; BLOCK]],
) {
    let (plan, vectors) = (job.plan, job.vectors);
    let out_blocks = plan.out_per_group.div_ceil(BLOCK);
    let furthest = offsets.iter().max().copied().unwrap_or(0);
    area.check(&x[furthest..], dy, BLOCK, 1);
    for (index, b) in vectors.blocks.iter().enumerate() {
        let within = index % out_blocks * BLOCK;
        let dy = &dy[index / out_blocks * plan.out_per_group + within..];
        let count = (plan.out_per_group - within).min(BLOCK);
        area.check(x, dy, BLOCK, count);
        let mut walk = Walk {
            area,
            x: x.as_ptr(),
            dy: dy.as_ptr(),
            count,
            ahead,
        };
        let range = b.first..b.first + b.straight + b.free;
        let (offsets, loose_offsets) = offsets[range.clone()].split_at(b.straight);
        let (source, loose_source) = vectors.source[range.clone()].split_at(b.straight);
        let (sum, loose_sum) = sums[range].split_at_mut(b.straight);
        let part = Part {
            offsets,
            source,
            sum,
        };
        let loose = Part {
            offsets: loose_offsets,
            source: loose_source,
            sum: loose_sum,
        };
        let out = &vectors.out[b.first_out..b.first_out + b.free];
        // SAFETY: `run` asserted the instructions; `check` holds for the last pixel of both operands.
        unsafe {
            permute::straight(&mut walk, part);
            permute::free(&mut walk, loose, out);
        }
        ahead = walk.ahead;
    }
}
