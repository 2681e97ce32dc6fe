//! One dot product for each free entry, over planes of pixels.

use pulp::Simd;
use rayon::prelude::*;

use super::super::FreezeMask;
use super::planes::{SIDE, turn, turn_part};
use crate::ops::conv2d::cpu::Level;
use crate::ops::conv2d::cpu::grad_weight::{add_chunks, add_pixels, chunk_count};
use crate::ops::conv2d::cpu::plan::Plan;
use crate::ops::conv2d::cpu::scratch::with_scratch;
use crate::ops::conv2d::cpu::source::{BLOCK, Fill, Quantiser, prefetch};
use crate::ops::conv2d::{ActQuant, ConvShape};

/// Floats of the copy of a band, which is turned into as many planes as the kernel has columns.
const BAND_FLOATS: usize = 24 * 1024;
/// Floats of the output gradient that the dot products walk over at a time, to stay in the first-level cache.
const WALK_FLOATS: usize = 6 * 1024;
/// Pixels that a dot product should at least have; smaller images are taken together.
const DOT_PIXELS: usize = 128;

/// The free entries: first fours that read the same run of the input, then the rest one by one.
struct Entries {
    /// `(channel, tap)` of each four.
    four_runs: Vec<u32>,
    /// `(channel, tap)` of each of the rest.
    one_runs: Vec<u32>,
    /// Output channel of each entry, fours first.
    out: Vec<u32>,
    /// Place of each entry in the weight.
    at: Vec<u32>,
}

impl Entries {
    fn new(plan: &Plan, frozen: &FreezeMask) -> Self {
        let filter = plan.src_per_group * plan.passes[0].taps.len();
        let run_of = |out: usize, within: usize| out / plan.out_per_group * filter + within;
        let mut counts = vec![0u32; plan.groups * filter];
        let mut find = Split::new(filter);
        frozen.for_each_free(|k| {
            let (out, within) = find.split(k);
            counts[run_of(out, within)] += 1;
        });
        let (mut four_runs, mut one_runs) = (Vec::new(), Vec::new());
        // Where the next entry of a run goes: among the fours while `fours` of them are left, then among the rest.
        let mut places = Vec::with_capacity(counts.len());
        for (run, &count) in counts.iter().enumerate() {
            let fours = count / 4;
            places.push((4 * four_runs.len() as u32, 4 * fours, one_runs.len() as u32));
            four_runs.extend((0..fours).map(|_| run as u32));
            one_runs.extend((0..count % 4).map(|_| run as u32));
        }
        let ones_start = 4 * four_runs.len() as u32;
        let (mut out_of, mut at) = (vec![0; frozen.free()], vec![0; frozen.free()]);
        let mut find = Split::new(filter);
        frozen.for_each_free(|k| {
            let (out, within) = find.split(k);
            let (four, left, one) = &mut places[run_of(out, within)];
            let place = if *left > 0 {
                *left -= 1;
                *four += 1;
                *four - 1
            } else {
                *one += 1;
                ones_start + *one - 1
            };
            out_of[place as usize] = out as u32;
            at[place as usize] = k as u32;
        });
        Entries {
            four_runs,
            one_runs,
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
        let x_plane = plane_len(s.stride * phase_rows * width + SIDE);
        let dy_plane = plane_len(pixels);
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

/// Floats of a plane for `len`: an odd number of cache lines, so that planes do not compete for the same few sets.
fn plane_len(len: usize) -> usize {
    (len.div_ceil(SIDE) | 1) * SIDE
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
                        for k in 0..SIDE {
                            prefetch(src.wrapping_add((k + 4 * SIDE) * self.channels));
                        }
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
        assert!(g.runs.iter().all(|run| run + end <= g.x_len));
        let run = Run {
            simd,
            items: self.items,
            x_item: g.x_len,
            dy_item: g.dy_len,
            dy_plane: g.dy_plane,
            pixels: self.pixels,
        };
        let mut sums = [simd.splat_f32s(0.0); SIDE];
        let fours = 4 * entries.four_runs.len();
        let (out4, out1) = entries.out.split_at(fours);
        let (sum4, sum1) = self.sum.split_at_mut(fours);
        // SAFETY: the assertions cover every run in the last item; the output channels are below the plane count.
        unsafe {
            let x = self.xs.as_ptr().add(self.from);
            let dy = self.dys.as_ptr().add(self.from);
            let groups = entries.four_runs.chunks(SIDE / 4).zip(out4.chunks(SIDE));
            for ((runs, outs), sum) in groups.zip(sum4.chunks_mut(SIDE)) {
                for (k, (&r, outs)) in runs.iter().zip(outs.chunks_exact(4)).enumerate() {
                    let x = x.add(*g.runs.get_unchecked(r as usize));
                    run.dots::<4, 4>(x, dy, outs, &mut sums[4 * k..4 * k + 4]);
                }
                add_sums(simd, &sums, sum);
            }
            let groups = entries.one_runs.chunks(SIDE).zip(out1.chunks(SIDE));
            for ((runs, outs), sum) in groups.zip(sum1.chunks_mut(SIDE)) {
                for (k, &r) in runs.iter().enumerate() {
                    let x = x.add(*g.runs.get_unchecked(r as usize));
                    run.dots::<1, 4>(x, dy, &outs[k..k + 1], &mut sums[k..k + 1]);
                }
                add_sums(simd, &sums, sum);
            }
        }
    }
}

/// `sum[k] += ` the sum of the lanes of `vectors[k]`.
#[inline(always)]
fn add_sums<S: Simd>(simd: S, vectors: &[S::f32s; SIDE], sum: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if S::F32_LANES == SIDE {
        let mut totals = [0.0f32; SIDE];
        // SAFETY: the only level with 16 lanes is V4, whose token proves AVX-512F; `vectors` are 16 of its registers.
        unsafe { super::planes::lane_sums_avx512(vectors.as_ptr().cast(), &mut totals) };
        for (sum, total) in sum.iter_mut().zip(totals) {
            *sum += total;
        }
        return;
    }
    for (sum, &v) in sum.iter_mut().zip(vectors) {
        *sum += simd.reduce_sum_f32s(v);
    }
}

/// What the dot products of a walk share.
#[derive(Clone, Copy)]
struct Run<S> {
    simd: S,
    items: usize,
    x_item: usize,
    dy_item: usize,
    dy_plane: usize,
    pixels: usize,
}

impl<S: Simd> Run<S> {
    /// `N` dot products with the same `x` lane by lane, each in `U` sums that do not wait for each other.
    ///
    /// # Safety
    /// `x` and the planes of the first `N` channels of `out` must be readable for `pixels` floats in each item.
    #[inline(always)]
    unsafe fn dots<const N: usize, const U: usize>(
        self,
        x: *const f32,
        dy: *const f32,
        out: &[u32],
        sums: &mut [S::f32s],
    ) {
        let simd = self.simd;
        let mut acc = [[simd.splat_f32s(0.0); U]; N];
        let whole = self.pixels / S::F32_LANES * S::F32_LANES;
        let mut x = x;
        let mut planes = [dy; N];
        for (plane, &out) in planes.iter_mut().zip(out) {
            *plane = plane.wrapping_add(out as usize * self.dy_plane);
        }
        for _ in 0..self.items {
            // SAFETY: the caller's promise; loads are unaligned ones, the last one masked.
            unsafe {
                let mut p = 0;
                while p + U * S::F32_LANES <= whole {
                    for u in 0..U {
                        let at = p + u * S::F32_LANES;
                        let xv = load::<S>(x.add(at));
                        for (acc, &plane) in acc.iter_mut().zip(&planes) {
                            acc[u] = simd.mul_add_e_f32s(xv, load::<S>(plane.add(at)), acc[u]);
                        }
                    }
                    p += U * S::F32_LANES;
                }
                while p < whole {
                    let xv = load::<S>(x.add(p));
                    for (acc, &plane) in acc.iter_mut().zip(&planes) {
                        acc[0] = simd.mul_add_e_f32s(xv, load::<S>(plane.add(p)), acc[0]);
                    }
                    p += S::F32_LANES;
                }
                if whole < self.pixels {
                    let left = self.pixels - whole;
                    let xv = load_part(simd, x.add(whole), left);
                    for (acc, &plane) in acc.iter_mut().zip(&planes) {
                        let g = load_part(simd, plane.add(whole), left);
                        acc[0] = simd.mul_add_e_f32s(xv, g, acc[0]);
                    }
                }
            }
            x = x.wrapping_add(self.x_item);
            for plane in &mut planes {
                *plane = plane.wrapping_add(self.dy_item);
            }
        }
        for (sum, acc) in sums.iter_mut().zip(acc) {
            *sum = acc[0];
            for &a in &acc[1..] {
                *sum = simd.add_f32s(*sum, a);
            }
        }
    }
}

/// A vector from anywhere.
///
/// # Safety
/// `from` must be readable for a vector.
#[inline(always)]
unsafe fn load<S: Simd>(from: *const f32) -> S::f32s {
    // SAFETY: the caller's promise.
    unsafe { from.cast::<S::f32s>().read_unaligned() }
}

/// The first `count` lanes of a vector, zero in the others.
///
/// # Safety
/// `from` must be readable for `count` floats.
#[inline(always)]
unsafe fn load_part<S: Simd>(simd: S, from: *const f32, count: usize) -> S::f32s {
    // SAFETY: the caller's promise.
    simd.partial_load_f32s(unsafe { std::slice::from_raw_parts(from, count) })
}
