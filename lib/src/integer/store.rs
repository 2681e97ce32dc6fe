//! From sums to what later layers read: numbers, levels, or both.

use std::ops::Range;

use super::kernel::BLOCK;
use super::packed::Packed;
use crate::nn::Extent;
use crate::ops::affine_quant::AffineGrid;
use crate::ops::relu::Activation;

/// Where the windows of a convolution lie in a padded copy, in words.
pub(super) struct Geometry {
    pub out_height: usize,
    pub out_width: usize,
    /// Between the windows of neighbouring outputs.
    pub step: usize,
    /// Between the windows of neighbouring rows.
    pub row_step: usize,
    /// Of each tap, from the first.
    pub taps: Vec<usize>,
    pub last_tap: usize,
}

impl Geometry {
    pub fn of(packed: &Packed, x: Extent, y: Extent) -> Geometry {
        let window = packed.window;
        let row = (x.width + 2 * window.padding) * packed.depth;
        let tap = |i: usize| {
            let (down, right) = (i / window.kernel, i % window.kernel);
            window.dilation * (down * row + right * packed.depth)
        };
        let count = window.kernel * window.kernel;
        Geometry {
            out_height: y.height,
            out_width: y.width,
            step: window.stride * packed.depth,
            row_step: window.stride * row,
            taps: (0..count).map(tap).collect(),
            last_tap: tap(count - 1),
        }
    }
}

/// What happens to a number before it is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct After {
    pub act: Activation,
    /// The grid of a site: the number becomes that of its level.
    pub site: Option<AffineGrid>,
}

impl After {
    pub const NOTHING: After = After {
        act: Activation::None,
        site: None,
    };
}

impl After {
    #[inline(always)]
    fn apply(self, numbers: &mut [f32]) {
        let (lowest, highest) = self.act.bounds();
        if self.act != Activation::None {
            for n in numbers.iter_mut() {
                let raised = if *n < lowest { lowest } else { *n };
                *n = if raised > highest { highest } else { raised };
            }
        }
        if let Some(grid) = self.site {
            for n in numbers.iter_mut() {
                *n = grid.quantise(*n);
            }
        }
    }
}

/// The levels of numbers.
#[inline(always)]
fn levels_of(grid: AffineGrid, numbers: &[f32], levels: &mut Vec<u8>) {
    levels.resize(numbers.len(), 0);
    for (level, n) in levels.iter_mut().zip(numbers) {
        *level = byte(grid, *n);
    }
}

/// The level of a number on a grid, counted from the lowest.
#[inline(always)]
pub(super) fn byte(grid: AffineGrid, x: f32) -> u8 {
    // A whole number from 0 to 255: added to 2^23 it is the low byte.
    (grid.level(x) - grid.lowest + 8_388_608.0).to_bits() as u8
}

/// The number of a level, as fake quantisation computes with it.
#[inline(always)]
pub(super) fn number(grid: AffineGrid, level: u8) -> f32 {
    (f32::from(level) + grid.lowest + grid.zero) / grid.scale
}

/// Where the rows of a band go.
pub(super) struct Out<'a> {
    pub channels: usize,
    pub width: usize,
    /// Row that the slices begin with.
    pub first: usize,
    pub after: After,
    /// Numbers that are added before the activation.
    pub around: Option<&'a [f32]>,
    pub numbers: Option<&'a mut [f32]>,
    pub levels: Vec<(AffineGrid, &'a mut [u8])>,
}

impl<'a> Out<'a> {
    /// The first `rows` rows, and the others.
    pub fn split(self, rows: usize) -> (Out<'a>, Out<'a>) {
        let at = rows * self.width * self.channels;
        let around = self.around.map(|a| a.split_at(at));
        let numbers = self.numbers.map(|n| n.split_at_mut(at));
        let (numbers, other_numbers) = numbers.unzip();
        let levels = self.levels.into_iter().map(|(grid, levels)| {
            let (one, other) = levels.split_at_mut(at);
            ((grid, one), (grid, other))
        });
        let (levels, other_levels) = levels.unzip();
        let first = Out {
            around: around.map(|(a, _)| a),
            numbers,
            levels,
            ..self
        };
        let other = Out {
            channels: self.channels,
            width: self.width,
            first: self.first + rows,
            after: self.after,
            around: around.map(|(_, a)| a),
            numbers: other_numbers,
            levels: other_levels,
        };
        (first, other)
    }

    /// Stores `count` neighbouring channels of a row, [`BLOCK`] numbers a pixel; `bytes` is scratch memory.
    ///
    /// Each pass but the copies runs over numbers that lie behind each other: what the compiler vectorises.
    #[inline(always)]
    pub fn row(&mut self, at: Channels, numbers: &mut [f32], bytes: &mut Vec<u8>) {
        let from = (at.row - self.first) * self.width * self.channels + at.first;
        let (of, count) = (self.channels, at.count);
        if let Some(around) = self.around {
            let pixels = around[from..].chunks(of);
            for (n, a) in numbers.as_chunks_mut::<BLOCK>().0.iter_mut().zip(pixels) {
                match a.first_chunk::<BLOCK>() {
                    Some(a) if count == BLOCK => {
                        for l in 0..BLOCK {
                            n[l] += a[l];
                        }
                    }
                    _ => {
                        for (n, a) in n.iter_mut().zip(&a[..count]) {
                            *n += *a;
                        }
                    }
                }
            }
        }
        self.after.apply(numbers);
        if let Some(to) = &mut self.numbers {
            let pixels = to[from..].chunks_mut(of);
            for (n, to) in numbers.as_chunks::<BLOCK>().0.iter().zip(pixels) {
                match to.first_chunk_mut::<BLOCK>() {
                    Some(to) if count == BLOCK => *to = *n,
                    _ => to[..count].copy_from_slice(&n[..count]),
                }
            }
        }
        for (grid, to) in &mut self.levels {
            levels_of(*grid, numbers, bytes);
            let pixels = to[from..].chunks_mut(of);
            for (b, to) in bytes.as_chunks::<BLOCK>().0.iter().zip(pixels) {
                match to.first_chunk_mut::<BLOCK>() {
                    Some(to) if count == BLOCK => *to = *b,
                    _ => to[..count].copy_from_slice(&b[..count]),
                }
            }
        }
    }

    /// Stores all numbers of an image, or of its rows that are here.
    #[inline(always)]
    pub fn all(&mut self, numbers: &mut [f32]) {
        if let Some(around) = self.around {
            for (n, a) in numbers.iter_mut().zip(around) {
                *n += *a;
            }
        }
        self.after.apply(numbers);
        if let Some(to) = &mut self.numbers {
            to.copy_from_slice(numbers);
        }
        for (grid, to) in &mut self.levels {
            let grid = *grid;
            for (to, n) in to.iter_mut().zip(numbers.iter()) {
                *to = byte(grid, *n);
            }
        }
    }
}

/// Neighbouring channels of a row of pixels.
#[derive(Clone, Copy)]
pub(super) struct Channels {
    pub row: usize,
    pub first: usize,
    pub count: usize,
}

/// Rows of an image that one thread computes.
pub(super) struct Band<'g, 'o> {
    pub geometry: &'g Geometry,
    pub rows: Range<usize>,
    /// Sums of the inputs under each window of the image.
    pub inputs: Option<&'g [i32]>,
    pub out: Out<'o>,
    /// Scratch memory of a row and block.
    pub numbers: Vec<f32>,
    pub bytes: Vec<u8>,
}

impl Band<'_, '_> {
    /// Stores the sums of a row and a block.
    #[inline(always)]
    pub fn finish(
        &mut self,
        packed: &Packed,
        (group, block): (usize, usize),
        row: usize,
        sums: &[i32],
    ) {
        let lanes = (group * packed.blocks() + block) * BLOCK;
        let count = BLOCK.min(packed.outputs() - block * BLOCK);
        let channel = group * packed.outputs() + block * BLOCK;
        let (scale, bias) = (lane(&packed.scale, lanes), lane(&packed.bias, lanes));
        let constant = lane(&packed.constant, lanes);
        let times = lane(&packed.times_inputs, lanes);
        self.numbers.resize(sums.len(), 0.0);
        let numbers = self.numbers.as_chunks_mut::<BLOCK>().0;
        let sums = sums.as_chunks::<BLOCK>().0;
        // Loops, not closures: a closure may be compiled on its own, without the caller's instructions.
        match self.inputs {
            None => {
                for (numbers, sums) in numbers.iter_mut().zip(sums) {
                    for (l, n) in numbers.iter_mut().enumerate() {
                        *n = sums[l].wrapping_add(constant[l]) as f32 * scale[l] + bias[l];
                    }
                }
            }
            Some(inputs) => {
                let inputs = &inputs[row * self.geometry.out_width..];
                for ((numbers, sums), input) in numbers.iter_mut().zip(sums).zip(inputs) {
                    for (l, n) in numbers.iter_mut().enumerate() {
                        let more = times[l].wrapping_mul(*input);
                        let sum = sums[l].wrapping_add(constant[l]).wrapping_add(more);
                        *n = sum as f32 * scale[l] + bias[l];
                    }
                }
            }
        }
        let at = Channels {
            row,
            first: channel,
            count,
        };
        self.out.row(at, &mut self.numbers, &mut self.bytes);
    }
}

/// The numbers of a block of channels.
#[inline(always)]
pub(super) fn lane<T: Copy + Default>(of: &[T], from: usize) -> [T; BLOCK] {
    let found = of[from..].first_chunk::<BLOCK>();
    found.copied().unwrap_or([T::default(); BLOCK])
}
