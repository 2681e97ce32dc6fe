//! What the machine can do at most: multiply-adds that wait for nothing.

use std::hint::black_box;
use std::time::Instant;

use pulp::Simd;
use rayon::prelude::*;
use serde_json::{Value, json};

/// Sums that do not wait for each other: more than two units times four cycles of latency.
const SUMS: usize = 12;
const ROUNDS: usize = 2_000_000;

struct MultiplyAdds;

impl pulp::WithSimd for MultiplyAdds {
    /// Operations done, and something that depends on them.
    type Output = (usize, f32);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let (a, b) = (
            simd.splat_f32s(black_box(0.999)),
            simd.splat_f32s(black_box(0.001)),
        );
        let mut sums = [b; SUMS];
        for _ in 0..ROUNDS {
            for s in &mut sums {
                *s = simd.mul_add_e_f32s(*s, a, b);
            }
        }
        let total = sums.into_iter().fold(b, |t, s| simd.add_f32s(t, s));
        (
            2 * SUMS * S::F32_LANES * ROUNDS,
            simd.reduce_sum_f32s(total),
        )
    }
}

/// The best of some tries on all threads.
pub fn measure() -> Value {
    let threads = rayon::current_num_threads();
    let best = (0..10)
        .map(|_| {
            let start = Instant::now();
            let done: usize = (0..threads)
                .into_par_iter()
                .map(|_| {
                    let (count, value) = pulp::Arch::new().dispatch(MultiplyAdds);
                    black_box(value);
                    count
                })
                .sum();
            done as f64 / start.elapsed().as_secs_f64() * 1e-9
        })
        .fold(0.0, f64::max);
    json!({ "threads": threads, "gflops": best })
}
