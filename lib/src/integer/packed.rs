//! Weights in the order in which a kernel reads them, and padded copies of an image's levels.

use super::kernel::{BLOCK, Kernel, Words};
use super::store::Geometry;
use super::weights::{Weights, Window};
use crate::nn::Extent;
use crate::ops::affine_quant::AffineGrid;
use crate::ops::parallel::wide;

/// A layer's weights for one kind of word, and what turns its sums into numbers.
pub(super) struct Packed {
    pub window: Window,
    pub words: Words,
    /// Whether each output channel has one input channel, its own: weights are then by block, tap and channel, 16 bits each.
    pub depthwise: bool,
    /// Words of a pixel, of the channels of one group; of all channels in whole blocks where it is depthwise.
    pub depth: usize,
    /// By group, block, tap, word and channel of the block.
    weights: Vec<u32>,
    /// `lowest + zero` of the input: a level `q - lowest` plus this is `q + z`.
    pub offset: i32,
    /// By output channel, padded to whole blocks in each group: what is added to a sum, and how often the sum of the inputs
    /// under its window is.
    pub constant: Vec<i32>,
    pub times_inputs: Vec<i32>,
    /// `y = scale * sum + bias`.
    pub scale: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Packed {
    pub fn new(w: &Weights, grid: AffineGrid, kernel: Kernel) -> Packed {
        let window = w.window;
        let offset = (grid.lowest + grid.zero) as i32;
        // Padding is the level of 0: where there is none, only 16 bits hold it.
        let zero_is_a_level = (-255..=0).contains(&offset) || window.padding == 0;
        let words = match kernel.words() {
            Words::Quads if zero_is_a_level => Words::Quads,
            _ => Words::Pairs,
        };
        let rows = w.rows();
        let short = |v: &i64| i16::try_from(*v).is_ok();
        let depthwise = window.is_depthwise() && rows.iter().all(|r| r.values.iter().all(short));
        let words = if depthwise { Words::Pairs } else { words };
        let groups = if depthwise { 1 } else { window.groups };
        let (inputs, outputs) = (window.inputs / groups, window.outputs / groups);
        let taps = window.kernel * window.kernel;
        let blocks = outputs.div_ceil(BLOCK);
        let depth = match depthwise {
            true => blocks * BLOCK / words.inputs(),
            false => inputs.div_ceil(words.inputs()),
        };
        let lanes = groups * blocks * BLOCK;
        let mut packed = Packed {
            window,
            words,
            depthwise,
            depth,
            weights: Vec::new(),
            offset,
            constant: vec![0; lanes],
            times_inputs: vec![0; lanes],
            scale: vec![0.0; lanes],
            bias: vec![0.0; lanes],
        };
        packed.weights = vec![0; groups * blocks * packed.block_len()];
        for (channel, row) in rows.into_iter().enumerate() {
            let (group, within) = (channel / outputs, channel % outputs);
            let (block, lane) = (within / BLOCK, within % BLOCK);
            let at = (group * blocks + block) * BLOCK + lane;
            let kept = row.values.iter().copied();
            let shift = packed.shift(kept.clone().min(), kept.max());
            packed.times_inputs[at] = shift as i32;
            if words == Words::Quads {
                // The levels are short of the inputs by the offset; sums wrap, their total does not.
                let total: i64 = row.values.iter().sum();
                packed.constant[at] = (total * i64::from(offset)) as i32;
            }
            packed.scale[at] = (row.unit / f64::from(grid.scale)) as f32;
            packed.bias[at] = w.bias[channel];
            for (i, value) in row.values.iter().enumerate() {
                if depthwise {
                    let to = block * packed.block_len() + i * BLOCK / 2 + lane / 2;
                    packed.weights[to] |= u32::from(*value as i16 as u16) << (16 * (lane % 2));
                    continue;
                }
                // Row-major (in/groups, kh, kw).
                let (input, tap) = (i / taps, i % taps);
                let (word, part) = (input / words.inputs(), input % words.inputs());
                let from = (group * blocks + block) * packed.block_len();
                let to = from + (tap * depth + word) * BLOCK + lane;
                let value = value - shift;
                packed.weights[to] |= match words {
                    Words::Pairs => u32::from(value as i16 as u16) << (16 * part),
                    Words::Quads => u32::from(value as i8 as u8) << (8 * part),
                };
            }
        }
        packed
    }

    /// What is taken off a channel's weights so that a word holds them.
    fn shift(&self, lowest: Option<i64>, highest: Option<i64>) -> i64 {
        let (lowest, highest) = (lowest.unwrap_or(0), highest.unwrap_or(0));
        let (from, to) = match self.words {
            Words::Pairs => (i64::from(i16::MIN) + 1, i64::from(i16::MAX)),
            Words::Quads => (-128, 127),
        };
        if lowest >= from && highest <= to {
            return 0;
        }
        // At most 255 lie between them: eight bits around the middle.
        lowest + 128
    }

    /// Whether sums of inputs are needed.
    pub fn needs_inputs(&self) -> bool {
        self.times_inputs.iter().any(|t| *t != 0)
    }

    /// Groups whose channels do not see each other; the channels of a depthwise convolution are one.
    pub fn groups(&self) -> usize {
        if self.depthwise {
            1
        } else {
            self.window.groups
        }
    }

    /// Output channels of a group.
    pub fn outputs(&self) -> usize {
        self.window.outputs / self.groups()
    }

    /// Blocks of a group.
    pub fn blocks(&self) -> usize {
        self.outputs().div_ceil(BLOCK)
    }

    /// Words of a block's weights.
    pub fn block_len(&self) -> usize {
        let taps = self.window.kernel * self.window.kernel;
        match self.depthwise {
            true => taps * BLOCK / 2,
            false => taps * self.depth * BLOCK,
        }
    }

    /// The words of a block of output channels.
    pub fn block(&self, group: usize, block: usize) -> &[u32] {
        let from = (group * self.blocks() + block) * self.block_len();
        &self.weights[from..from + self.block_len()]
    }

    /// The sum of the words' inputs under each window of one group: over the channels of a pixel, down, to the right.
    pub fn inputs_under(&self, padded: &[u32], x: Extent, geometry: &Geometry) -> Vec<i32> {
        let channels = x.channels / self.groups();
        let window = self.window;
        let width = x.width + 2 * window.padding;
        let mut pixels = vec![0; padded.len() / self.depth];
        let mut down = vec![0; width];
        let mut found = vec![0; geometry.out_height * geometry.out_width];
        wide(
            #[inline(always)]
            || {
                match self.words {
                    Words::Pairs => {
                        let all: &[i16] = bytemuck::cast_slice(padded);
                        for (sum, pixel) in pixels.iter_mut().zip(all.chunks_exact(2 * self.depth))
                        {
                            *sum = 0;
                            for v in &pixel[..channels] {
                                *sum += i32::from(*v);
                            }
                        }
                    }
                    Words::Quads => bytes_of_pixels(
                        bytemuck::cast_slice(padded),
                        self.depth,
                        channels,
                        &mut pixels,
                    ),
                }
                for (row, found) in found.chunks_exact_mut(geometry.out_width).enumerate() {
                    down.fill(0);
                    for tap in 0..window.kernel {
                        let from = (row * window.stride + tap * window.dilation) * width;
                        for (sum, pixel) in down.iter_mut().zip(&pixels[from..from + width]) {
                            *sum += *pixel;
                        }
                    }
                    for tap in 0..window.kernel {
                        let from = &down[tap * window.dilation..];
                        // With a known distance the compiler vectorises it.
                        match window.stride {
                            1 => {
                                for (sum, column) in found.iter_mut().zip(from) {
                                    *sum += *column;
                                }
                            }
                            stride => {
                                for (sum, column) in
                                    found.iter_mut().zip(from.iter().step_by(stride))
                                {
                                    *sum += *column;
                                }
                            }
                        }
                    }
                }
            },
        );
        found
    }

    /// Bytes of the weights.
    pub fn bytes(&self) -> usize {
        4 * self.weights.len()
    }

    /// Copies one group's channels of an image of levels, with its padding, as words.
    pub fn pad(&self, levels: &[u8], x: Extent, group: usize, to: &mut Vec<u32>) {
        let channels = x.channels / self.groups();
        let padding = self.window.padding;
        let row = (x.width + 2 * padding) * self.depth;
        let copy = Copy {
            channels,
            of: x.channels,
            start: group * channels,
            words: self.depth,
            offset: self.offset as i16,
        };
        let edge = match self.words {
            Words::Pairs => 0,
            Words::Quads => u32::from((-self.offset) as u8) * 0x0101_0101,
        };
        to.resize(row * (x.height + 2 * padding), edge);
        let (above, rest) = to.split_at_mut(row * padding);
        let (rows, below) = rest.split_at_mut(row * x.height);
        above.fill(edge);
        below.fill(edge);
        let from = levels.chunks_exact(x.width * x.channels);
        wide(
            #[inline(always)]
            || {
                for (to, from) in rows.chunks_exact_mut(row).zip(from) {
                    let (left, rest) = to.split_at_mut(padding * self.depth);
                    let (to, right) = rest.split_at_mut(x.width * self.depth);
                    left.fill(edge);
                    right.fill(edge);
                    match self.words {
                        Words::Pairs => copy.pairs(from, bytemuck::cast_slice_mut(to)),
                        Words::Quads => copy.quads(from, bytemuck::cast_slice_mut(to)),
                    }
                }
            },
        );
    }
}

/// The sum of the first `channels` bytes of each pixel of `depth` words.
#[inline(always)]
fn bytes_of_pixels(all: &[u8], depth: usize, channels: usize, sums: &mut [i32]) {
    #[inline(always)]
    fn whole<const N: usize>(all: &[u8], sums: &mut [i32]) {
        for (sum, pixel) in sums.iter_mut().zip(all.as_chunks::<N>().0) {
            let mut own = 0;
            for v in pixel {
                own += i32::from(*v);
            }
            *sum = own;
        }
    }
    // Lengths that networks have, known to the compiler.
    match (channels == 4 * depth, channels) {
        (true, 16) => whole::<16>(all, sums),
        (true, 32) => whole::<32>(all, sums),
        (true, 64) => whole::<64>(all, sums),
        _ => {
            for (sum, pixel) in sums.iter_mut().zip(all.chunks_exact(4 * depth)) {
                let mut own = 0;
                for v in &pixel[..channels] {
                    own += i32::from(*v);
                }
                *sum = own;
            }
        }
    }
}

/// How channels of a row are copied.
#[derive(Clone, Copy)]
struct Copy {
    channels: usize,
    of: usize,
    start: usize,
    words: usize,
    offset: i16,
}

impl Copy {
    #[inline(always)]
    fn pairs(self, from: &[u8], to: &mut [i16]) {
        if self.channels == self.of && self.of == 2 * self.words {
            for (to, from) in to.iter_mut().zip(from) {
                *to = i16::from(*from) + self.offset;
            }
            return;
        }
        let pixels = to.chunks_exact_mut(2 * self.words);
        for (to, from) in pixels.zip(from.chunks_exact(self.of)) {
            let from = &from[self.start..self.start + self.channels];
            to.fill(0);
            for (to, from) in to.iter_mut().zip(from) {
                *to = i16::from(*from) + self.offset;
            }
        }
    }

    #[inline(always)]
    fn quads(self, from: &[u8], to: &mut [u8]) {
        if self.channels == self.of && self.of == 4 * self.words {
            to.copy_from_slice(from);
            return;
        }
        let pixels = to.chunks_exact_mut(4 * self.words);
        for (to, from) in pixels.zip(from.chunks_exact(self.of)) {
            // Weights of channels that are not there are 0.
            to.fill(0);
            to[..self.channels].copy_from_slice(&from[self.start..self.start + self.channels]);
        }
    }
}
