//! The micro-kernel: one multiply-add for an entry at a pixel of as many chunks as a register has lanes.

use std::ops::Range;

use pulp::Simd;

use super::entries::{SET, Set};

/// Pixels that a set of entries is computed for at a time: their source planes stay in the first-level cache.
const TILE: usize = 16;

/// `sum[entry] += x plane * dy plane` over the pixels of a window, lane by lane, in the order of the pixels.
pub(crate) struct Products<'a> {
    pub sets: &'a [Set],
    pub offsets: &'a [u32],
    /// The first entry of `sum`.
    pub first: usize,
    /// `[entry][lane]`.
    pub sum: &'a mut [f32],
    pub x: &'a [f32],
    /// Floats of the planes of a block of source channels, and the block with which `x` begins.
    pub x_block: usize,
    pub first_block: usize,
    /// Floats between what neighbouring rows of the output read.
    pub x_line: usize,
    pub dy: &'a [f32],
    pub dy_plane: usize,
    pub rows: usize,
    pub width: usize,
}

/// Some pixels of a window.
struct Tile {
    row: usize,
    rows: usize,
    col: usize,
    cols: usize,
}

/// Tiles of whole rows, or of parts of one row: their pixels follow each other.
fn tiles(rows: usize, width: usize) -> Vec<Tile> {
    let together = (TILE / width).max(1);
    let parts = width.div_ceil(TILE);
    let of_rows = |row: usize| {
        (0..parts).map(move |k| {
            let col = k * width / parts;
            Tile {
                row,
                rows: together.min(rows - row),
                col,
                cols: (k + 1) * width / parts - col,
            }
        })
    };
    (0..rows).step_by(together).flat_map(of_rows).collect()
}

impl pulp::WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = S::F32_LANES;
        let pixel = (self.rows - 1) * self.x_line + self.width * lanes;
        for set in self.sets {
            let block = (set.block() - self.first_block) * self.x_block;
            let of_set = &self.offsets[set.entries()];
            assert!(
                of_set
                    .iter()
                    .all(|&o| block + o as usize + pixel <= self.x.len())
            );
            let dy = set.out as usize * self.dy_plane + self.rows * self.width * lanes;
            assert!(dy <= self.dy.len());
            assert!((set.entries().end - self.first) * lanes <= self.sum.len());
        }
        let tiles = tiles(self.rows, self.width);
        for sets in self.sets.chunk_by(|a, b| a.slice == b.slice) {
            let block = (sets[0].block() - self.first_block) * self.x_block;
            for tile in &tiles {
                let x = block + tile.row * self.x_line + tile.col * lanes;
                let dy = (tile.row * self.width + tile.col) * lanes;
                for set in sets {
                    let offsets = &self.offsets[set.entries()];
                    let walk = Walk {
                        simd,
                        x: self.x.as_ptr().wrapping_add(x),
                        dy: (self.dy.as_ptr()).wrapping_add(set.out as usize * self.dy_plane + dy),
                        x_line: self.x_line,
                        dy_line: self.width * lanes,
                        rows: tile.rows,
                        cols: tile.cols,
                    };
                    let sum = &mut self.sum[(set.first as usize - self.first) * lanes..];
                    // SAFETY: the loop above holds for the window's last pixel, and so for every pixel of a tile.
                    unsafe { walk.any(offsets, sum.as_mut_ptr()) };
                }
            }
        }
    }
}

/// A tile as one set sees it.
struct Walk<S> {
    simd: S,
    x: *const f32,
    dy: *const f32,
    x_line: usize,
    dy_line: usize,
    rows: usize,
    cols: usize,
}

impl<S: Simd> Walk<S> {
    /// [`Self::sum`] for the set's number of entries.
    ///
    /// # Safety
    /// As [`Self::sum`].
    #[inline(always)]
    unsafe fn any(self, offsets: &[u32], sum: *mut f32) {
        const { assert!(SET == 8) };
        // SAFETY: the caller's promise.
        unsafe {
            match offsets.len() {
                1 => self.sum::<1>(offsets, sum),
                2 => self.sum::<2>(offsets, sum),
                3 => self.sum::<3>(offsets, sum),
                4 => self.sum::<4>(offsets, sum),
                5 => self.sum::<5>(offsets, sum),
                6 => self.sum::<6>(offsets, sum),
                7 => self.sum::<7>(offsets, sum),
                _ => self.sum::<8>(offsets, sum),
            }
        }
    }

    /// The sums of `N` entries.
    ///
    /// # Safety
    /// A vector must be readable at each pixel of the tile, from `x` on behind each offset and from `dy` on; `sum` must be
    /// readable and writable for `N` vectors.
    #[inline(always)]
    unsafe fn sum<const N: usize>(self, offsets: &[u32], sum: *mut f32) {
        let simd = self.simd;
        let offsets: &[u32; N] = offsets.try_into().expect("as many as the set has entries");
        let x = offsets.map(|o| self.x.wrapping_add(o as usize));
        let mut acc = [simd.splat_f32s(0.0); N];
        // SAFETY: the caller's promise; loads and stores are unaligned ones.
        unsafe {
            for (v, a) in acc.iter_mut().enumerate() {
                *a = sum.add(v * S::F32_LANES).cast::<S::f32s>().read_unaligned();
            }
            for row in 0..self.rows {
                let dy = self.dy.add(row * self.dy_line);
                let line = row * self.x_line;
                for col in 0..self.cols {
                    let at = col * S::F32_LANES;
                    let g = dy.add(at).cast::<S::f32s>().read_unaligned();
                    for (a, x) in acc.iter_mut().zip(&x) {
                        let x = x.add(line + at).cast::<S::f32s>().read_unaligned();
                        *a = simd.mul_add_e_f32s(x, g, *a);
                    }
                }
            }
            for (v, &a) in acc.iter().enumerate() {
                sum.add(v * S::F32_LANES)
                    .cast::<S::f32s>()
                    .write_unaligned(a);
            }
        }
    }
}

/// The blocks of source channels that some sets read.
pub(crate) fn blocks(sets: &[Set]) -> Range<usize> {
    match sets {
        [] => 0..0,
        [first, ..] => first.block()..sets[sets.len() - 1].block() + 1,
    }
}
