//! One dot product for each free entry, over planes of pixels.

use pulp::Simd;
use rayon::prelude::*;

use super::super::FreezeMask;
use super::planes::{SIDE, turn, turn_part};
use crate::ops::conv2d::cpu::Level;
use crate::ops::conv2d::cpu::grad_weight::{add_chunks, add_pixels, chunk_count};
use crate::ops::conv2d::cpu::plan::Plan;
use crate::ops::conv2d::cpu::scratch::with_scratch;
use crate::ops::conv2d::cpu::source::{BLOCK, Fill, Quantiser};
use crate::ops::conv2d::{ActQuant, ConvShape};

/// Floats of the copy of a band, which is turned into as many planes as the kernel has columns.
const BAND_FLOATS: usize = 24 * 1024;
/// Floats of the output gradient that the dot products walk over at a time, to stay in the first-level cache.
const WALK_FLOATS: usize = 6 * 1024;
/// Pixels that a dot product should at least have; smaller images are taken together.
const DOT_PIXELS: usize = 128;

/// The free entries, sorted by input channel and tap: neighbours read the same plane of the input.
struct Entries {
    /// Where each `(channel, tap)` starts; one more at the end.
    starts: Vec<u32>,
    /// Output channel of each entry.
    out: Vec<u32>,
    /// Place of each entry in the weight.
    at: Vec<u32>,
}

impl Entries {
    fn new(plan: &Plan, frozen: &FreezeMask) -> Self {
        let taps = plan.passes[0].taps.len();
        let filter = plan.src_per_group * taps;
        let group = |out: usize| out / plan.out_per_group * filter;
        let mut starts = vec![0u32; plan.groups * filter + 1];
        let mut find = Split::new(filter);
        frozen.for_each_free(|k| {
            let (out, within) = find.split(k);
            starts[group(out) + within + 1] += 1;
        });
        for k in 1..starts.len() {
            starts[k] += starts[k - 1];
        }
        let mut next = starts.clone();
        let (mut out_of, mut at) = (vec![0; frozen.free()], vec![0; frozen.free()]);
        let mut find = Split::new(filter);
        frozen.for_each_free(|k| {
            let (out, within) = find.split(k);
            let place = &mut next[group(out) + within];
            out_of[*place as usize] = out as u32;
            at[*place as usize] = k as u32;
            *place += 1;
        });
        Entries {
            starts,
            out: out_of,
            at,
        }
    }
}

/// Division by a fixed number of ascending values, without dividing.
struct Split {
    by: usize,
    quotient: usize,
    base: usize,
}

impl Split {
    fn new(by: usize) -> Self {
        Split {
            by,
            quotient: 0,
            base: 0,
        }
    }

    fn split(&mut self, value: usize) -> (usize, usize) {
        while value >= self.base + self.by {
            self.base += self.by;
            self.quotient += 1;
        }
        (self.quotient, value - self.base)
    }
}

/// Where the planes of one band stand.
///
/// Input: `[block][kernel column][16 channels][row phase][row][out column]`: for kernel column `v` the plane holds
/// the elements that the outputs of a row read through it, so that the outputs of the whole band read neighbours.
/// Output gradient: `[channel][pixel]`.
struct Geometry {
    band_rows: usize,
    bands_per_image: usize,
    /// Images (or bands) whose planes are held at once.
    together: usize,
    /// Rows of a row phase.
    phase_rows: usize,
    x_plane: usize,
    x_len: usize,
    dy_plane: usize,
    dy_len: usize,
    /// Floats of the padded copy.
    copy_len: usize,
    /// Start of the run of each `(channel, tap)` in a band's input planes.
    runs: Vec<usize>,
}

impl Geometry {
    fn new(s: &ConvShape, plan: &Plan) -> Self {
        let (height, width, channels) = plan.out;
        let band_rows = plan.band_rows_within(BAND_FLOATS);
        let bands_per_image = height.div_ceil(band_rows);
        let pixels = band_rows * width;
        let together = if bands_per_image == 1 {
            (DOT_PIXELS / pixels).max(1)
        } else {
            1
        };
        let src_rows = (band_rows - 1) * s.stride + (s.kernel.0 - 1) * s.dilation + 1;
        let phase_rows = src_rows.div_ceil(s.stride);
        // The last row's square may reach past its end.
        let x_plane = (s.stride * phase_rows * width + SIDE).next_multiple_of(SIDE);
        let dy_plane = pixels.next_multiple_of(SIDE);
        let columns = s.kernel.1;
        let mut runs = Vec::new();
        for group in 0..plan.groups {
            for c in 0..plan.src_per_group {
                let block = group * plan.source.blocks_per_group() + c / BLOCK;
                for tap in &plan.passes[0].taps {
                    let row = tap.ky * s.dilation;
                    let plane = (block * columns + tap.kx) * BLOCK + c % BLOCK;
                    let line = row % s.stride * phase_rows + row / s.stride;
                    runs.push(plane * x_plane + line * width);
                }
            }
        }
        Geometry {
            band_rows,
            bands_per_image,
            together,
            phase_rows,
            x_plane,
            x_len: plan.source.blocks() * columns * BLOCK * x_plane,
            dy_plane,
            dy_len: channels.next_multiple_of(SIDE) * dy_plane,
            // A square at the end of the last row reads past it.
            copy_len: plan.source.len(src_rows) + SIDE * BLOCK,
            runs,
        }
    }
}

/// The free entries of `dw`, zeros in the others, and `dbias`; lengths were checked.
#[allow(clippy::too_many_arguments)]
pub(crate) fn run(
    level: Level,
    s: &ConvShape,
    x: &[f32],
    quant: Option<ActQuant>,
    dy: &[f32],
    frozen: &FreezeMask,
    dw: &mut [f32],
    dbias: Option<&mut [f32]>,
) {
    // The planes know no depthwise order: a filter for each group is the general case.
    let plan = Plan::forward_grouped(s);
    let entries = Entries::new(&plan, frozen);
    let geometry = Geometry::new(s, &plan);
    level.run(Sampled {
        plan: &plan,
        geometry: &geometry,
        entries: &entries,
        x,
        quant: quant.map(Quantiser::new),
        dy,
        dw,
        dbias,
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
        let image_len = plan.source.height * plan.source.width * plan.source.channels;
        simd.vectorize(Fill {
            layout: &plan.source,
            image: &job.x[image * image_len..(image + 1) * image_len],
            first,
            rows: src_rows,
            quant: job.quant,
            dst: &mut copy[..plan.source.len(src_rows)],
        });
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

/// `dst[channel][pixel] = dy[pixel][channel]`.
struct TurnGradient<'a> {
    dy: &'a [f32],
    channels: usize,
    plane: usize,
    dst: &'a mut [f32],
}

impl pulp::WithSimd for TurnGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let pixels = self.dy.len() / self.channels;
        assert!(self.plane >= pixels.next_multiple_of(SIDE));
        assert!(self.dst.len() >= self.channels.next_multiple_of(SIDE) * self.plane);
        for p in (0..pixels).step_by(SIDE) {
            for c in (0..self.channels).step_by(SIDE) {
                let part = (SIDE.min(pixels - p), SIDE.min(self.channels - c));
                // SAFETY: the assertions cover the destination; `part` is what exists of the source.
                unsafe {
                    let src = self.dy.as_ptr().add(p * self.channels + c);
                    let dst = self.dst.as_mut_ptr().add(c * self.plane + p);
                    if part == (SIDE, SIDE) {
                        turn(simd, src, self.channels, dst, self.plane);
                    } else {
                        turn_part(simd, (src, self.channels), part, dst, self.plane);
                    }
                }
            }
        }
    }
}

/// The input planes of a band from its padded copy.
struct TurnInput<'a> {
    plan: &'a Plan,
    g: &'a Geometry,
    rows: usize,
    copy: &'a [f32],
    dst: &'a mut [f32],
}

impl pulp::WithSimd for TurnInput<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (plan, g) = (self.plan, self.g);
        let source = &plan.source;
        let (width, stride) = (plan.out.1, plan.src_stride);
        let row_len = source.row_len();
        let columns = plan.kernel.1;
        assert!(self.copy.len() >= source.len(self.rows) + SIDE * BLOCK);
        assert!(self.dst.len() >= g.x_len && self.rows <= stride * g.phase_rows);
        for block in 0..source.blocks() {
            for (kx, tap) in plan.passes[0].taps[..columns].iter().enumerate() {
                let plane = (block * columns + kx) * BLOCK * g.x_plane;
                let column = (tap.phase * source.cols + tap.col) * BLOCK;
                // Rows in the order of the plane, so that what a square writes past its row is overwritten.
                for phase in 0..stride {
                    for (k, row) in (phase..self.rows).step_by(stride).enumerate() {
                        let from = (block * self.rows + row) * row_len + column;
                        let to = plane + (phase * g.phase_rows + k) * width;
                        for p in (0..width).step_by(SIDE) {
                            // SAFETY: a square reads at most 15 pixels past its row, which the copy's length allows,
                            // and writes at most 15 floats past it, for which each plane has room.
                            unsafe {
                                let src = self.copy.as_ptr().add(from + p * BLOCK);
                                let dst = self.dst.as_mut_ptr().add(to + p);
                                turn(simd, src, BLOCK, dst, g.x_plane);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `sum[entry] += x run * dy plane` over `pixels` pixels of each item.
struct Dots<'a> {
    g: &'a Geometry,
    entries: &'a Entries,
    xs: &'a [f32],
    dys: &'a [f32],
    items: usize,
    from: usize,
    pixels: usize,
    sum: &'a mut [f32],
}

impl pulp::WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (g, entries) = (self.g, self.entries);
        let end = self.from + self.pixels;
        assert!(end <= g.dy_plane && self.sum.len() == entries.out.len());
        assert!(self.xs.len() >= self.items * g.x_len && self.dys.len() >= self.items * g.dy_len);
        let run = Run {
            simd,
            items: self.items,
            x_item: g.x_len,
            dy_item: g.dy_len,
            pixels: self.pixels,
        };
        for (&start, bucket) in g.runs.iter().zip(entries.starts.windows(2)) {
            assert!(start + end <= g.x_len);
            let (mut k, to) = (bucket[0] as usize, bucket[1] as usize);
            // SAFETY: the assertions cover the last item; the output channels are below the plane count.
            unsafe {
                let x = self.xs.as_ptr().add(start + self.from);
                let dy = |k: usize| {
                    let out = *entries.out.get_unchecked(k) as usize;
                    self.dys.as_ptr().add(out * g.dy_plane + self.from)
                };
                while k + 4 <= to {
                    let sums = run.dots::<4, 1>(x, [dy(k), dy(k + 1), dy(k + 2), dy(k + 3)]);
                    for (s, d) in self.sum[k..k + 4].iter_mut().zip(sums) {
                        *s += d;
                    }
                    k += 4;
                }
                if k + 2 <= to {
                    let sums = run.dots::<2, 2>(x, [dy(k), dy(k + 1)]);
                    self.sum[k] += sums[0];
                    self.sum[k + 1] += sums[1];
                    k += 2;
                }
                if k < to {
                    self.sum[k] += run.dots::<1, 4>(x, [dy(k)])[0];
                }
            }
        }
    }
}

/// What the dot products of a walk share.
#[derive(Clone, Copy)]
struct Run<S> {
    simd: S,
    items: usize,
    x_item: usize,
    dy_item: usize,
    pixels: usize,
}

impl<S: Simd> Run<S> {
    /// `N` dot products with the same `x`, each in `U` sums that do not wait for each other.
    ///
    /// # Safety
    /// `x` and each of `dy` must be readable for `pixels` floats in each item.
    #[inline(always)]
    unsafe fn dots<const N: usize, const U: usize>(
        self,
        x: *const f32,
        dy: [*const f32; N],
    ) -> [f32; N] {
        let simd = self.simd;
        let mut acc = [[simd.splat_f32s(0.0); U]; N];
        for item in 0..self.items {
            // SAFETY: the caller's promise; loads are unaligned ones, the last one masked.
            unsafe {
                let load = |p: *const f32| p.cast::<S::f32s>().read_unaligned();
                let x = x.add(item * self.x_item);
                let dy = dy.map(|p| p.add(item * self.dy_item));
                let mut p = 0;
                while p + U * S::F32_LANES <= self.pixels {
                    #[allow(clippy::needless_range_loop)] // `u` also moves the pointers
                    for u in 0..U {
                        let at = p + u * S::F32_LANES;
                        let xv = load(x.add(at));
                        for n in 0..N {
                            acc[n][u] = simd.mul_add_e_f32s(xv, load(dy[n].add(at)), acc[n][u]);
                        }
                    }
                    p += U * S::F32_LANES;
                }
                while p < self.pixels {
                    let left = (self.pixels - p).min(S::F32_LANES);
                    let part = |from: *const f32| {
                        simd.partial_load_f32s(std::slice::from_raw_parts(from.add(p), left))
                    };
                    let xv = part(x);
                    for n in 0..N {
                        acc[n][0] = simd.mul_add_e_f32s(xv, part(dy[n]), acc[n][0]);
                    }
                    p += left;
                }
            }
        }
        acc.map(|sums| {
            let mut sum = sums[0];
            for &s in &sums[1..] {
                sum = simd.add_f32s(sum, s);
            }
            simd.reduce_sum_f32s(sum)
        })
    }
}
