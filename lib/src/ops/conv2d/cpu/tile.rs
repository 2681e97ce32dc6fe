//! The micro-kernel of dense convolution: a register tile of neighbouring pixels times vectors of output channels.

use pulp::Simd;

use super::source::BLOCK;

/// Pixels of the widest tile.
pub(crate) const MAX_PIXELS: usize = 16;

/// One tile: pixels along a row, all source channels, all taps.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'a> {
    /// Scratch memory of the group's first block at this tile's position 0, before a tap's offset.
    pub src: *const f32,
    /// Floats between the blocks.
    pub block_stride: usize,
    /// Source channels of the group.
    pub channels: usize,
    /// Offsets of the taps from `src`.
    pub taps: &'a [usize],
    /// Weights `[block][tap][channel][V * LANES]`.
    pub weights: *const f32,
    /// Bias, `V * LANES` long.
    pub bias: *const f32,
    /// First output channel of the first pixel.
    pub dst: *mut f32,
    /// Floats between output pixels.
    pub dst_step: usize,
    /// Output channels to store, at most `V * LANES`.
    pub lanes: usize,
    /// Add to what `dst` holds.
    pub accumulate: bool,
}

/// [`Tile`] with its size known to the compiler.
struct Kernel<'a, const V: usize, const P: usize>(Tile<'a>);

impl<const V: usize, const P: usize> pulp::WithSimd for Kernel<'_, V, P> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let t = self.0;
        let width = V * S::F32_LANES;
        // SAFETY: `run`'s caller promises that every pixel, tap, channel, weight and lane named by the tile lies inside
        // its buffer; loads and stores are unaligned ones.
        unsafe {
            let load = |p: *const f32| p.cast::<S::f32s>().read_unaligned();
            let mut acc = [[simd.splat_f32s(0.0); V]; P];
            for pixel in &mut acc {
                for (v, a) in pixel.iter_mut().enumerate() {
                    *a = load(t.bias.add(v * S::F32_LANES));
                }
            }
            let mut w = t.weights;
            let mut block = t.src;
            let mut left = t.channels;
            while left > 0 {
                let n = left.min(BLOCK);
                for &tap in t.taps {
                    let base = block.wrapping_add(tap);
                    for c in 0..n {
                        let mut wv = [simd.splat_f32s(0.0); V];
                        for (v, wv) in wv.iter_mut().enumerate() {
                            *wv = load(w.add(v * S::F32_LANES));
                        }
                        w = w.add(width);
                        for (p, acc) in acc.iter_mut().enumerate() {
                            let x = simd.splat_f32s(*base.add(p * BLOCK + c));
                            for (a, &wv) in acc.iter_mut().zip(&wv) {
                                *a = simd.mul_add_e_f32s(x, wv, *a);
                            }
                        }
                    }
                }
                block = block.wrapping_add(t.block_stride);
                left -= n;
            }
            for (p, acc) in acc.iter().enumerate() {
                for (v, &a) in acc.iter().enumerate() {
                    let from = v * S::F32_LANES;
                    if from < t.lanes {
                        let n = (t.lanes - from).min(S::F32_LANES);
                        let dst = t.dst.add(p * t.dst_step + from);
                        store(
                            simd,
                            std::slice::from_raw_parts_mut(dst, n),
                            a,
                            t.accumulate,
                        );
                    }
                }
            }
        }
    }
}

/// Stores the first `dst.len()` lanes, added to what is there if asked for.
#[inline(always)]
pub(crate) fn store<S: Simd>(simd: S, dst: &mut [f32], value: S::f32s, accumulate: bool) {
    let value = if accumulate {
        simd.add_f32s(value, simd.partial_load_f32s(dst))
    } else {
        value
    };
    simd.partial_store_f32s(dst, value);
}

/// Most pixels of a tile with `vectors` vectors that stay in registers.
pub(crate) fn max_pixels<S: Simd>(vectors: usize) -> usize {
    let free = S::REGISTER_COUNT - vectors - 1;
    (free / vectors).min(MAX_PIXELS / vectors).max(1)
}

/// Computes one tile of `vectors` (1 or 2) by `pixels` (up to [`MAX_PIXELS`] / `vectors`).
///
/// # Safety
/// Everything the tile names must lie inside live buffers; `dst` must not be read or written by anybody else.
pub(crate) unsafe fn run<S: Simd>(simd: S, vectors: usize, pixels: usize, tile: Tile) {
    macro_rules! choose {
        ($v:literal: $($p:literal)*) => {
            match pixels {
                $($p => simd.vectorize(Kernel::<$v, $p>(tile)),)*
                _ => unreachable!("a tile has at most {MAX_PIXELS} accumulators"),
            }
        };
    }
    match vectors {
        1 => choose!(1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
        _ => choose!(2: 1 2 3 4 5 6 7 8),
    }
}
