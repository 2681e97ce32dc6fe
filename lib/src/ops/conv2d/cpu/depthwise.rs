//! The micro-kernel of depthwise convolution: vectors of channels, one multiply-add for each tap and pixel.

use pulp::Simd;

use super::source::BLOCK;
use super::tile::store;

/// Pixels of the widest tile.
pub(crate) const MAX_PIXELS: usize = 8;

/// One tile: pixels along a row, one block of channels, all taps.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'a> {
    /// Scratch memory of the block at this tile's position 0, before a tap's offset.
    pub src: *const f32,
    /// Offsets of the taps from `src`.
    pub taps: &'a [usize],
    /// Weights `[tap][BLOCK]`.
    pub weights: *const f32,
    /// Bias, `BLOCK` long.
    pub bias: *const f32,
    /// First channel of the first output pixel.
    pub dst: *mut f32,
    /// Floats between output pixels.
    pub dst_step: usize,
    /// Channels to store, at most `BLOCK`.
    pub lanes: usize,
    /// Add to what `dst` holds.
    pub accumulate: bool,
}

struct Kernel<'a, const P: usize>(Tile<'a>);

impl<const P: usize> pulp::WithSimd for Kernel<'_, P> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let t = self.0;
        // SAFETY: `run`'s caller promises that everything the tile names lies inside its buffer.
        unsafe {
            let load = |p: *const f32| p.cast::<S::f32s>().read_unaligned();
            let mut from = 0;
            while from < t.lanes {
                let mut acc = [load(t.bias.add(from)); P];
                for (k, &tap) in t.taps.iter().enumerate() {
                    let w = load(t.weights.add(k * BLOCK + from));
                    let base = t.src.wrapping_add(tap + from);
                    for (p, a) in acc.iter_mut().enumerate() {
                        *a = simd.mul_add_e_f32s(load(base.add(p * BLOCK)), w, *a);
                    }
                }
                let n = (t.lanes - from).min(S::F32_LANES);
                for (p, &a) in acc.iter().enumerate() {
                    let dst = t.dst.add(p * t.dst_step + from);
                    store(
                        simd,
                        std::slice::from_raw_parts_mut(dst, n),
                        a,
                        t.accumulate,
                    );
                }
                from += S::F32_LANES;
            }
        }
    }
}

/// Computes one tile of up to [`MAX_PIXELS`] pixels.
///
/// # Safety
/// Everything the tile names must lie inside live buffers; `dst` must not be read or written by anybody else.
pub(crate) unsafe fn run<S: Simd>(simd: S, pixels: usize, tile: Tile) {
    macro_rules! choose {
        ($($p:literal)*) => {
            match pixels {
                $($p => simd.vectorize(Kernel::<$p>(tile)),)*
                _ => unreachable!("a tile has at most {MAX_PIXELS} pixels"),
            }
        };
    }
    choose!(1 2 3 4 5 6 7 8)
}
