//! The planes of a band: where they stand, and how they are made.

use pulp::Simd;

use super::planes::{SIDE, turn, turn_part};
use crate::ops::conv2d::ConvShape;
use crate::ops::conv2d::cpu::plan::Plan;
use crate::ops::conv2d::cpu::source::{BLOCK, prefetch};

/// Floats of the copy of a band, which is turned into as many planes as the kernel has columns.
const BAND_FLOATS: usize = 24 * 1024;
/// Pixels that a dot product should at least have; smaller images are taken together.
const DOT_PIXELS: usize = 128;

/// Where the planes of one band stand.
///
/// Input: `[block][kernel column][16 channels][row phase][row][out column]`: for kernel column `v` the plane holds
/// the elements that the outputs of a row read through it, so that the outputs of the whole band read neighbours.
/// Output gradient: `[channel][pixel]`.
pub(crate) struct Geometry {
    pub band_rows: usize,
    pub bands_per_image: usize,
    /// Images (or bands) whose planes are held at once.
    pub together: usize,
    /// Rows of a row phase.
    pub phase_rows: usize,
    pub x_plane: usize,
    pub x_len: usize,
    pub dy_plane: usize,
    pub dy_len: usize,
    /// Floats of the padded copy.
    pub copy_len: usize,
    /// Start of the run of each `(channel, tap)` in a band's input planes.
    pub runs: Vec<usize>,
}

impl Geometry {
    pub fn new(s: &ConvShape, plan: &Plan) -> Self {
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

/// `dst[channel][pixel] = dy[pixel][channel]`.
pub(crate) struct TurnGradient<'a> {
    pub dy: &'a [f32],
    pub channels: usize,
    pub plane: usize,
    pub dst: &'a mut [f32],
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
pub(crate) struct TurnInput<'a> {
    pub plan: &'a Plan,
    pub g: &'a Geometry,
    pub rows: usize,
    pub copy: &'a [f32],
    pub dst: &'a mut [f32],
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
