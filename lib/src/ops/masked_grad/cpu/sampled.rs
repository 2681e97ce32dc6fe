//! One dot product for each free entry, over planes of pixels.

use pulp::Simd;
use rayon::prelude::*;

use super::super::FreezeMask;
use super::dots::Dots;
use super::entries::Entries;
use super::planes::SIDE;
use super::turn::{Geometry, TurnGradient, TurnInput};
use crate::ops::conv2d::cpu::grad_weight::{add_chunks, add_pixels, chunk_count};
use crate::ops::conv2d::cpu::plan::Plan;
use crate::ops::conv2d::cpu::scratch::with_scratch;
use crate::ops::conv2d::cpu::source::{BLOCK, Quantiser, copy_band};
use crate::ops::conv2d::cpu::{Input, Level, WeightGrads};

/// Floats of the output gradient that the dot products walk over at a time, to stay near the first-level cache.
const WALK_FLOATS: usize = 12 * 1024;
/// The free entries of `dw`, zeros in the others, and `dbias`; lengths were checked.
pub(crate) fn run(
    level: Level,
    plan: &Plan,
    geometry: &Geometry,
    input: Input,
    dy: &[f32],
    frozen: &FreezeMask,
    grads: WeightGrads,
) {
    let entries = Entries::new(plan, frozen);
    level.run(Sampled {
        plan,
        geometry,
        entries: &entries,
        x: input.x,
        quant: input.quant.map(Quantiser::new),
        dy,
        dw: grads.dw,
        dbias: grads.dbias,
    });
}

struct Sampled<'a> {
    plan: &'a Plan,
    geometry: &'a Geometry,
    entries: &'a Entries,
    x: &'a [f32],
    quant: Option<Quantiser>,
    dy: &'a [f32],
    dw: &'a mut [f32],
    dbias: Option<&'a mut [f32]>,
}

impl pulp::WithSimd for Sampled<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        sampled(simd, self);
    }
}

fn sampled<S: Simd>(simd: S, job: Sampled) {
    let (g, entries) = (job.geometry, job.entries);
    let channels = job.plan.out.2;
    let count = entries.at.len();
    let sum_len = (count + channels).next_multiple_of(BLOCK);
    let bands = job.plan.batch * g.bands_per_image;
    let chunks = chunk_count(job.plan, sum_len, bands);
    with_scratch(chunks * sum_len, |memory| {
        memory
            .par_chunks_exact_mut(sum_len)
            .enumerate()
            .for_each(|(k, sum)| {
                sum.fill(0.0);
                let (first, end) = (k * bands / chunks, (k + 1) * bands / chunks);
                with_scratch(g.together * (g.x_len + g.dy_len), |planes| {
                    with_scratch(g.copy_len, |copy| {
                        for from in (first..end).step_by(g.together) {
                            let to = (from + g.together).min(end);
                            add_bands(simd, &job, from..to, copy, planes, sum);
                        }
                    });
                });
            });
        add_chunks(simd, memory, sum_len);
        job.dw.fill(0.0);
        for (&at, &v) in entries.at.iter().zip(memory.iter()) {
            job.dw[at as usize] = v;
        }
        if let Some(db) = job.dbias {
            db.copy_from_slice(&memory[count..count + channels]);
        }
    });
}

/// Turns some bands into planes and adds their dot products.
fn add_bands<S: Simd>(
    simd: S,
    job: &Sampled,
    bands: std::ops::Range<usize>,
    copy: &mut [f32],
    planes: &mut [f32],
    sum: &mut [f32],
) {
    let (plan, g) = (job.plan, job.geometry);
    let (height, width, channels) = plan.out;
    let count = job.entries.at.len();
    let items = bands.len();
    let (xs, dys) = planes.split_at_mut(g.together * g.x_len);
    let mut pixels = 0;
    for (item, band) in bands.enumerate() {
        let (image, from) = (
            band / g.bands_per_image,
            band % g.bands_per_image * g.band_rows,
        );
        let rows = g.band_rows.min(height - from);
        pixels = rows * width;
        let start = (image * height + from) * width * channels;
        let dy = &job.dy[start..start + pixels * channels];
        if job.dbias.is_some() {
            add_pixels(simd, dy, &mut sum[count..count + channels]);
        }
        if count == 0 {
            continue;
        }
        simd.vectorize(TurnGradient {
            dy,
            channels,
            plane: g.dy_plane,
            dst: &mut dys[item * g.dy_len..(item + 1) * g.dy_len],
        });
        let (first, end) = plan.source_rows(from, from + rows);
        let src_rows = (end - first) as usize;
        let dst = &mut copy[..plan.source.len(src_rows)];
        copy_band(
            simd,
            &plan.source,
            job.x,
            image,
            (first, end),
            job.quant,
            dst,
        );
        simd.vectorize(TurnInput {
            plan,
            g,
            rows: src_rows,
            copy,
            dst: &mut xs[item * g.x_len..(item + 1) * g.x_len],
        });
    }
    if count == 0 {
        return;
    }
    let walk = (WALK_FLOATS / (channels * items))
        .next_multiple_of(SIDE)
        .max(4 * SIDE);
    for from in (0..pixels).step_by(walk) {
        simd.vectorize(Dots {
            g,
            entries: job.entries,
            xs,
            dys,
            items,
            from,
            pixels: walk.min(pixels - from),
            sum: &mut sum[..count],
        });
    }
}
