//! Rows of as many chunks as a register has lanes, as planes of one channel each.

use std::ops::Range;

use pulp::Simd;

use super::transpose::transpose;
use crate::ops::conv2d::cpu::plan::Plan;
use crate::ops::conv2d::cpu::source::{BLOCK, Quantiser, Reach, SourceLayout, copy_band};

/// How one operand of the products lies in memory: `[channel][row][column][lane]`, columns sorted by phase.
pub(crate) struct Planes {
    pub layout: SourceLayout,
    /// Rows of a window.
    pub rows: usize,
    pub lanes: usize,
}

impl Planes {
    /// The input, for windows of so many output rows.
    pub fn of_input(plan: &Plan, window: usize, lanes: usize) -> Self {
        let reach = plan.source.reach;
        let rows = (window - 1) * plan.src_stride + (reach.kernel.0 - 1) * reach.dilation + 1;
        let layout = plan.source;
        Planes {
            layout,
            rows,
            lanes,
        }
    }

    /// The output gradient.
    pub fn of_gradient(plan: &Plan, window: usize, lanes: usize) -> Self {
        let (height, width, channels) = plan.out;
        let layout = SourceLayout {
            height,
            width,
            channels,
            groups: 1,
            top: 0,
            left: 0,
            phases: 1,
            cols: width,
            reach: Reach::ALL,
        };
        Planes {
            layout,
            rows: window,
            lanes,
        }
    }

    /// Floats of a row of a plane.
    pub fn line(&self) -> usize {
        self.layout.phases * self.layout.cols * self.lanes
    }

    /// Floats of a plane: an odd number of registers, so that planes do not compete for the same few sets of a cache.
    pub fn plane(&self) -> usize {
        ((self.rows * self.layout.phases * self.layout.cols) | 1) * self.lanes
    }

    /// Floats of the planes of so many blocks.
    pub fn len(&self, blocks: usize) -> usize {
        blocks * BLOCK * self.plane()
    }

    /// Floats of one lane's copy of a row, with which [`Self::fill`] works.
    fn copy_step(&self) -> usize {
        ((self.layout.len(1) / BLOCK) | 1) * BLOCK
    }

    /// Floats of all lanes' copies of a row.
    pub fn copies(&self) -> usize {
        self.copy_step() * self.lanes
    }

    /// Moves the rows from `from` on to the beginning.
    pub fn move_up(&self, planes: &mut [f32], from: usize) {
        for plane in planes.chunks_exact_mut(self.plane()) {
            plane.copy_within(from * self.line()..self.rows * self.line(), 0);
        }
    }

    /// Fills the rows `job.rows` of the planes of `job.blocks`, one after the other: a row's copies fit the first-level
    /// cache.
    pub fn fill<S: Simd>(&self, simd: S, job: Fill, copies: &mut [f32], planes: &mut [f32]) {
        assert!(self.lanes == S::F32_LANES && job.lanes.len() == S::F32_LANES);
        assert!(copies.len() >= self.copies() && planes.len() >= self.len(job.blocks.len()));
        assert!(job.rows.end <= self.rows && job.blocks.end <= self.layout.blocks());
        let step = self.copy_step();
        for row in job.rows {
            // The first row of a window is a whole number of strides from the top.
            if !self.layout.uses_row(row as isize) {
                continue;
            }
            for (lane, copy) in job.lanes.iter().zip(copies.chunks_exact_mut(step)) {
                let copy = &mut copy[..self.layout.len(1)];
                match *lane {
                    Some((image, first)) => {
                        let rows = ((first + row) as isize, (first + row + 1) as isize);
                        copy_band(simd, &self.layout, job.x, image, rows, job.quant, copy);
                    }
                    None => copy.fill(job.idle),
                }
            }
            simd.vectorize(Transpose {
                planes: self,
                blocks: job.blocks.clone(),
                row,
                copies,
                to: planes,
            });
        }
    }
}

/// What fills planes.
pub(crate) struct Fill<'a> {
    /// The batch.
    pub x: &'a [f32],
    pub quant: Option<Quantiser>,
    /// Each lane's image, and the padded row that stands in the window's first row.
    pub lanes: &'a [Option<(usize, usize)>],
    /// What stands in lanes without an image.
    pub idle: f32,
    pub rows: Range<usize>,
    pub blocks: Range<usize>,
}

/// The copies of all lanes turned into a row of the planes; lengths were asserted.
struct Transpose<'a> {
    planes: &'a Planes,
    blocks: Range<usize>,
    row: usize,
    copies: &'a [f32],
    to: &'a mut [f32],
}

impl pulp::WithSimd for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (layout, plane) = (&self.planes.layout, self.planes.plane());
        let step = self.planes.copy_step();
        for (k, block) in self.blocks.enumerate() {
            let from = block * layout.row_len();
            let to = k * BLOCK * plane + self.row * self.planes.line();
            for phase in (0..layout.phases).filter(|&phase| layout.uses_phase(phase)) {
                for column in phase * layout.cols..(phase + 1) * layout.cols {
                    // SAFETY: a pixel of the copies that `fill` made, and its place in planes whose length it asserted.
                    unsafe {
                        let src = self.copies.as_ptr().add(from + column * BLOCK);
                        let dst = self.to.as_mut_ptr().add(to + column * S::F32_LANES);
                        transpose(simd, src, step, dst, plane);
                    }
                }
            }
        }
    }
}
