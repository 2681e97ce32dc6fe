//! AVX2 and AVX-512 VNNI.

use std::arch::x86_64::*;

use super::super::packed::Packed;
use super::super::store::Band;
use super::dot::{Dot, rows};

/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2(packed: &Packed, group: usize, padded: &[u32], band: &mut Band) {
    // Four pixels: eight registers of sums, two of weights.
    rows::<Avx2, 4>(packed, group, padded, band);
}

/// # Safety
/// The processor has AVX-512 F, BW and VNNI.
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn vnni(packed: &Packed, group: usize, padded: &[u32], band: &mut Band) {
    // Eight pixels: as many sums as hide the latency of a product.
    rows::<Vnni, 8>(packed, group, padded, band);
}

struct Avx2;

// SAFETY: reads and writes sixteen words of 32 bits, in two registers.
unsafe impl Dot for Avx2 {
    type Sums = [__m256i; 2];
    type Weights = [__m256i; 2];

    #[inline(always)]
    unsafe fn zero() -> Self::Sums {
        // SAFETY: called where AVX2 is enabled.
        unsafe { [_mm256_setzero_si256(); 2] }
    }

    #[inline(always)]
    unsafe fn load(weights: *const u32) -> Self::Weights {
        // SAFETY: the caller's; called where AVX2 is enabled.
        unsafe {
            [
                _mm256_loadu_si256(weights.cast()),
                _mm256_loadu_si256(weights.add(8).cast()),
            ]
        }
    }

    #[inline(always)]
    unsafe fn add(sums: Self::Sums, weights: Self::Weights, word: u32) -> Self::Sums {
        // SAFETY: called where AVX2 is enabled.
        unsafe {
            let x = _mm256_set1_epi32(word as i32);
            [
                _mm256_add_epi32(sums[0], _mm256_madd_epi16(weights[0], x)),
                _mm256_add_epi32(sums[1], _mm256_madd_epi16(weights[1], x)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn store(sums: Self::Sums, to: *mut i32) {
        // SAFETY: the caller's; called where AVX2 is enabled.
        unsafe {
            _mm256_storeu_si256(to.cast(), sums[0]);
            _mm256_storeu_si256(to.add(8).cast(), sums[1]);
        }
    }
}

struct Vnni;

// SAFETY: reads and writes sixteen words of 32 bits, in one register.
unsafe impl Dot for Vnni {
    type Sums = __m512i;
    type Weights = __m512i;

    #[inline(always)]
    unsafe fn zero() -> Self::Sums {
        // SAFETY: called where AVX-512 F is enabled.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn load(weights: *const u32) -> Self::Weights {
        // SAFETY: the caller's; called where AVX-512 F is enabled.
        unsafe { _mm512_loadu_si512(weights.cast()) }
    }

    #[inline(always)]
    unsafe fn add(sums: Self::Sums, weights: Self::Weights, word: u32) -> Self::Sums {
        // SAFETY: called where AVX-512 VNNI is enabled. Levels are unsigned, weights signed; sums wrap.
        unsafe { _mm512_dpbusd_epi32(sums, _mm512_set1_epi32(word as i32), weights) }
    }

    #[inline(always)]
    unsafe fn store(sums: Self::Sums, to: *mut i32) {
        // SAFETY: the caller's; called where AVX-512 F is enabled.
        unsafe { _mm512_storeu_si512(to.cast(), sums) }
    }
}
