//! Turns the channels of some chunks' pixels into planes: a register of chunks for each channel.

use pulp::Simd;

use crate::ops::conv2d::cpu::source::BLOCK;

/// `dst[c * dst_step + l] = src[l * src_step + c]` for the channels `c` of a block and the lanes `l` of a register.
///
/// # Safety
/// `src` must be readable and `dst` writable at all these places, and they must not overlap.
#[inline(always)]
pub(crate) unsafe fn transpose<S: Simd>(
    _simd: S,
    src: *const f32,
    src_step: usize,
    dst: *mut f32,
    dst_step: usize,
) {
    #[cfg(target_arch = "x86_64")]
    match S::F32_LANES {
        // SAFETY: the only level with 16 lanes that this library runs is pulp's V4, whose token proves AVX-512F.
        16 => return unsafe { avx512(src, src_step, dst, dst_step) },
        // SAFETY: the only one with 8 lanes is V3, whose token proves AVX2.
        8 => return unsafe { avx2(src, src_step, dst, dst_step) },
        _ => {}
    }
    for c in 0..BLOCK {
        for l in 0..S::F32_LANES {
            // SAFETY: the caller's promise.
            unsafe { *dst.add(c * dst_step + l) = *src.add(l * src_step + c) };
        }
    }
}

/// [`transpose`] for sixteen lanes: quarters of four lanes each are loaded into one register, then turned four by four.
///
/// # Safety
/// As [`transpose`]; AVX-512F must be there.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(src: *const f32, src_step: usize, dst: *mut f32, dst_step: usize) {
    use std::arch::x86_64::*;
    for quarter in 0..4 {
        // Register l: four channels of the lanes l, l + 4, l + 8 and l + 12.
        let rows: [__m512; 4] = std::array::from_fn(|l| {
            // SAFETY: the caller's promise; loads are unaligned ones.
            let part = |k: usize| unsafe {
                _mm_loadu_ps(src.wrapping_add((l + 4 * k) * src_step + 4 * quarter))
            };
            let v = _mm512_castps128_ps512(part(0));
            let v = _mm512_insertf32x4::<1>(v, part(1));
            let v = _mm512_insertf32x4::<2>(v, part(2));
            _mm512_insertf32x4::<3>(v, part(3))
        });
        let pair = |a, b| {
            (
                _mm512_castps_pd(_mm512_unpacklo_ps(a, b)),
                _mm512_castps_pd(_mm512_unpackhi_ps(a, b)),
            )
        };
        let (low, high) = (pair(rows[0], rows[1]), pair(rows[2], rows[3]));
        let columns = [
            _mm512_unpacklo_pd(low.0, high.0),
            _mm512_unpackhi_pd(low.0, high.0),
            _mm512_unpacklo_pd(low.1, high.1),
            _mm512_unpackhi_pd(low.1, high.1),
        ];
        for (c, column) in columns.into_iter().enumerate() {
            let to = dst.wrapping_add((4 * quarter + c) * dst_step);
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_ps(to, _mm512_castpd_ps(column)) };
        }
    }
}

/// [`transpose`] for eight lanes, in the same steps.
///
/// # Safety
/// As [`transpose`]; AVX must be there.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn avx2(src: *const f32, src_step: usize, dst: *mut f32, dst_step: usize) {
    use std::arch::x86_64::*;
    for quarter in 0..4 {
        let rows: [__m256; 4] = std::array::from_fn(|l| {
            // SAFETY: the caller's promise; loads are unaligned ones.
            let part = |k: usize| unsafe {
                _mm_loadu_ps(src.wrapping_add((l + 4 * k) * src_step + 4 * quarter))
            };
            _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(part(0)), part(1))
        });
        let pair = |a, b| {
            (
                _mm256_castps_pd(_mm256_unpacklo_ps(a, b)),
                _mm256_castps_pd(_mm256_unpackhi_ps(a, b)),
            )
        };
        let (low, high) = (pair(rows[0], rows[1]), pair(rows[2], rows[3]));
        let columns = [
            _mm256_unpacklo_pd(low.0, high.0),
            _mm256_unpackhi_pd(low.0, high.0),
            _mm256_unpacklo_pd(low.1, high.1),
            _mm256_unpackhi_pd(low.1, high.1),
        ];
        for (c, column) in columns.into_iter().enumerate() {
            let to = dst.wrapping_add((4 * quarter + c) * dst_step);
            // SAFETY: the caller's promise.
            unsafe { _mm256_storeu_ps(to, _mm256_castpd_ps(column)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::conv2d::cpu::Level;

    struct Transpose<'a>(&'a [f32], &'a mut [f32]);

    impl pulp::WithSimd for Transpose<'_> {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> usize {
            assert!(S::F32_LANES <= 16 && self.0.len() >= 15 * 20 + 16);
            assert!(self.1.len() >= 15 * 18 + 16);
            // SAFETY: asserted above.
            unsafe { transpose(simd, self.0.as_ptr(), 20, self.1.as_mut_ptr(), 18) };
            S::F32_LANES
        }
    }

    #[test]
    fn lanes_and_channels_change_places() {
        let src: Vec<f32> = (0..320).map(|v| v as f32).collect();
        for level in Level::ALL {
            let mut dst = vec![-1.0; 300];
            let lanes = level.run(Transpose(&src, &mut dst));
            for c in 0..16 {
                for l in 0..lanes {
                    assert_eq!(dst[c * 18 + l], (l * 20 + c) as f32, "{level:?} ({c}, {l})");
                }
                assert_eq!(dst[c * 18 + lanes], -1.0, "{level:?} behind channel {c}");
            }
        }
    }
}
