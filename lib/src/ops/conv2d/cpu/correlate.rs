//! Runs a [`Plan`]: forward convolution or input gradient, image by image, on all threads.

use pulp::Simd;
use rayon::prelude::*;

use super::super::{ActQuant, ActQuantGrad, GradTo};
use super::mask::Mask;
use super::packed::Packed;
use super::plan::{Pass, Plan};
use super::scratch::with_scratch;
use super::source::{BLOCK, Quantiser, copy_band};
use super::{Input, Level};
use super::{depthwise, tile};

/// A band of destination rows of one image.
struct Band<'a> {
    image: usize,
    from: usize,
    rows: usize,
    /// `None` where the result itself is not wanted.
    dst: Option<&'a mut [f32]>,
}

/// What the source is multiplied with.
#[derive(Clone, Copy)]
pub(crate) struct Factors<'a> {
    pub w: &'a [f32],
    pub bias: Option<&'a [f32]>,
}

/// Computes `correlation(source, w) + bias` into `dst`; with `mask` (the layer's input and its quantiser) the result
/// is taken through the quantiser's gradient and the bound gradients are returned.
pub(crate) fn run(
    level: Level,
    plan: &Plan,
    source: Input,
    factors: Factors,
    dst: GradTo<[f32]>,
    mask: Option<(&[f32], ActQuant)>,
) -> Option<ActQuantGrad> {
    level.run(Correlate {
        plan,
        source: source.x,
        quant: source.quant.map(Quantiser::new),
        factors,
        accumulate: matches!(dst, GradTo::Add(_)),
        dst: match dst {
            GradTo::Overwrite(dst) | GradTo::Add(dst) => Some(dst),
            GradTo::Nowhere => None,
        },
        mask,
    })
}

struct Correlate<'a> {
    plan: &'a Plan,
    source: &'a [f32],
    quant: Option<Quantiser>,
    factors: Factors<'a>,
    dst: Option<&'a mut [f32]>,
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

/// All bands of all images, with their parts of `dst`.
fn bands<'a>(plan: &Plan, dst: Option<&'a mut [f32]>) -> Vec<Band<'a>> {
    let (height, width, channels) = plan.out;
    let (row_len, band_rows) = (width * channels, plan.band_rows());
    let mut left = dst;
    let mut bands = Vec::new();
    for image in 0..plan.batch {
        for from in (0..height).step_by(band_rows) {
            let rows = band_rows.min(height - from);
            let dst = left.take().map(|all| {
                let (dst, rest) = all.split_at_mut(rows * row_len);
                left = Some(rest);
                dst
            });
            bands.push(Band {
                image,
                from,
                rows,
                dst,
            });
        }
    }
    bands
}

fn correlate<S: Simd>(simd: S, job: Correlate) -> Option<ActQuantGrad> {
    let plan = job.plan;
    if job.dst.is_none() && job.mask.is_none() {
        return None;
    }
    let lanes = S::F32_LANES;
    let packed = Packed::new(plan, lanes);
    let bands = bands(plan, job.dst);
    let taps: Vec<Vec<usize>> = plan.passes.iter().map(|p| plan.tap_offsets(p)).collect();
    let Factors { w, bias } = job.factors;
    with_scratch(packed.total(plan), |weights| {
        packed.fill(plan, lanes, w, bias, weights);
        let (weights, biases) = weights.split_at(packed.len);
        let partial: Vec<Option<(f32, f32)>> = bands
            .into_par_iter()
            .map(|band| {
                let (first, end) = plan.source_rows(band.from, band.from + band.rows);
                let rows = (end - first) as usize;
                with_scratch(plan.source.len(rows), |scratch| {
                    let (x, image) = (job.source, band.image);
                    copy_band(
                        simd,
                        &plan.source,
                        x,
                        image,
                        (first, end),
                        job.quant,
                        scratch,
                    );
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
                    match (job.mask, band) {
                        (Some((x, quant)), band) => {
                            Some(masked(simd, &work, band, x, quant, job.accumulate))
                        }
                        (
                            None,
                            Band {
                                from, rows, dst, ..
                            },
                        ) => {
                            work.run(simd, from, dst?, rows);
                            None
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

/// The band's gradient taken through the quantiser while it is in the cache; `x` is the layer's whole input.
fn masked<S: Simd>(
    simd: S,
    work: &Work,
    band: Band,
    x: &[f32],
    quant: ActQuant,
    accumulate: bool,
) -> (f32, f32) {
    let (height, width, channels) = work.plan.out;
    let (at, len) = (
        (band.image * height + band.from) * width * channels,
        band.rows * width * channels,
    );
    let x = &x[at..at + len];
    let mask = |g: Option<&[f32]>, dx: &mut [f32]| {
        simd.vectorize(Mask {
            x,
            g,
            dx,
            quant: Quantiser::new(quant),
        })
    };
    match band.dst {
        Some(dst) if !accumulate => {
            work.run(simd, band.from, dst, band.rows);
            mask(None, dst)
        }
        dst => with_scratch(len, |g| {
            work.run(simd, band.from, g, band.rows);
            match dst {
                Some(dst) => mask(Some(g), dst),
                None => mask(None, g),
            }
        }),
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
