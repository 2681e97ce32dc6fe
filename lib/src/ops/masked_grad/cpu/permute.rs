//! The micro-kernels of packed entries: one or two permutations and a multiply-add for sixteen products.
//!
//! Vectors of the same output channels share the reading of the output gradient, whichever tap they belong to.

use std::arch::x86_64::*;

use crate::ops::conv2d::cpu::outer::Area;
use crate::ops::conv2d::cpu::source::BLOCK;

/// Vectors that one walk over the pixels computes: with their permutations they fill the registers.
const STRAIGHT: usize = 8;
const FREE: usize = 8;

/// The pixels of an area, and sixteen output channels of the gradient or what there is of them.
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    pub area: Area,
    pub x: *const f32,
    pub dy: *const f32,
    /// Output channels that exist, at most sixteen.
    pub count: usize,
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
pub(crate) unsafe fn straight(walk: Walk, part: Part) {
    // SAFETY: the caller's promise.
    unsafe { all::<false, STRAIGHT>(walk, part, &[]) }
}

/// [`straight`] with `dy[pixel][out[v][l]]`.
///
/// # Safety
/// As [`straight`]; `out` must be as long as the other lists.
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn free(walk: Walk, part: Part, out: &[[i32; BLOCK]]) {
    // SAFETY: the caller's promise.
    unsafe { all::<true, FREE>(walk, part, out) }
}

/// # Safety
/// As [`free`].
#[target_feature(enable = "avx512f")]
unsafe fn all<const LOOSE: bool, const MOST: usize>(walk: Walk, p: Part, out: &[[i32; BLOCK]]) {
    let count = p.source.len();
    assert!(
        p.offsets.len() == count && p.sum.len() == count && out.len() == count * usize::from(LOOSE)
    );
    // Equal walks rather than full ones and a rest.
    let walks = count.div_ceil(MOST);
    for k in 0..walks {
        let range = k * count / walks..(k + 1) * count / walks;
        let out = if LOOSE { &out[range.clone()] } else { out };
        let (offsets, source) = (&p.offsets[range.clone()], &p.source[range.clone()]);
        let sum = &mut p.sum[range];
        // SAFETY: the caller's promise.
        unsafe {
            match sum.len() {
                1 => some::<LOOSE, 1, 4>(walk, offsets, source, out, sum),
                2 => some::<LOOSE, 2, 2>(walk, offsets, source, out, sum),
                3 => some::<LOOSE, 3, 2>(walk, offsets, source, out, sum),
                4 => some::<LOOSE, 4, 1>(walk, offsets, source, out, sum),
                5 => some::<LOOSE, 5, 1>(walk, offsets, source, out, sum),
                6 => some::<LOOSE, 6, 1>(walk, offsets, source, out, sum),
                7 => some::<LOOSE, 7, 1>(walk, offsets, source, out, sum),
                _ => some::<LOOSE, 8, 1>(walk, offsets, source, out, sum),
            }
        }
    }
}

/// `N` vectors, each in `U` sums that do not wait for each other.
///
/// # Safety
/// As [`free`].
#[target_feature(enable = "avx512f")]
unsafe fn some<const LOOSE: bool, const N: usize, const U: usize>(
    walk: Walk,
    offsets: &[usize],
    source: &[[i32; BLOCK]],
    out: &[[i32; BLOCK]],
    sum: &mut [[f32; BLOCK]],
) {
    let area = walk.area;
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
        let mut acc = [[zero; N]; U];
        let mut step = |u: usize, px: *const f32, pd: *const f32| {
            let g = _mm512_maskz_loadu_ps(there, pd);
            for v in 0..N {
                let x = _mm512_loadu_ps(px.add(offsets[v]));
                let x = _mm512_permutexvar_ps(source[v], x);
                let g = if LOOSE {
                    _mm512_permutexvar_ps(out[v], g)
                } else {
                    g
                };
                acc[u][v] = _mm512_fmadd_ps(x, g, acc[u][v]);
            }
        };
        for row in 0..area.rows {
            let mut px = walk.x.add(row * area.x_line);
            let mut pd = walk.dy.add(row * area.dy_line);
            let mut left = area.cols;
            while left >= U {
                for u in 0..U {
                    step(u, px, pd);
                    px = px.wrapping_add(BLOCK);
                    pd = pd.wrapping_add(area.dy_step);
                }
                left -= U;
            }
            for _ in 0..left {
                step(0, px, pd);
                px = px.wrapping_add(BLOCK);
                pd = pd.wrapping_add(area.dy_step);
            }
        }
        for (v, sum) in sum.iter_mut().enumerate() {
            let mut total = _mm512_loadu_ps(sum.as_ptr());
            for acc in &acc {
                total = _mm512_add_ps(total, acc[v]);
            }
            _mm512_storeu_ps(sum.as_mut_ptr(), total);
        }
    }
}
