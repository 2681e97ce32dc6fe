//! The loop that all kernels share, and the plain kernels.

use super::super::packed::Packed;
use super::super::store::Band;
use super::BLOCK;

/// Sums of a block of output channels, and how a word adds to them.
///
/// # Safety
/// `add` and `load` read [`BLOCK`] words from their pointer, `store` writes as many sums; an implementation may need
/// instructions that its caller makes sure of.
pub(super) unsafe trait Dot {
    /// [`BLOCK`] sums.
    type Sums: Copy;
    /// A word of each of [`BLOCK`] channels.
    type Weights: Copy;

    unsafe fn zero() -> Self::Sums;
    unsafe fn load(weights: *const u32) -> Self::Weights;
    unsafe fn add(sums: Self::Sums, weights: Self::Weights, word: u32) -> Self::Sums;
    unsafe fn store(sums: Self::Sums, to: *mut i32);

    /// Stores what is wanted of the sums of a row and a block.
    #[inline(always)]
    unsafe fn finish(
        band: &mut Band,
        packed: &Packed,
        (group, block): (usize, usize),
        row: usize,
        sums: &[i32],
    ) {
        band.finish(packed, (group, block), row, sums);
    }
}

/// All blocks of a group, `P` pixels of a row at a time; inlined into functions that may use `D`'s instructions.
#[inline(always)]
pub(super) fn rows<D: Dot, const P: usize>(
    packed: &Packed,
    group: usize,
    padded: &[u32],
    band: &mut Band,
) {
    for block in 0..packed.blocks() {
        blocks::<D, P, 1>(packed, (group, block), padded, band);
    }
}

/// As [`rows`], two blocks at a time where there are two: a word of inputs is loaded once for both.
#[inline(always)]
pub(super) fn rows_of_pairs<D: Dot, const P: usize>(
    packed: &Packed,
    group: usize,
    padded: &[u32],
    band: &mut Band,
) {
    let mut block = 0;
    while block + 2 <= packed.blocks() {
        blocks::<D, P, 2>(packed, (group, block), padded, band);
        block += 2;
    }
    if block < packed.blocks() {
        blocks::<D, P, 1>(packed, (group, block), padded, band);
    }
}

/// `B` blocks of a group from `block` on.
#[inline(always)]
fn blocks<D: Dot, const P: usize, const B: usize>(
    packed: &Packed,
    (group, block): (usize, usize),
    padded: &[u32],
    band: &mut Band,
) {
    let at = band.geometry;
    let (width, step, row_step) = (at.out_width, at.step, at.row_step);
    let farthest = |row: usize| row * row_step + (width - 1) * step + at.last_tap + packed.depth;
    let last = band.rows.end.saturating_sub(1);
    // What the unchecked reads below reach.
    assert!(width > 0 && farthest(last) <= padded.len());
    assert_eq!(packed.block_len(), at.taps.len() * packed.depth * BLOCK);
    let mut weights = [std::ptr::null(); B];
    for (b, weights) in weights.iter_mut().enumerate() {
        let of_block = packed.block(group, block + b);
        assert_eq!(of_block.len(), packed.block_len());
        *weights = of_block.as_ptr();
    }
    let mut sums = vec![0i32; B * width * BLOCK];
    for row in band.rows.clone() {
        let mut x = 0;
        while x < width {
            let from = row * row_step + x * step;
            // SAFETY: `from` plus any tap and word lies below `farthest`, the weights are whole blocks, and `sums` has a
            // block for each pixel of the row, `B` times.
            unsafe {
                let input = padded.as_ptr().add(from);
                let to = sums.as_mut_ptr().add(x * BLOCK);
                let (taps, depth, other) = (&at.taps[..], packed.depth, width * BLOCK);
                if x + P <= width {
                    tile::<D, P, B>((input, step), (taps, depth), weights, (to, other));
                    x += P;
                } else {
                    tile::<D, 1, B>((input, step), (taps, depth), weights, (to, other));
                    x += 1;
                }
            }
        }
        for (b, sums) in sums.chunks_exact(width * BLOCK).enumerate() {
            // SAFETY: the instructions are there, as above.
            unsafe { D::finish(band, packed, (group, block + b), row, sums) };
        }
    }
}

/// # Safety
/// The input is readable at every tap of `P` pixels, `depth` words each; the weights as often a block of words; `to` is
/// writable for `P` blocks, and as often `other` sums behind it for every further block.
#[inline(always)]
unsafe fn tile<D: Dot, const P: usize, const B: usize>(
    (input, step): (*const u32, usize),
    (taps, depth): (&[usize], usize),
    weights: [*const u32; B],
    (to, other): (*mut i32, usize),
) {
    // SAFETY: as this function's own.
    unsafe {
        let mut sums = [[D::zero(); B]; P];
        let mut at = 0;
        for &tap in taps {
            let input = input.add(tap);
            for word in 0..depth {
                let mut w = [D::load(weights[0].add(at)); B];
                for (w, weights) in w.iter_mut().zip(weights).skip(1) {
                    *w = D::load(weights.add(at));
                }
                for (p, sums) in sums.iter_mut().enumerate() {
                    let x = *input.add(p * step + word);
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = D::add(*sum, w, x);
                    }
                }
                at += BLOCK;
            }
        }
        for (p, sums) in sums.into_iter().enumerate() {
            for (b, sum) in sums.into_iter().enumerate() {
                D::store(sum, to.add(b * other + p * BLOCK));
            }
        }
    }
}

/// What a word of an input and one of a weight add to a sum.
pub(super) trait Product {
    fn product(weight: u32, input: u32) -> i32;
}

/// Two of 16 bits.
pub(super) struct Pairs;

impl Product for Pairs {
    #[inline(always)]
    fn product(weight: u32, input: u32) -> i32 {
        let half = |word: u32, shift: u32| i32::from((word >> shift) as u16 as i16);
        half(weight, 0) * half(input, 0) + half(weight, 16) * half(input, 16)
    }
}

/// Four of 8 bits.
pub(super) struct Quads;

impl Product for Quads {
    #[inline(always)]
    fn product(weight: u32, input: u32) -> i32 {
        let products = [0, 8, 16, 24].map(|shift| {
            let (w, x) = ((weight >> shift) as u8 as i8, (input >> shift) as u8);
            i32::from(w) * i32::from(x)
        });
        products.iter().sum()
    }
}

/// Words without instructions of their own: what tests hold the quick kernels to.
pub(super) struct Plain<T>(std::marker::PhantomData<T>);

// SAFETY: reads and writes BLOCK words.
unsafe impl<T: Product> Dot for Plain<T> {
    type Sums = [i32; BLOCK];
    type Weights = [u32; BLOCK];

    #[inline(always)]
    unsafe fn zero() -> Self::Sums {
        [0; BLOCK]
    }

    #[inline(always)]
    unsafe fn load(weights: *const u32) -> Self::Weights {
        // SAFETY: the caller's.
        unsafe { weights.cast::<Self::Weights>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn add(mut sums: Self::Sums, weights: Self::Weights, word: u32) -> Self::Sums {
        for (sum, weight) in sums.iter_mut().zip(weights) {
            *sum = sum.wrapping_add(T::product(weight, word));
        }
        sums
    }

    #[inline(always)]
    unsafe fn store(sums: Self::Sums, to: *mut i32) {
        // SAFETY: the caller's.
        unsafe { to.cast::<Self::Sums>().write_unaligned(sums) }
    }
}

/// All blocks of a depthwise convolution; inlined into functions with the instructions that the compiler may use.
#[inline(always)]
pub(super) fn depthwise(packed: &Packed, padded: &[u32], band: &mut Band) {
    let at = band.geometry;
    let inputs: &[i16] = bytemuck::cast_slice(padded);
    let mut sums = vec![0i32; at.out_width * BLOCK];
    for block in 0..packed.blocks() {
        let weights: &[i16] = bytemuck::cast_slice(packed.block(0, block));
        for row in band.rows.clone() {
            for (x, sums) in sums.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
                let from = 2 * (row * at.row_step + x * at.step) + block * BLOCK;
                let mut own = [0i32; BLOCK];
                for (tap, weights) in at.taps.iter().zip(weights.as_chunks::<BLOCK>().0) {
                    let input = inputs[from + 2 * tap..].first_chunk::<BLOCK>();
                    for (l, v) in input.into_iter().flatten().enumerate() {
                        own[l] = own[l].wrapping_add(i32::from(*v) * i32::from(weights[l]));
                    }
                }
                *sums = own;
            }
            band.finish(packed, (0, block), row, &sums);
        }
    }
}
