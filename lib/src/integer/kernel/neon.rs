//! NEON, which every 64-bit Arm processor has.

use std::arch::aarch64::*;

use super::super::packed::Packed;
use super::super::store::Band;
use super::dot::{Dot, rows};

pub(super) fn neon(packed: &Packed, group: usize, padded: &[u32], band: &mut Band) {
    rows::<Neon, 4>(packed, group, padded, band);
}

struct Neon;

// SAFETY: reads and writes sixteen words of 32 bits, in four registers.
unsafe impl Dot for Neon {
    type Sums = [int32x4_t; 4];
    type Weights = [int16x8_t; 4];

    #[inline(always)]
    unsafe fn zero() -> Self::Sums {
        // SAFETY: NEON is part of the architecture.
        unsafe { [vdupq_n_s32(0); 4] }
    }

    #[inline(always)]
    unsafe fn load(weights: *const u32) -> Self::Weights {
        // SAFETY: the caller's.
        unsafe {
            let at = |i: usize| vreinterpretq_s16_u32(vld1q_u32(weights.add(4 * i)));
            [at(0), at(1), at(2), at(3)]
        }
    }

    #[inline(always)]
    unsafe fn add(mut sums: Self::Sums, weights: Self::Weights, word: u32) -> Self::Sums {
        // SAFETY: NEON is part of the architecture.
        unsafe {
            let x = vreinterpretq_s16_u32(vdupq_n_u32(word));
            for (sum, w) in sums.iter_mut().zip(weights) {
                let low = vmull_s16(vget_low_s16(w), vget_low_s16(x));
                let high = vmull_high_s16(w, x);
                // Neighbours belong to one channel.
                *sum = vaddq_s32(*sum, vpaddq_s32(low, high));
            }
            sums
        }
    }

    #[inline(always)]
    unsafe fn store(sums: Self::Sums, to: *mut i32) {
        // SAFETY: the caller's.
        unsafe {
            for (i, sum) in sums.into_iter().enumerate() {
                vst1q_s32(to.add(4 * i), sum);
            }
        }
    }
}
