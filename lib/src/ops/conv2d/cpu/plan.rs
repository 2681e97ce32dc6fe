//! A convolution as a list of correlations: which source pixel each output pixel reads, for both directions.

use super::super::ConvShape;
use super::source::{BLOCK, Reach, SourceLayout};

/// One kernel element of a pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tap {
    /// Row of the kernel.
    pub ky: usize,
    /// Column of the kernel.
    pub kx: usize,
    /// Source row of position 0.
    pub row: usize,
    /// Phase of the source column (its remainder modulo the source stride).
    pub phase: usize,
    /// Source column of position 0 within the phase.
    pub col: usize,
}

/// The output pixels `(t_y * out_stride + row_shift, t_x * out_stride + col_shift)` that share a list of taps.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    /// Kernel elements that reach these pixels; may be empty.
    pub taps: Vec<Tap>,
    /// Output row of position 0; may be negative.
    pub row_shift: isize,
    /// Output column of position 0; may be negative.
    pub col_shift: isize,
}

/// A correlation of a source (input, or output gradient) with a kernel into a destination.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How the source is copied into scratch memory.
    pub source: SourceLayout,
    /// Images.
    pub batch: usize,
    /// Height, width, channels of the destination.
    pub out: (usize, usize, usize),
    /// Source rows between neighbouring positions.
    pub src_stride: usize,
    /// Destination rows between neighbouring positions.
    pub out_stride: usize,
    /// The passes; together they cover each destination pixel once.
    pub passes: Vec<Pass>,
    /// Groups.
    pub groups: usize,
    /// Source channels of a group.
    pub src_per_group: usize,
    /// Destination channels of a group.
    pub out_per_group: usize,
    /// Kernel height and width.
    pub kernel: (usize, usize),
    /// Whether the weight's first axis is the source's (the input gradient) and not the destination's.
    pub transposed: bool,
    /// One channel in, one channel out, per group.
    pub depthwise: bool,
}

/// A pointwise convolution as one image of full tiles: its pixels do not know each other.
fn flat(s: &ConvShape) -> ConvShape {
    const WIDEST: usize = 64;
    const ONE_ROW: usize = 1 << 16;
    let s = &s.with_stride_used();
    if s.kernel != (1, 1) || s.stride != 1 || s.padding != 0 {
        return *s;
    }
    let pixels = s.batch * s.in_h * s.in_w;
    let divisor = (1..=WIDEST).rev().find(|w| pixels.is_multiple_of(*w));
    let in_w = match divisor.unwrap_or(1) {
        1..8 if pixels <= ONE_ROW => pixels,
        divisor => divisor,
    };
    ConvShape {
        batch: 1,
        in_h: pixels / in_w,
        in_w,
        ..*s
    }
}

/// `ceil(a / b)` for any `a` and positive `b`.
fn ceil_div(a: isize, b: isize) -> isize {
    -(-a).div_euclid(b)
}

impl Pass {
    /// Positions whose output row (or column, by `shift`) lies in `from..to`.
    pub fn positions(shift: isize, stride: usize, from: usize, to: usize) -> (isize, isize) {
        let stride = stride as isize;
        (
            ceil_div(from as isize - shift, stride),
            ceil_div(to as isize - shift, stride),
        )
    }
}

impl Plan {
    /// The forward direction: source `x`, destination `y`.
    pub fn forward(s: &ConvShape) -> Self {
        let depthwise = s.groups > 1 && s.groups == s.in_channels && s.groups == s.out_channels;
        let s = &flat(s);
        let mut taps = Vec::new();
        for ky in 0..s.kernel.0 {
            for kx in 0..s.kernel.1 {
                taps.push(Tap {
                    ky,
                    kx,
                    row: ky * s.dilation,
                    phase: (kx * s.dilation) % s.stride,
                    col: (kx * s.dilation) / s.stride,
                });
            }
        }
        let passes = vec![Pass {
            taps,
            row_shift: 0,
            col_shift: 0,
        }];
        let source = SourceLayout {
            height: s.in_h,
            width: s.in_w,
            channels: s.in_channels,
            groups: if depthwise { 1 } else { s.groups },
            top: s.padding,
            left: s.padding,
            phases: s.stride,
            cols: 0,
            reach: Reach {
                kernel: s.kernel,
                dilation: s.dilation,
                stride: s.stride,
            },
        };
        Plan {
            source,
            batch: s.batch,
            out: (s.out_h(), s.out_w(), s.out_channels),
            src_stride: s.stride,
            out_stride: 1,
            passes,
            groups: s.groups,
            src_per_group: s.in_channels / s.groups,
            out_per_group: s.out_channels / s.groups,
            kernel: s.kernel,
            transposed: false,
            depthwise,
        }
        .with_columns()
    }

    /// The backward direction: source `dy`, destination `dx`, one pass for each remainder modulo the stride.
    pub fn grad_input(s: &ConvShape) -> Self {
        let s = &flat(s);
        // Input row p of phase f = (p + padding) % stride, at position t = (p + padding) / stride, is read through
        // kernel rows with ky * dilation = stride * b + f, from output row t - b.
        let reach = |k: usize| (k - 1) * s.dilation / s.stride;
        let (top, left) = (reach(s.kernel.0), reach(s.kernel.1));
        let mut passes = Vec::new();
        for fy in 0..s.stride {
            for fx in 0..s.stride {
                let mut taps = Vec::new();
                for ky in (0..s.kernel.0).filter(|k| k * s.dilation % s.stride == fy) {
                    for kx in (0..s.kernel.1).filter(|k| k * s.dilation % s.stride == fx) {
                        taps.push(Tap {
                            ky,
                            kx,
                            row: top - ky * s.dilation / s.stride,
                            phase: 0,
                            col: left - kx * s.dilation / s.stride,
                        });
                    }
                }
                passes.push(Pass {
                    taps,
                    row_shift: fy as isize - s.padding as isize,
                    col_shift: fx as isize - s.padding as isize,
                });
            }
        }
        let depthwise = s.groups > 1 && s.groups == s.in_channels && s.groups == s.out_channels;
        let source = SourceLayout {
            height: s.out_h(),
            width: s.out_w(),
            channels: s.out_channels,
            groups: if depthwise { 1 } else { s.groups },
            top,
            left,
            phases: 1,
            cols: 0,
            reach: Reach::ALL,
        };
        Plan {
            source,
            batch: s.batch,
            out: (s.in_h, s.in_w, s.in_channels),
            src_stride: 1,
            out_stride: s.stride,
            passes,
            groups: s.groups,
            src_per_group: s.out_channels / s.groups,
            out_per_group: s.in_channels / s.groups,
            kernel: s.kernel,
            transposed: true,
            depthwise,
        }
        .with_columns()
    }

    /// Makes the scratch rows wide enough for every tap at every position.
    fn with_columns(mut self) -> Self {
        self.source.cols = (self.passes.iter())
            .flat_map(|pass| {
                let (_, end) = Pass::positions(pass.col_shift, self.out_stride, 0, self.out.1);
                (pass.taps.iter()).map(move |tap| (end + tap.col as isize).max(0) as usize)
            })
            .max()
            .unwrap_or(0);
        self
    }

    /// Offsets of a pass's taps in scratch memory of `rows` rows a block (which only the row length enters).
    pub fn tap_offsets(&self, pass: &Pass) -> Vec<usize> {
        (pass.taps.iter())
            .map(|t| t.row * self.source.row_len() + (t.phase * self.source.cols + t.col) * BLOCK)
            .collect()
    }

    /// Source rows (in padded coordinates) that the destination rows `from..to` need: first and end.
    pub fn source_rows(&self, from: usize, to: usize) -> (isize, isize) {
        let (mut first, mut end) = (isize::MAX, isize::MIN);
        for pass in &self.passes {
            let (t0, t1) = Pass::positions(pass.row_shift, self.out_stride, from, to);
            if t0 >= t1 {
                continue;
            }
            for tap in &pass.taps {
                first = first.min(t0 * self.src_stride as isize + tap.row as isize);
                end = end.max((t1 - 1) * self.src_stride as isize + tap.row as isize + 1);
            }
        }
        if first > end { (0, 0) } else { (first, end) }
    }

    /// Destination rows of one piece of work: whole images when they fit the cache and there are enough of them.
    ///
    /// Depends on the shape only, so results do not depend on the number of threads.
    pub fn band_rows(&self) -> usize {
        self.band_rows_within(if self.depthwise { 24 } else { 96 } * 1024)
    }

    /// [`Self::band_rows`] for copies of at most about `cache_floats`.
    pub fn band_rows_within(&self, cache_floats: usize) -> usize {
        const PIECES: usize = 32;
        let row =
            self.source.blocks() * self.source.row_len() * self.src_stride / self.out_stride.max(1);
        let fit = (cache_floats / row.max(1)).max(4);
        let wanted = PIECES.div_ceil(self.batch);
        let split = self.out.0.div_ceil(wanted).max(4);
        let rows = fit.min(split).min(self.out.0).max(1);
        // Even bands rather than a full one and a rest.
        self.out.0.div_ceil(self.out.0.div_ceil(rows))
    }
}
