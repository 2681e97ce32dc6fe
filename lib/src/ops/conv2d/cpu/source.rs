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

    /// Floats of `rows` rows of all blocks.
    pub fn len(&self, rows: usize) -> usize {
        self.blocks() * rows * self.row_len()
    }
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

    /// The quantised value, in `[0, 1]`.
    #[inline(always)]
    pub fn apply(&self, x: f32) -> f32 {
        let n = ((x - self.lower) * self.scale).clamp(0.0, 1.0);
        (n * self.levels).round_ties_even() * self.step
    }
}

/// Copies padded rows `first..first + rows` of `image` (NHWC, one sample) into `dst`.
pub(crate) struct Fill<'a> {
    pub layout: &'a SourceLayout,
    pub image: &'a [f32],
    /// Padded row that becomes row 0 of the copy; may lie above the padding.
    pub first: isize,
    pub rows: usize,
    pub quant: Option<Quantiser>,
    pub dst: &'a mut [f32],
}

impl pulp::WithSimd for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        match self.quant {
            None => self.fill(|x| x),
            Some(q) => self.fill(move |x| q.apply(x)),
        }
    }
}

impl Fill<'_> {
    #[inline(always)]
    fn fill(self, map: impl Fn(f32) -> f32 + Copy) {
        let l = self.layout;
        let row_len = l.row_len();
        if self.rows * row_len == 0 {
            return;
        }
        let per_group = l.channels / l.groups;
        let blocks_per_group = l.blocks_per_group();
        for (index, rows) in (self.dst.chunks_exact_mut(self.rows * row_len)).enumerate() {
            let within = (index % blocks_per_group) * BLOCK;
            let channel = (index / blocks_per_group) * per_group + within;
            let lanes = (per_group - within).min(BLOCK);
            for (r, row) in rows.chunks_exact_mut(row_len).enumerate() {
                let y = self.first + r as isize - l.top as isize;
                if y < 0 || y >= l.height as isize {
                    row.fill(0.0);
                    continue;
                }
                let start = y as usize * l.width * l.channels;
                let image_row = &self.image[start..start + l.width * l.channels];
                for (phase, line) in row.chunks_exact_mut(l.cols * BLOCK).enumerate() {
                    fill_line(l, image_row, phase, channel, lanes, line, map);
                }
            }
        }
    }
}

/// One phase of one row of one block.
#[inline(always)]
fn fill_line(
    l: &SourceLayout,
    image_row: &[f32],
    phase: usize,
    channel: usize,
    lanes: usize,
    line: &mut [f32],
    map: impl Fn(f32) -> f32 + Copy,
) {
    // Columns `begin..end` of this phase lie inside the image.
    let begin = l.left.saturating_sub(phase).div_ceil(l.phases).min(l.cols);
    let end = (l.left + l.width)
        .saturating_sub(phase)
        .div_ceil(l.phases)
        .clamp(begin, l.cols);
    line[..begin * BLOCK].fill(0.0);
    line[end * BLOCK..].fill(0.0);
    if begin == end {
        return;
    }
    let first = begin * l.phases + phase - l.left;
    let step = l.phases * l.channels;
    let source = &image_row[first * l.channels + channel..];
    let pixels = line[begin * BLOCK..end * BLOCK].as_chunks_mut::<BLOCK>().0;
    if lanes == BLOCK {
        for (pixel, from) in pixels.iter_mut().zip(source.chunks(step)) {
            if let Some(from) = from.first_chunk::<BLOCK>() {
                for (d, &s) in pixel.iter_mut().zip(from) {
                    *d = map(s);
                }
            }
        }
    } else {
        for (pixel, from) in pixels.iter_mut().zip(source.chunks(step)) {
            for (d, &s) in pixel.iter_mut().zip(&from[..lanes]) {
                *d = map(s);
            }
            pixel[lanes..].fill(0.0);
        }
    }
}
