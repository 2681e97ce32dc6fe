//! Runs a [`Plan`]: forward convolution or input gradient, image by image, on all threads.

use pulp::Simd;
use rayon::prelude::*;

use super::super::{ActQuant, ActQuantGrad};
use super::Level;
use super::plan::{Pass, Plan};
use super::scratch::with_scratch;
use super::source::{BLOCK, Fill, Quantiser};
use super::{depthwise, tile};

/// Output channels that one tile computes together.
struct OutBlock {
    /// First channel within the group.
    start: usize,
    /// Channels, at most `vectors * LANES`.
    lanes: usize,
    vectors: usize,
    /// Start of its weights within the packed weights of its pass and group.
    weights: usize,
}

/// Weights in the order in which the tiles read them.
struct Packed {
    blocks: Vec<OutBlock>,
    /// `[pass][group]` starts.
    starts: Vec<usize>,
    /// Floats of all weights; the bias follows, padded group by group.
    len: usize,
    /// Padded bias floats of a group.
    bias_per_group: usize,
}

impl Packed {
    fn new(plan: &Plan, lanes: usize) -> Self {
        let mut blocks = Vec::new();
        let mut starts = Vec::new();
        let mut len = 0;
        if plan.depthwise {
            for pass in &plan.passes {
                starts.push(len);
                len += plan.source.blocks() * pass.taps.len() * BLOCK;
            }
            return Packed {
                blocks,
                starts,
                len,
                bias_per_group: plan.source.blocks() * BLOCK,
            };
        }
        let mut start = 0;
        while start < plan.out_per_group {
            let left = plan.out_per_group - start;
            let vectors = if left > lanes { 2 } else { 1 };
            let here = left.min(vectors * lanes);
            blocks.push(OutBlock {
                start,
                lanes: here,
                vectors,
                weights: 0,
            });
            start += here;
        }
        for pass in &plan.passes {
            for _ in 0..plan.groups {
                starts.push(len);
                for b in &blocks {
                    len += plan.src_per_group * pass.taps.len() * b.vectors * lanes;
                }
            }
        }
        let mut offset = 0;
        for b in &mut blocks {
            // Multiplied by the taps of the pass when used.
            b.weights = offset;
            offset += plan.src_per_group * b.vectors * lanes;
        }
        let bias_per_group = blocks.iter().map(|b| b.vectors * lanes).sum();
        Packed {
            blocks,
            starts,
            len,
            bias_per_group,
        }
    }

    fn total(&self, plan: &Plan) -> usize {
        let groups = if plan.depthwise { 1 } else { plan.groups };
        self.len + groups * self.bias_per_group
    }

    /// Writes weights (OIHW) and bias into `out`.
    fn fill(&self, plan: &Plan, lanes: usize, w: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
        let (weights, biases) = out.split_at_mut(self.len);
        biases.fill(0.0);
        let plane = plan.kernel.0 * plan.kernel.1;
        if plan.depthwise {
            for (pass, &start) in plan.passes.iter().zip(&self.starts) {
                let mut rows = weights[start..].chunks_exact_mut(BLOCK);
                for block in 0..plan.source.blocks() {
                    let channels = (plan.out.2 - block * BLOCK).min(BLOCK);
                    for (tap, row) in pass.taps.iter().zip(&mut rows) {
                        let at = tap.ky * plan.kernel.1 + tap.kx;
                        row.fill(0.0);
                        for (c, r) in row[..channels].iter_mut().enumerate() {
                            *r = w[(block * BLOCK + c) * plane + at];
                        }
                    }
                }
            }
            if let Some(b) = bias {
                biases[..b.len()].copy_from_slice(b);
            }
            return;
        }
        // Distances in the weight between neighbouring outputs and neighbouring sources of this direction.
        let (out_step, src_step) = if plan.transposed {
            (plane, plan.out_per_group * plane)
        } else {
            (plan.src_per_group * plane, plane)
        };
        let group_step = plan.src_per_group * plan.out_per_group * plane;
        for (index, &start) in self.starts.iter().enumerate() {
            let (pass, group) = (&plan.passes[index / plan.groups], index % plan.groups);
            let group_weights = &w[group * group_step..(group + 1) * group_step];
            for b in &self.blocks {
                let width = b.vectors * lanes;
                let from = start + b.weights * pass.taps.len();
                let mut rows = weights[from..].chunks_exact_mut(width);
                for block in (0..plan.src_per_group).step_by(BLOCK) {
                    let channels = (plan.src_per_group - block).min(BLOCK);
                    for tap in &pass.taps {
                        let at = tap.ky * plan.kernel.1 + tap.kx + b.start * out_step;
                        for (c, row) in (block..block + channels).zip(&mut rows) {
                            let source =
                                group_weights[at + c * src_step..].iter().step_by(out_step);
                            for (r, &v) in row[..b.lanes].iter_mut().zip(source) {
                                *r = v;
                            }
                            row[b.lanes..].fill(0.0);
                        }
                    }
                }
            }
        }
        if let Some(bias) = bias {
            for (group, padded) in biases.chunks_exact_mut(self.bias_per_group).enumerate() {
                let mut at = 0;
                for b in &self.blocks {
                    let from = group * plan.out_per_group + b.start;
                    padded[at..at + b.lanes].copy_from_slice(&bias[from..from + b.lanes]);
                    at += b.vectors * lanes;
                }
            }
        }
    }
}

/// A band of destination rows of one image.
struct Band<'a> {
    image: usize,
    from: usize,
    rows: usize,
    dst: &'a mut [f32],
}

/// Computes `dst (+)= correlation(source, w) + bias`; with `mask` (the layer's input and its quantiser) the result
/// is taken through the quantiser's gradient and the bound gradients are returned.
#[allow(clippy::too_many_arguments)]
pub(crate) fn run(
    level: Level,
    plan: &Plan,
    source: &[f32],
    quant: Option<ActQuant>,
    w: &[f32],
    bias: Option<&[f32]>,
    dst: &mut [f32],
    accumulate: bool,
    mask: Option<(&[f32], ActQuant)>,
) -> Option<ActQuantGrad> {
    level.run(Correlate {
        plan,
        source,
        quant: quant.map(Quantiser::new),
        w,
        bias,
        dst,
        accumulate,
        mask,
    })
}

struct Correlate<'a> {
    plan: &'a Plan,
    source: &'a [f32],
    quant: Option<Quantiser>,
    w: &'a [f32],
    bias: Option<&'a [f32]>,
    dst: &'a mut [f32],
    accumulate: bool,
    mask: Option<(&'a [f32], ActQuant)>,
}

impl pulp::WithSimd for Correlate<'_> {
    type Output = Option<ActQuantGrad>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        correlate(simd, self)
    }
}

fn correlate<S: Simd>(simd: S, job: Correlate) -> Option<ActQuantGrad> {
    let plan = job.plan;
    let lanes = S::F32_LANES;
    let packed = Packed::new(plan, lanes);
    let (height, width, channels) = plan.out;
    let row_len = width * channels;
    let band_rows = plan.band_rows();
    let mut bands = Vec::new();
    for (image, dst) in job.dst.chunks_exact_mut(height * row_len).enumerate() {
        for (k, dst) in dst.chunks_mut(band_rows * row_len).enumerate() {
            bands.push(Band {
                image,
                from: k * band_rows,
                rows: dst.len() / row_len,
                dst,
            });
        }
    }
    let taps: Vec<Vec<usize>> = plan.passes.iter().map(|p| plan.tap_offsets(p)).collect();
    let image_len = plan.source.height * plan.source.width * plan.source.channels;
    with_scratch(packed.total(plan), |weights| {
        packed.fill(plan, lanes, job.w, job.bias, weights);
        let (weights, biases) = weights.split_at(packed.len);
        let partial: Vec<Option<(f32, f32)>> = bands
            .into_par_iter()
            .map(|band| {
                let (first, end) = plan.source_rows(band.from, band.from + band.rows);
                let rows = (end - first) as usize;
                let image = &job.source[band.image * image_len..(band.image + 1) * image_len];
                with_scratch(plan.source.len(rows), |scratch| {
                    simd.vectorize(Fill {
                        layout: &plan.source,
                        image,
                        first,
                        rows,
                        quant: job.quant,
                        dst: scratch,
                    });
                    let work = Work {
                        plan,
                        packed: &packed,
                        weights,
                        biases,
                        taps: &taps,
                        scratch,
                        first,
                        rows,
                        accumulate: job.accumulate && job.mask.is_none(),
                    };
                    match job.mask {
                        None => {
                            work.run(simd, band.from, band.dst, band.rows);
                            None
                        }
                        Some((x, quant)) => {
                            let at = (band.image * height + band.from) * row_len;
                            let x = &x[at..at + band.dst.len()];
                            Some(masked(simd, &work, band, x, quant, job.accumulate))
                        }
                    }
                })
            })
            .collect();
        job.mask?;
        let mut sum = (0.0f64, 0.0f64);
        for (lower, upper) in partial.into_iter().flatten() {
            sum = (sum.0 + f64::from(lower), sum.1 + f64::from(upper));
        }
        Some(ActQuantGrad {
            lower: sum.0 as f32,
            upper: sum.1 as f32,
        })
    })
}

/// The band's gradient taken through the quantiser while it is in the cache.
fn masked<S: Simd>(
    simd: S,
    work: &Work,
    band: Band,
    x: &[f32],
    quant: ActQuant,
    accumulate: bool,
) -> (f32, f32) {
    let mask = |g: Option<&[f32]>, dx: &mut [f32]| {
        simd.vectorize(Mask {
            x,
            g,
            dx,
            quant: Quantiser::new(quant),
        })
    };
    if accumulate {
        with_scratch(band.dst.len(), |g| {
            work.run(simd, band.from, g, band.rows);
            mask(Some(g), band.dst)
        })
    } else {
        work.run(simd, band.from, band.dst, band.rows);
        mask(None, band.dst)
    }
}

/// `dx = m g / (u - l)` in place, or `dx += ...` with a separate `g`; returns the sums for the lower and upper bound.
struct Mask<'a> {
    x: &'a [f32],
    g: Option<&'a [f32]>,
    dx: &'a mut [f32],
    quant: Quantiser,
}

impl pulp::WithSimd for Mask<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let mut step = MaskStep {
            simd,
            quant: self.quant,
            lower: simd.splat_f32s(0.0),
            upper: simd.splat_f32s(0.0),
        };
        let (xs, x_rest) = S::as_simd_f32s(self.x);
        let (ds, d_rest) = S::as_mut_simd_f32s(self.dx);
        match self.g {
            None => {
                for (&x, d) in xs.iter().zip(ds) {
                    *d = step.next(x, *d);
                }
                let g = step.next(
                    simd.partial_load_f32s(x_rest),
                    simd.partial_load_f32s(d_rest),
                );
                simd.partial_store_f32s(d_rest, g);
            }
            Some(g) => {
                let (gs, g_rest) = S::as_simd_f32s(g);
                for ((&x, &g), d) in xs.iter().zip(gs).zip(ds) {
                    *d = simd.add_f32s(*d, step.next(x, g));
                }
                let g = step.next(
                    simd.partial_load_f32s(x_rest),
                    simd.partial_load_f32s(g_rest),
                );
                let sum = simd.add_f32s(g, simd.partial_load_f32s(d_rest));
                simd.partial_store_f32s(d_rest, sum);
            }
        }
        (
            simd.reduce_sum_f32s(step.lower),
            simd.reduce_sum_f32s(step.upper),
        )
    }
}

/// The quantiser's gradient for one vector, and the sums of its bounds' gradients so far.
struct MaskStep<S: Simd> {
    simd: S,
    quant: Quantiser,
    lower: S::f32s,
    upper: S::f32s,
}

impl<S: Simd> MaskStep<S> {
    #[inline(always)]
    fn next(&mut self, x: S::f32s, g: S::f32s) -> S::f32s {
        let (simd, q) = (self.simd, self.quant);
        let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
        let scale = simd.splat_f32s(q.scale);
        let n = simd.mul_f32s(simd.sub_f32s(x, simd.splat_f32s(q.lower)), scale);
        let inside = simd.and_m32s(
            simd.less_than_or_equal_f32s(zero, n),
            simd.less_than_or_equal_f32s(n, one),
        );
        let g = simd.select_f32s(inside, simd.mul_f32s(g, scale), zero);
        // Outside the range g is 0; a clamped n keeps 0 * n at 0 even for an infinite x.
        let n = simd.min_f32s(simd.max_f32s(n, zero), one);
        self.lower = simd.mul_add_f32s(g, simd.sub_f32s(n, one), self.lower);
        self.upper = simd.negate_mul_add_f32s(g, n, self.upper);
        g
    }
}

/// What the tiles of one band share.
struct Work<'a> {
    plan: &'a Plan,
    packed: &'a Packed,
    weights: &'a [f32],
    biases: &'a [f32],
    taps: &'a [Vec<usize>],
    scratch: &'a [f32],
    /// Padded source row that is row 0 of the scratch memory.
    first: isize,
    /// Rows of the scratch memory.
    rows: usize,
    accumulate: bool,
}

impl Work<'_> {
    /// Computes destination rows `from..from + rows` into `dst`.
    fn run<S: Simd>(&self, simd: S, from: usize, dst: &mut [f32], rows: usize) {
        let plan = self.plan;
        let (_, width, channels) = plan.out;
        assert_eq!(dst.len(), rows * width * channels);
        for (index, pass) in plan.passes.iter().enumerate() {
            let (y0, y1) = Pass::positions(pass.row_shift, plan.out_stride, from, from + rows);
            let (x0, x1) = Pass::positions(pass.col_shift, plan.out_stride, 0, width);
            if y0 >= y1 || x0 >= x1 {
                continue;
            }
            let area = Area {
                index,
                y: (y0, y1),
                x: (x0, x1),
                dst_row: (y0 * plan.out_stride as isize + pass.row_shift) as usize - from,
                dst_col: (x0 * plan.out_stride as isize + pass.col_shift) as usize,
            };
            if plan.depthwise {
                self.depthwise_pass(simd, &area, dst);
            } else {
                for group in 0..plan.groups {
                    self.dense_pass(simd, &area, group, dst);
                }
            }
        }
    }

    /// Offset of position `(y, 0)` of block 0 in scratch memory, before a tap's offset; may be negative.
    fn row_start(&self, y: isize) -> isize {
        (y * self.plan.src_stride as isize - self.first) * self.plan.source.row_len() as isize
    }

    fn dense_pass<S: Simd>(&self, simd: S, area: &Area, group: usize, dst: &mut [f32]) {
        let plan = self.plan;
        let (_, width, channels) = plan.out;
        let taps = &self.taps[area.index];
        let block_stride = self.rows * plan.source.row_len();
        let group_src = group * plan.source.blocks_per_group() * block_stride;
        let start = self.packed.starts[area.index * plan.groups + group];
        let mut bias = group * self.packed.bias_per_group;
        for block in &self.packed.blocks {
            let weights = &self.weights[start + block.weights * taps.len()..];
            let biases = &self.biases[bias..];
            bias += block.vectors * S::F32_LANES;
            let tiles = Split::new(area.x, tile::max_pixels::<S>(block.vectors));
            for (row, y) in (area.y.0..area.y.1).enumerate() {
                let line = group_src as isize + self.row_start(y);
                let dst_row = (area.dst_row + row * plan.out_stride) * width;
                for (x, pixels) in tiles.iter() {
                    let column = area.dst_col + (x - area.x.0) as usize * plan.out_stride;
                    let channel = group * plan.out_per_group + block.start;
                    let tile = tile::Tile {
                        src: (self.scratch.as_ptr()).wrapping_offset(line + x * BLOCK as isize),
                        block_stride,
                        channels: plan.src_per_group,
                        taps,
                        weights: weights.as_ptr(),
                        bias: biases.as_ptr(),
                        dst: dst[(dst_row + column) * channels + channel..].as_mut_ptr(),
                        dst_step: plan.out_stride * channels,
                        lanes: block.lanes,
                        accumulate: self.accumulate,
                    };
                    // SAFETY: the plan made the scratch memory hold every tap of every position of the band, the
                    // packed weights hold a row for each channel and tap, and the band's `dst` is ours alone.
                    unsafe { tile::run(simd, block.vectors, pixels, tile) };
                }
            }
        }
    }

    fn depthwise_pass<S: Simd>(&self, simd: S, area: &Area, dst: &mut [f32]) {
        let plan = self.plan;
        let (_, width, channels) = plan.out;
        let taps = &self.taps[area.index];
        let block_stride = self.rows * plan.source.row_len();
        let tiles = Split::new(area.x, depthwise::MAX_PIXELS);
        for (row, y) in (area.y.0..area.y.1).enumerate() {
            let dst_row = (area.dst_row + row * plan.out_stride) * width;
            for block in 0..plan.source.blocks() {
                let from = self.packed.starts[area.index] + block * taps.len() * BLOCK;
                let line = (block * block_stride) as isize + self.row_start(y);
                for (x, pixels) in tiles.iter() {
                    let column = area.dst_col + (x - area.x.0) as usize * plan.out_stride;
                    let tile = depthwise::Tile {
                        src: (self.scratch.as_ptr()).wrapping_offset(line + x * BLOCK as isize),
                        taps,
                        weights: self.weights[from..].as_ptr(),
                        bias: self.biases[block * BLOCK..].as_ptr(),
                        dst: dst[(dst_row + column) * channels + block * BLOCK..].as_mut_ptr(),
                        dst_step: plan.out_stride * channels,
                        lanes: (channels - block * BLOCK).min(BLOCK),
                        accumulate: self.accumulate,
                    };
                    // SAFETY: as for the dense tile.
                    unsafe { depthwise::run(simd, pixels, tile) };
                }
            }
        }
    }
}

/// The positions of one pass inside a band.
struct Area {
    index: usize,
    y: (isize, isize),
    x: (isize, isize),
    dst_row: usize,
    dst_col: usize,
}

/// A row of positions cut into tiles of nearly equal width.
struct Split {
    from: isize,
    len: usize,
    parts: usize,
}

impl Split {
    fn new((from, to): (isize, isize), widest: usize) -> Self {
        let len = (to - from) as usize;
        Split {
            from,
            len,
            parts: len.div_ceil(widest),
        }
    }

    /// First position and width of each tile.
    fn iter(&self) -> impl Iterator<Item = (isize, usize)> + '_ {
        (0..self.parts).map(|k| {
            let (a, b) = (k * self.len / self.parts, (k + 1) * self.len / self.parts);
            (self.from + a as isize, b - a)
        })
    }
}
