//! The micro-kernels of packed entries: one or two permutations and a multiply-add for sixteen products.
//!
//! Vectors of the same output channels share the reading of the output gradient, whichever tap they belong to.

use std::arch::x86_64::*;

use crate::ops::conv2d::cpu::outer::Area;
use crate::ops::conv2d::cpu::source::{BLOCK, prefetch};

/// Vectors that one walk over the pixels computes: with their permutations they fill the registers.
const MOST: usize = 8;

/// The pixels of an area, and sixteen output channels of the gradient or what there is of them.
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    pub area: Area,
    pub x: *const f32,
    pub dy: *const f32,
    /// Output channels that exist, at most sixteen.
    pub count: usize,
    pub ahead: Ahead,
}

/// What the next walks will read, asked for while this one computes: the memory would be idle otherwise.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    at: [*const f32; 2],
    /// Floats of each that one pixel asks for.
    step: [usize; 2],
}

impl Ahead {
    /// The first `len` floats of two operands, or what there is of them, asked for in so many turns.
    pub fn new(operands: [&[f32]; 2], len: [usize; 2], turns: usize) -> Self {
        Ahead {
            at: operands.map(<[f32]>::as_ptr),
            step: len.map(|len| len.div_ceil(turns.max(1))),
        }
    }

    /// One turn. A prefetch past an operand's end has no effect.
    #[inline(always)]
    fn ask(&mut self) {
        for (at, &step) in self.at.iter_mut().zip(&self.step) {
            let end = at.wrapping_add(step);
            while *at < end {
                prefetch(*at);
                *at = at.wrapping_add(BLOCK.min(step));
            }
            *at = end;
        }
    }
}

/// Walks that so many vectors of one kind take.
pub(crate) fn walks(vectors: usize) -> usize {
    vectors.div_ceil(MOST)
}

/// Vectors of one kind: where each reads the input (floats from `Walk::x`), and its sums.
pub(crate) struct Part<'a> {
    pub offsets: &'a [usize],
    pub source: &'a [[i32; BLOCK]],
    pub sum: &'a mut [[f32; BLOCK]],
}

/// `sum[v][l] += sum over pixels of x[pixel + offset[v]][source[v][l]] * dy[pixel][l]`.
///
/// # Safety
/// AVX-512F must be there; 16 floats of `x` behind each offset and `count` of `dy` must be readable at each pixel of
/// the area; the three lists of `part` must be of one length.
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn straight(walk: &mut Walk, part: Part) {
    // SAFETY: the caller's promise.
    unsafe { all::<false>(walk, part, &[]) }
}

/// [`straight`] with `dy[pixel][out[v][l]]`.
///
/// # Safety
/// As [`straight`]; `out` must be as long as the other lists.
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn free(walk: &mut Walk, part: Part, out: &[[i32; BLOCK]]) {
    // SAFETY: the caller's promise.
    unsafe { all::<true>(walk, part, out) }
}

/// # Safety
/// As [`free`].
#[target_feature(enable = "avx512f")]
unsafe fn all<const LOOSE: bool>(walk: &mut Walk, p: Part, out: &[[i32; BLOCK]]) {
    let count = p.source.len();
    assert!(
        p.offsets.len() == count && p.sum.len() == count && out.len() == count * usize::from(LOOSE)
    );
    // Equal walks rather than full ones and a rest.
    let walks = walks(count);
    for k in 0..walks {
        let range = k * count / walks..(k + 1) * count / walks;
        let out = if LOOSE { &out[range.clone()] } else { out };
        let (offsets, source) = (&p.offsets[range.clone()], &p.source[range.clone()]);
        let sum = &mut p.sum[range];
        // SAFETY: the caller's promise.
        unsafe {
            match sum.len() {
                1 => some::<LOOSE, 1>(walk, offsets, source, out, sum),
                2 => some::<LOOSE, 2>(walk, offsets, source, out, sum),
                3 => some::<LOOSE, 3>(walk, offsets, source, out, sum),
                4 => some::<LOOSE, 4>(walk, offsets, source, out, sum),
                5 => some::<LOOSE, 5>(walk, offsets, source, out, sum),
                6 => some::<LOOSE, 6>(walk, offsets, source, out, sum),
                7 => some::<LOOSE, 7>(walk, offsets, source, out, sum),
                _ => some::<LOOSE, 8>(walk, offsets, source, out, sum),
            }
        }
    }
}

/// `N` vectors, one sum each: the order of the pixels is the dense gradient's.
///
/// # Safety
/// As [`free`].
#[target_feature(enable = "avx512f")]
unsafe fn some<const LOOSE: bool, const N: usize>(
    walk: &mut Walk,
    offsets: &[usize],
    source: &[[i32; BLOCK]],
    out: &[[i32; BLOCK]],
    sum: &mut [[f32; BLOCK]],
) {
    let area = walk.area;
    let mut ahead = walk.ahead;
    assert!(offsets.len() == N && source.len() == N && sum.len() == N);
    let there = ((1u32 << walk.count) - 1) as __mmask16;
    // SAFETY: asserted above for the vectors; the caller's promise for the pixels.
    unsafe {
        let offsets: [usize; N] = std::array::from_fn(|v| offsets[v]);
        let index = |row: &[i32; BLOCK]| _mm512_loadu_epi32(row.as_ptr());
        let source: [__m512i; N] = std::array::from_fn(|v| index(&source[v]));
        let zero = _mm512_setzero_ps();
        let out: [__m512i; N] = std::array::from_fn(|v| {
            if LOOSE {
                index(&out[v])
            } else {
                _mm512_castps_si512(zero)
            }
        });
        let mut acc: [__m512; N] = std::array::from_fn(|v| _mm512_loadu_ps(sum[v].as_ptr()));
        let mut step = |px: *const f32, pd: *const f32| {
            let g = _mm512_maskz_loadu_ps(there, pd);
            for v in 0..N {
                let x = _mm512_loadu_ps(px.add(offsets[v]));
                let x = _mm512_permutexvar_ps(source[v], x);
                let g = if LOOSE {
                    _mm512_permutexvar_ps(out[v], g)
                } else {
                    g
                };
                acc[v] = _mm512_fmadd_ps(x, g, acc[v]);
            }
            ahead.ask();
        };
        for row in 0..area.rows {
            let mut px = walk.x.add(row * area.x_line);
            let mut pd = walk.dy.add(row * area.dy_line);
            for _ in 0..area.cols {
                step(px, pd);
                px = px.wrapping_add(BLOCK);
                pd = pd.wrapping_add(area.dy_step);
            }
        }
        for (acc, sum) in acc.iter().zip(sum) {
            _mm512_storeu_ps(sum.as_mut_ptr(), *acc);
        }
    }
    walk.ahead = ahead;
}
