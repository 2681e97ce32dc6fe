//! The micro-kernels of packed entries: one or two permutations and a multiply-add for sixteen products.

use std::arch::x86_64::*;

use crate::ops::conv2d::cpu::outer::Area;
use crate::ops::conv2d::cpu::source::BLOCK;

/// Straight vectors that one walk computes.
const STRAIGHT: usize = 6;
/// Free vectors that one walk computes.
const FREE: usize = 4;

/// The operands of one cell over the pixels of an area.
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    pub area: Area,
    pub x: *const f32,
    pub dy: *const f32,
}

/// `sum[v][l] += sum over pixels of x[pixel][source[v][l]] * dy[pixel][out]`, where `out` is `l` for the first
/// vectors and `free[.][l]` for the last `free.len()` of them.
///
/// # Safety
/// AVX-512F must be there; 16 floats of `x` and of `dy` must be readable at each pixel of the area;
/// `source` and `sum` must have as many vectors as each other.
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn cell(
    walk: Walk,
    source: &[[i32; BLOCK]],
    free: &[[i32; BLOCK]],
    sum: &mut [[f32; BLOCK]],
) {
    let straight = source.len() - free.len();
    let mut done = 0;
    // SAFETY: the caller's promise, for each part of the vectors.
    unsafe {
        while done < straight {
            let (s, sum) = (&source[done..], &mut sum[done..]);
            done += match straight - done {
                1 => part::<1, 0, 4>(walk, s, free, sum),
                2 => part::<2, 0, 2>(walk, s, free, sum),
                3 => part::<3, 0, 2>(walk, s, free, sum),
                4 => part::<4, 0, 2>(walk, s, free, sum),
                5 => part::<5, 0, 1>(walk, s, free, sum),
                _ => part::<STRAIGHT, 0, 1>(walk, s, free, sum),
            };
        }
        let mut done = 0;
        while done < free.len() {
            let (s, sum) = (&source[straight + done..], &mut sum[straight + done..]);
            let free = &free[done..];
            done += match free.len() {
                1 => part::<0, 1, 4>(walk, s, free, sum),
                2 => part::<0, 2, 2>(walk, s, free, sum),
                3 => part::<0, 3, 2>(walk, s, free, sum),
                _ => part::<0, FREE, 1>(walk, s, free, sum),
            };
        }
    }
}

/// `A` straight and `B` free vectors, each in `U` sums that do not wait for each other; returns `A + B`.
///
/// # Safety
/// As [`cell`].
#[target_feature(enable = "avx512f")]
unsafe fn part<const A: usize, const B: usize, const U: usize>(
    walk: Walk,
    source: &[[i32; BLOCK]],
    free: &[[i32; BLOCK]],
    sum: &mut [[f32; BLOCK]],
) -> usize {
    let area = walk.area;
    assert!(source.len() >= A + B && free.len() >= B && sum.len() >= A + B);
    // SAFETY: asserted above for the vectors; the caller's promise for the pixels.
    unsafe {
        let index = |row: &[i32; BLOCK]| _mm512_loadu_epi32(row.as_ptr());
        let straight: [__m512i; A] = std::array::from_fn(|v| index(&source[v]));
        let loose: [[__m512i; 2]; B] =
            std::array::from_fn(|v| [index(&source[A + v]), index(&free[v])]);
        let zero = _mm512_setzero_ps();
        let mut acc = [([zero; A], [zero; B]); U];
        let mut step = |u: usize, px: *const f32, pd: *const f32| {
            let (x, g) = (_mm512_loadu_ps(px), _mm512_loadu_ps(pd));
            let (a, b) = &mut acc[u];
            for (a, &i) in a.iter_mut().zip(&straight) {
                *a = _mm512_fmadd_ps(_mm512_permutexvar_ps(i, x), g, *a);
            }
            for (b, &[i, o]) in b.iter_mut().zip(&loose) {
                let (x, g) = (_mm512_permutexvar_ps(i, x), _mm512_permutexvar_ps(o, g));
                *b = _mm512_fmadd_ps(x, g, *b);
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
        for (v, sum) in sum[..A + B].iter_mut().enumerate() {
            let mut total = _mm512_loadu_ps(sum.as_ptr());
            for (a, b) in &acc {
                total = _mm512_add_ps(total, if v < A { a[v] } else { b[v - A] });
            }
            _mm512_storeu_ps(sum.as_mut_ptr(), total);
        }
    }
    A + B
}
