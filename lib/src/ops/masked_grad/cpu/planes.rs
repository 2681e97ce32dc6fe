//! Turns pixels of 16 channels into 16 planes of pixels, 16 by 16 at a time.

use pulp::Simd;

/// Side of the square that is turned at once.
pub(crate) const SIDE: usize = 16;

/// `dst[c * dst_step + p] = src[p * src_step + c]` for `c` and `p` below 16.
///
/// # Safety
/// `src` must be readable and `dst` writable at all these places, and they must not overlap.
#[inline(always)]
pub(crate) unsafe fn turn<S: Simd>(
    _simd: S,
    src: *const f32,
    src_step: usize,
    dst: *mut f32,
    dst_step: usize,
) {
    #[cfg(target_arch = "x86_64")]
    if S::F32_LANES == SIDE {
        // SAFETY: the only level with 16 lanes that this library runs is pulp's V4, whose token proves AVX-512F.
        unsafe { turn_avx512(src, src_step, dst, dst_step) };
        return;
    }
    for c in 0..SIDE {
        for p in 0..SIDE {
            // SAFETY: the caller's promise.
            unsafe { *dst.add(c * dst_step + p) = *src.add(p * src_step + c) };
        }
    }
}

/// [`turn`] in registers: pairs of rows, then pairs of pairs, then quarters of registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn turn_avx512(src: *const f32, src_step: usize, dst: *mut f32, dst_step: usize) {
    use std::arch::x86_64::*;
    // SAFETY: `turn`'s caller promised all 16 rows on both sides; loads and stores are unaligned ones.
    unsafe {
        let zero = _mm512_setzero_ps();
        let (mut a, mut b) = ([zero; SIDE], [zero; SIDE]);
        for (p, a) in a.iter_mut().enumerate() {
            *a = _mm512_loadu_ps(src.add(p * src_step));
        }
        // b[2k], b[2k + 1]: rows 2k and 2k + 1 interleaved within each quarter.
        for k in 0..8 {
            b[2 * k] = _mm512_unpacklo_ps(a[2 * k], a[2 * k + 1]);
            b[2 * k + 1] = _mm512_unpackhi_ps(a[2 * k], a[2 * k + 1]);
        }
        // a[4k + c]: in quarter q, column 4q + c of rows 4k .. 4k + 4.
        for k in 0..4 {
            let pair = |x, y| (_mm512_castps_pd(x), _mm512_castps_pd(y));
            for half in 0..2 {
                let (x, y) = pair(b[4 * k + half], b[4 * k + 2 + half]);
                a[4 * k + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(x, y));
                a[4 * k + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(x, y));
            }
        }
        // Column 4q + c is quarter q of a[c], a[4 + c], a[8 + c], a[12 + c].
        for c in 0..4 {
            let even_low = _mm512_shuffle_f32x4::<0x88>(a[c], a[4 + c]);
            let odd_low = _mm512_shuffle_f32x4::<0xdd>(a[c], a[4 + c]);
            let even_high = _mm512_shuffle_f32x4::<0x88>(a[8 + c], a[12 + c]);
            let odd_high = _mm512_shuffle_f32x4::<0xdd>(a[8 + c], a[12 + c]);
            let store = |column: usize, v| _mm512_storeu_ps(dst.add(column * dst_step), v);
            store(c, _mm512_shuffle_f32x4::<0x88>(even_low, even_high));
            store(4 + c, _mm512_shuffle_f32x4::<0x88>(odd_low, odd_high));
            store(8 + c, _mm512_shuffle_f32x4::<0xdd>(even_low, even_high));
            store(12 + c, _mm512_shuffle_f32x4::<0xdd>(odd_low, odd_high));
        }
    }
}

/// The sum of the lanes of each vector.
#[inline(always)]
pub(crate) fn lane_sums<S: Simd>(simd: S, vectors: &[S::f32s; SIDE]) -> [f32; SIDE] {
    let mut sums = [0.0; SIDE];
    #[cfg(target_arch = "x86_64")]
    if S::F32_LANES == SIDE {
        // SAFETY: as in `turn`; `vectors` are 16 registers.
        unsafe { lane_sums_avx512(vectors.as_ptr().cast(), &mut sums) };
        return sums;
    }
    for (sum, &v) in sums.iter_mut().zip(vectors) {
        *sum = simd.reduce_sum_f32s(v);
    }
    sums
}

/// `sums[k]` = the sum of the lanes of register `k`, of 16 registers: halves are added while they are interleaved.
///
/// # Safety
/// `vectors` must be readable for 16 registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn lane_sums_avx512(vectors: *const f32, sums: &mut [f32; SIDE]) {
    use std::arch::x86_64::*;
    // SAFETY: the caller's promise; `sums` is one register long.
    unsafe {
        let zero = _mm512_setzero_ps();
        let (mut a, mut b) = ([zero; 8], [zero; 4]);
        for (k, a) in a.iter_mut().enumerate() {
            let (x, y) = (
                _mm512_loadu_ps(vectors.add(2 * k * SIDE)),
                _mm512_loadu_ps(vectors.add((2 * k + 1) * SIDE)),
            );
            *a = _mm512_add_ps(_mm512_unpacklo_ps(x, y), _mm512_unpackhi_ps(x, y));
        }
        for (k, b) in b.iter_mut().enumerate() {
            let (x, y) = (_mm512_castps_pd(a[2 * k]), _mm512_castps_pd(a[2 * k + 1]));
            *b = _mm512_add_ps(
                _mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)),
            );
        }
        // Quarter q of b[k]: sums of quarter q of registers 4k .. 4k + 4.
        let pair = |x, y| {
            _mm512_add_ps(
                _mm512_shuffle_f32x4::<0x88>(x, y),
                _mm512_shuffle_f32x4::<0xdd>(x, y),
            )
        };
        let total = pair(pair(b[0], b[1]), pair(b[2], b[3]));
        _mm512_storeu_ps(sums.as_mut_ptr(), total);
    }
}

/// [`turn`] where only `pixels` rows of `channels` columns exist; the rest of the square becomes zero.
///
/// # Safety
/// As [`turn`] for `dst`; `src` must be readable at the places that exist.
pub(crate) unsafe fn turn_part<S: Simd>(
    simd: S,
    (src, src_step): (*const f32, usize),
    (pixels, channels): (usize, usize),
    dst: *mut f32,
    dst_step: usize,
) {
    let mut square = [0.0f32; SIDE * SIDE];
    for (p, row) in square.chunks_exact_mut(SIDE).take(pixels).enumerate() {
        // SAFETY: the caller's promise.
        let from = unsafe { std::slice::from_raw_parts(src.add(p * src_step), channels) };
        row[..channels].copy_from_slice(from);
    }
    // SAFETY: `square` holds all rows; `dst` is the caller's promise.
    unsafe { turn(simd, square.as_ptr(), SIDE, dst, dst_step) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::conv2d::cpu::Level;

    struct Turn<'a>(&'a [f32], &'a mut [f32]);

    impl pulp::WithSimd for Turn<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            assert!(self.0.len() >= 15 * 20 + 16 && self.1.len() >= 15 * 18 + 16);
            // SAFETY: asserted above.
            unsafe { turn(simd, self.0.as_ptr(), 20, self.1.as_mut_ptr(), 18) };
        }
    }

    #[test]
    fn a_square_is_turned() {
        let src: Vec<f32> = (0..320).map(|v| v as f32).collect();
        for level in [Level::Native, Level::Scalar] {
            let mut dst = vec![-1.0; 300];
            level.run(Turn(&src, &mut dst));
            for c in 0..16 {
                for p in 0..16 {
                    assert_eq!(dst[c * 18 + p], (p * 20 + c) as f32, "{level:?} ({c}, {p})");
                }
            }
            assert_eq!(dst[16], -1.0);
        }
    }
}
