//! A generator of its own for every picture: one can be had without those before it.

use rand::SeedableRng;

use crate::tensors::Rng;

/// What a generator is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Use {
    Clothes = 1,
    Shape = 2,
    Crop = 3,
    Scene = 4,
    Camera = 5,
    Annotation = 6,
    Estimate = 7,
    Turn = 8,
}

/// The generator for a use and two numbers, spread by the finalizer of SplitMix64 after each of them.
pub(super) fn stream(seed: u64, of: Use, a: u64, b: u64) -> Rng {
    let mut state = 0u64;
    for word in [seed, of as u64, a, b] {
        let mut z = (state ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state = z ^ (z >> 31);
    }
    Rng::seed_from_u64(state)
}
