//! The copy of an image that the micro-kernels read: padded, blocked by channels, sorted by column phase.

use pulp::Simd;

use super::super::ActQuant;

/// Channels of a block; the distance in floats between neighbouring pixels of a phase.
pub(crate) const BLOCK: usize = 16;

/// Where each source element stands in scratch memory: `[block][row][phase][column][BLOCK]`.
///
/// Padded column `c` (image column `c - left`) is column `c / phases` of phase `c % phases`, so that pixels a
/// stride apart are neighbours. A block holds channels of one group only; the rest of it is zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SourceLayout {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub groups: usize,
    /// Zero rows above the image.
    pub top: usize,
    /// Zero columns before the image.
    pub left: usize,
    pub phases: usize,
    /// Columns of a phase.
    pub cols: usize,
    /// Kernel rows and columns that read this source, and the step between them: what no tap reaches is not copied.
    pub reach: Reach,
}

/// Which rows and phases the taps of a forward convolution touch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    pub kernel: (usize, usize),
    pub dilation: usize,
    pub stride: usize,
}

impl Reach {
    /// Everything.
    pub const ALL: Reach = Reach {
        kernel: (1, 1),
        dilation: 1,
        stride: 1,
    };
}

impl SourceLayout {
    /// Floats of a row of one block.
    pub fn row_len(&self) -> usize {
        self.phases * self.cols * BLOCK
    }

    /// Channel blocks of a group.
    pub fn blocks_per_group(&self) -> usize {
        (self.channels / self.groups).div_ceil(BLOCK)
    }

    /// Channel blocks.
    pub fn blocks(&self) -> usize {
        self.groups * self.blocks_per_group()
    }

    /// Whether any tap reads padded row `row`.
    pub fn uses_row(&self, row: isize) -> bool {
        let Reach {
            kernel,
            dilation,
            stride,
        } = self.reach;
        (0..kernel.0).any(|k| (row - (k * dilation) as isize).rem_euclid(stride as isize) == 0)
    }

    /// Whether any tap reads columns of `phase`.
    pub fn uses_phase(&self, phase: usize) -> bool {
        let Reach {
            kernel,
            dilation,
            stride,
        } = self.reach;
        (0..kernel.1).any(|k| (k * dilation) % stride == phase % stride)
    }

    /// Floats of `rows` rows of all blocks.
    pub fn len(&self, rows: usize) -> usize {
        self.blocks() * rows * self.row_len()
    }
}

/// How far ahead of a copy the memory is asked for, in floats: the machine's own prefetcher stops at each page.
const AHEAD: usize = 1024;

/// Asks for the cache line at `at`, which may lie anywhere.
#[inline(always)]
pub(crate) fn prefetch(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address has no effect but on the cache.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// [`ActQuant`] with its divisions done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantiser {
    pub lower: f32,
    pub scale: f32,
    pub levels: f32,
    pub step: f32,
}

impl Quantiser {
    pub fn new(q: ActQuant) -> Self {
        Quantiser {
            lower: q.lower,
            scale: 1.0 / (q.upper - q.lower),
            levels: q.levels as f32,
            step: 1.0 / q.levels as f32,
        }
    }

    /// The quantised values, in `[0, 1]`.
    ///
    /// Adding and subtracting 1.5 * 2^23 rounds half to even, as long as `levels` is below 2^22.
    #[inline(always)]
    pub fn apply<S: Simd>(&self, simd: S, x: S::f32s) -> S::f32s {
        let splat = |v| simd.splat_f32s(v);
        let n = simd.mul_f32s(simd.sub_f32s(x, splat(self.lower)), splat(self.scale));
        let n = clamp(simd, n, splat(0.0), splat(1.0));
        let magic = splat(12_582_912.0);
        let k = simd.sub_f32s(simd.mul_add_f32s(n, splat(self.levels), magic), magic);
        simd.mul_f32s(k, splat(self.step))
    }
}

/// `x` clamped to `low..=high`; NaN stays NaN.
///
/// Of two numbers that cannot be compared the vector instructions give the second (x86) or the NaN (the others);
/// `f32::max` gives the one that is a number.
#[inline(always)]
fn clamp<S: Simd>(simd: S, x: S::f32s, low: S::f32s, high: S::f32s) -> S::f32s {
    if S::IS_SCALAR {
        let raised = simd.select_f32s(simd.less_than_f32s(x, low), low, x);
        simd.select_f32s(simd.greater_than_f32s(raised, high), high, raised)
    } else {
        simd.min_f32s(high, simd.max_f32s(low, x))
    }
}

/// Copies what a band of one image reads, its padded rows `rows.0..rows.1`, out of the batch `x`.
pub(crate) fn copy_band<S: Simd>(
    simd: S,
    layout: &SourceLayout,
    x: &[f32],
    image: usize,
    rows: (isize, isize),
    quant: Option<Quantiser>,
    dst: &mut [f32],
) {
    let len = layout.height * layout.width * layout.channels;
    simd.vectorize(Fill {
        layout,
        image: &x[image * len..(image + 1) * len],
        first: rows.0,
        rows: (rows.1 - rows.0) as usize,
        quant,
        dst,
    });
}

/// Copies padded rows `first..first + rows` of `image` (NHWC, one sample) into `dst`.
struct Fill<'a> {
    layout: &'a SourceLayout,
    image: &'a [f32],
    /// Padded row that becomes row 0 of the copy; may lie above the padding.
    first: isize,
    rows: usize,
    quant: Option<Quantiser>,
    dst: &'a mut [f32],
}

impl pulp::WithSimd for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.quant {
            None => self.fill(
                simd,
                #[inline(always)]
                |x| x,
            ),
            Some(q) => self.fill(
                simd,
                #[inline(always)]
                move |x| q.apply(simd, x),
            ),
        }
    }
}

impl Fill<'_> {
    #[inline(always)]
    fn fill<S: Simd>(self, simd: S, map: impl Fn(S::f32s) -> S::f32s + Copy) {
        let l = self.layout;
        let row_len = l.row_len();
        let block_len = self.rows * row_len;
        let per_group = l.channels / l.groups;
        let blocks_per_group = l.blocks_per_group();
        for r in 0..self.rows {
            if !l.uses_row(self.first + r as isize) {
                continue;
            }
            let y = self.first + r as isize - l.top as isize;
            let inside = y >= 0 && y < l.height as isize;
            for block in 0..l.blocks() {
                let row = &mut self.dst[block * block_len + r * row_len..][..row_len];
                if !inside {
                    row.fill(0.0);
                    continue;
                }
                let within = (block % blocks_per_group) * BLOCK;
                let channel = (block / blocks_per_group) * per_group + within;
                let lanes = (per_group - within).min(BLOCK);
                let start = y as usize * l.width * l.channels;
                let image_row = &self.image[start..start + l.width * l.channels];
                for (phase, line) in row.chunks_exact_mut(l.cols * BLOCK).enumerate() {
                    if l.uses_phase(phase) {
                        let from = Line {
                            image_row,
                            phase,
                            channel,
                            lanes,
                        };
                        fill_line(simd, l, from, line, map);
                    }
                }
            }
        }
    }
}

/// One phase of one row of one block: its first channel in the image, and how many there are.
struct Line<'a> {
    image_row: &'a [f32],
    phase: usize,
    channel: usize,
    lanes: usize,
}

#[inline(always)]
fn fill_line<S: Simd>(
    simd: S,
    l: &SourceLayout,
    from: Line,
    line: &mut [f32],
    map: impl Fn(S::f32s) -> S::f32s + Copy,
) {
    let Line {
        image_row,
        phase,
        channel,
        lanes,
    } = from;
    // Columns `begin..end` of this phase lie inside the image.
    let begin = (l.left.saturating_sub(phase).div_ceil(l.phases)).min(l.cols);
    let end = (l.left + l.width).saturating_sub(phase).div_ceil(l.phases);
    let end = end.clamp(begin, l.cols);
    line[..begin * BLOCK].fill(0.0);
    line[end * BLOCK..].fill(0.0);
    if begin == end {
        return;
    }
    let first = begin * l.phases + phase - l.left;
    let step = l.phases * l.channels;
    let source = &image_row[first * l.channels + channel..];
    let pixels = line[begin * BLOCK..end * BLOCK].as_chunks_mut::<BLOCK>().0;
    let vectors = BLOCK / S::F32_LANES;
    if lanes == BLOCK {
        assert!(source.len() >= (pixels.len() - 1) * step + BLOCK);
        let mut from = source.as_ptr();
        for pixel in pixels {
            prefetch(from.wrapping_add(AHEAD));
            for v in 0..vectors {
                // SAFETY: the assertion covers the last pixel; a pixel holds `vectors` vectors.
                unsafe {
                    let at = v * S::F32_LANES;
                    let value = map(from.add(at).cast::<S::f32s>().read_unaligned());
                    let to = pixel.as_mut_ptr().add(at);
                    to.cast::<S::f32s>().write_unaligned(value);
                }
            }
            from = from.wrapping_add(step);
        }
    } else {
        for (pixel, from) in pixels.iter_mut().zip(source.chunks(step)) {
            let mut rest = &from[..lanes];
            for v in 0..vectors {
                let (now, later) = rest.split_at(rest.len().min(S::F32_LANES));
                rest = later;
                let at = v * S::F32_LANES;
                let to = &mut pixel[at..at + S::F32_LANES];
                let n = now.len();
                simd.partial_store_f32s(to, map(simd.partial_load_f32s(now)));
                to[n..].fill(0.0);
            }
        }
    }
}
