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

    /// Stores `count` neighbouring channels of a row, [`BLOCK`] numbers a pixel.
    #[inline(always)]
    pub fn row(&mut self, row: usize, channel: usize, count: usize, numbers: &mut [f32]) {
        let from = (row - self.first) * self.width * self.channels + channel;
        let at = At {
            from,
            channels: self.channels,
            count,
        };
        if let Some(around) = self.around {
            at.each(numbers, around, |n, a| *n += *a);
        }
        let (lowest, highest) = self.after.act.bounds();
        if self.after.act != Activation::None {
            for n in numbers.iter_mut() {
                let raised = if *n < lowest { lowest } else { *n };
                *n = if raised > highest { highest } else { raised };
            }
        }
        if let Some(grid) = self.after.site {
            numbers.iter_mut().for_each(|n| *n = grid.quantise(*n));
        }
        if let Some(to) = &mut self.numbers {
            at.each_mut(numbers, to, |n, to| *to = n);
        }
        for (grid, to) in &mut self.levels {
            let grid = *grid;
            at.each_mut(numbers, to, |n, to| *to = byte(grid, n));
        }
    }

    /// Stores all numbers of an image, or of its rows that are here.
    #[inline(always)]
    pub fn all(&mut self, numbers: &mut [f32]) {
        if let Some(around) = self.around {
            numbers.iter_mut().zip(around).for_each(|(n, a)| *n += *a);
        }
        let (lowest, highest) = self.after.act.bounds();
        if self.after.act != Activation::None {
            for n in numbers.iter_mut() {
                let raised = if *n < lowest { lowest } else { *n };
                *n = if raised > highest { highest } else { raised };
            }
        }
        if let Some(grid) = self.after.site {
            numbers.iter_mut().for_each(|n| *n = grid.quantise(*n));
        }
        if let Some(to) = &mut self.numbers {
            to.copy_from_slice(numbers);
        }
        for (grid, to) in &mut self.levels {
            let grid = *grid;
            to.iter_mut().zip(numbers.iter()).for_each(|(to, n)| *to = byte(grid, *n));
        }
    }
}

/// Some channels of a row of pixels.
#[derive(Clone, Copy)]
struct At {
    from: usize,
    channels: usize,
    count: usize,
}

impl At {
    #[inline(always)]
    fn each<T>(self, numbers: &mut [f32], data: &[T], f: impl Fn(&mut f32, &T)) {
        let pixels = data[self.from..].chunks(self.channels);
        for (numbers, data) in numbers.as_chunks_mut::<BLOCK>().0.iter_mut().zip(pixels) {
            match data.first_chunk::<BLOCK>() {
                Some(data) if self.count == BLOCK => {
                    numbers.iter_mut().zip(data).for_each(|(n, d)| f(n, d));
                }
                _ => {
                    let data = &data[..self.count];
                    numbers.iter_mut().zip(data).for_each(|(n, d)| f(n, d));
                }
            }
        }
    }

    #[inline(always)]
    fn each_mut<T>(self, numbers: &[f32], data: &mut [T], f: impl Fn(f32, &mut T)) {
        let pixels = data[self.from..].chunks_mut(self.channels);
        for (numbers, data) in numbers.as_chunks::<BLOCK>().0.iter().zip(pixels) {
            if self.count == BLOCK
                && let Some(data) = data.first_chunk_mut::<BLOCK>()
            {
                numbers.iter().zip(data).for_each(|(n, d)| f(*n, d));
            } else {
                let data = &mut data[..self.count];
                numbers.iter().zip(data).for_each(|(n, d)| f(*n, d));
            }
        }
    }
}

/// Rows of an image that one thread computes.
pub(super) struct Band<'g, 'o> {
    pub geometry: &'g Geometry,
    pub rows: Range<usize>,
    /// Sums of the inputs under each window of the image.
    pub inputs: Option<&'g [i32]>,
    pub out: Out<'o>,
    /// Of a row and block.
    pub numbers: Vec<f32>,
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
        let lane = |v: &[f32]| -> [f32; BLOCK] { std::array::from_fn(|l| v[lanes + l]) };
        let whole = |v: &[i32]| -> [i32; BLOCK] { std::array::from_fn(|l| v[lanes + l]) };
        let (scale, bias) = (lane(&packed.scale), lane(&packed.bias));
        let (constant, times) = (whole(&packed.constant), whole(&packed.times_inputs));
        self.numbers.resize(sums.len(), 0.0);
        let pixels = self.numbers.as_chunks_mut::<BLOCK>().0.iter_mut();
        let pixels = pixels.zip(sums.as_chunks::<BLOCK>().0);
        match self.inputs {
            None => {
                for (numbers, sums) in pixels {
                    for l in 0..BLOCK {
                        let sum = sums[l].wrapping_add(constant[l]);
                        numbers[l] = sum as f32 * scale[l] + bias[l];
                    }
                }
            }
            Some(inputs) => {
                let inputs = &inputs[row * self.geometry.out_width..];
                for ((numbers, sums), input) in pixels.zip(inputs) {
                    for l in 0..BLOCK {
                        let more = times[l].wrapping_mul(*input);
                        let sum = sums[l].wrapping_add(constant[l]).wrapping_add(more);
                        numbers[l] = sum as f32 * scale[l] + bias[l];
                    }
                }
            }
        }
        let mut numbers = std::mem::take(&mut self.numbers);
        self.out.row(row, channel, count, &mut numbers);
        self.numbers = numbers;
    }
}
