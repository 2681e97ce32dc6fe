//! AVX2 and AVX-512 VNNI.

use std::arch::x86_64::*;

use super::super::packed::Packed;
use super::super::store::{Band, lane};
use super::BLOCK;
use super::dot::{Dot, rows, rows_of_pairs};
use crate::ops::affine_quant::AffineGrid;
use crate::ops::relu::Activation;

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
    rows_of_pairs::<Vnni, 8>(packed, group, padded, band);
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

    #[inline(always)]
    unsafe fn finish(
        band: &mut Band,
        packed: &Packed,
        (group, block): (usize, usize),
        row: usize,
        sums: &[i32],
    ) {
        match packed.outputs() - block * BLOCK >= BLOCK {
            // SAFETY: a whole block; called where AVX-512 F is enabled.
            true => unsafe { finish(band, packed, (group, block), row, sums) },
            false => band.finish(packed, (group, block), row, sums),
        }
    }
}

/// [`Band::finish`] of a whole block, to the same bits: a pixel is one register.
///
/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn finish(
    band: &mut Band,
    packed: &Packed,
    (group, block): (usize, usize),
    row: usize,
    sums: &[i32],
) {
    let lanes = (group * packed.blocks() + block) * BLOCK;
    let (scale, bias) = (lane(&packed.scale, lanes), lane(&packed.bias, lanes));
    let (constant, times) = (
        lane(&packed.constant, lanes),
        lane(&packed.times_inputs, lanes),
    );
    let under = band.inputs.map(|all| &all[row * band.geometry.out_width..]);
    let out = &mut band.out;
    let first = group * packed.outputs() + block * BLOCK;
    let (of, from) = (
        out.channels,
        (row - out.first) * out.width * out.channels + first,
    );
    let count = sums.len() / BLOCK;
    // What the unchecked reads and writes below reach.
    let end = from + count.saturating_sub(1) * of + BLOCK;
    assert!(out.around.is_none_or(|all| end <= all.len()));
    assert!(out.numbers.as_ref().is_none_or(|all| end <= all.len()));
    assert!(out.levels.iter().all(|(_, all)| end <= all.len()));
    assert!(under.is_none_or(|all| count <= all.len()));
    let (lowest, highest) = out.after.act.bounds();
    let bounded = out.after.act != Activation::None;
    // SAFETY: the caller's; all places lie below `end`, `count` or `count * BLOCK`, and each array has BLOCK numbers.
    unsafe {
        let (scale, bias) = (
            _mm512_loadu_ps(scale.as_ptr()),
            _mm512_loadu_ps(bias.as_ptr()),
        );
        let constant = _mm512_loadu_si512(constant.as_ptr().cast());
        let times = _mm512_loadu_si512(times.as_ptr().cast());
        let (lowest, highest) = (_mm512_set1_ps(lowest), _mm512_set1_ps(highest));
        for p in 0..count {
            let sum = _mm512_loadu_si512(sums.as_ptr().add(p * BLOCK).cast());
            let mut sum = _mm512_add_epi32(sum, constant);
            if let Some(under) = under {
                let more = _mm512_mullo_epi32(times, _mm512_set1_epi32(*under.get_unchecked(p)));
                sum = _mm512_add_epi32(sum, more);
            }
            let mut n = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale), bias);
            if let Some(around) = out.around {
                n = _mm512_add_ps(n, _mm512_loadu_ps(around.as_ptr().add(from + p * of)));
            }
            if bounded {
                // The second operand where one is NaN.
                n = _mm512_min_ps(highest, _mm512_max_ps(lowest, n));
            }
            if let Some(grid) = out.after.site {
                let level = _mm512_add_ps(level(grid, n), _mm512_set1_ps(grid.zero));
                n = _mm512_div_ps(level, _mm512_set1_ps(grid.scale));
            }
            if let Some(to) = &mut out.numbers {
                _mm512_storeu_ps(to.as_mut_ptr().add(from + p * of), n);
            }
            for (grid, to) in &mut out.levels {
                let byte = _mm512_sub_ps(level(*grid, n), _mm512_set1_ps(grid.lowest));
                // Added to 2^23 a whole number from 0 to 255 is the low byte.
                let byte = _mm512_add_ps(byte, _mm512_set1_ps(8_388_608.0));
                let bytes = _mm512_cvtepi32_epi8(_mm512_castps_si512(byte));
                _mm_storeu_si128(to.as_mut_ptr().add(from + p * of).cast(), bytes);
            }
        }
    }
}

/// [`AffineGrid::level`] of sixteen numbers.
///
/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn level(grid: AffineGrid, n: __m512) -> __m512 {
    // SAFETY: the caller's.
    unsafe {
        let q = _mm512_sub_ps(
            _mm512_mul_ps(_mm512_set1_ps(grid.scale), n),
            _mm512_set1_ps(grid.zero),
        );
        let q = _mm512_roundscale_ps::<_MM_FROUND_TO_NEAREST_INT>(q);
        let q = _mm512_max_ps(_mm512_set1_ps(grid.lowest), q);
        _mm512_min_ps(_mm512_set1_ps(grid.highest), q)
    }
}
