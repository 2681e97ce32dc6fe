//! What a camera does to the light: gain, a cast of colour, noise.

use rand::Rng as _;
use rand_distr::StandardNormal;

use super::background::Picture;
use super::stream::{Use, stream};
use crate::data::Photo;
use crate::tensors::Rng;

/// Factors of red, green and blue of camera `camera`: a gain `U(0.75, 1.2)` times a cast `U(0.92, 1.08)` a channel.
pub(super) fn gains(seed: u64, camera: u32) -> [f32; 3] {
    let mut rng = stream(seed, Use::Camera, camera.into(), 0);
    let gain = rng.random_range(0.75..1.2f32);
    [0; 3].map(|_| gain * rng.random_range(0.92..1.08f32))
}

/// The picture that a camera takes: each channel times its gain, plus noise `N(0, noise)`, as bytes.
pub(super) fn photograph(
    picture: &Picture,
    (height, width): (usize, usize),
    gains: [f32; 3],
    noise: f32,
    rng: &mut Rng,
) -> Photo {
    let mut rgb = Vec::with_capacity(picture.len() * 3);
    for pixel in picture {
        for c in 0..3 {
            let added = noise * rng.sample::<f32, _>(StandardNormal);
            let value = (pixel[c] * gains[c] + added).clamp(0.0, 1.0);
            rgb.push((value * 255.0).round() as u8);
        }
    }
    Photo {
        name: String::new(),
        height,
        width,
        rgb,
    }
}
