//! Generators of textures trained by this project, inside the library.

use std::path::Path;

use crate::nn::{Net, UNetConfig, unet};
use crate::{Result, rng};

/// The small U-Net, trained with the loss on four layers of re-ID network A, for people of capsules in pictures of 64x32.
///
/// Trained by `cargo run --release -p rebit --example train_texture -- reid`; log and scores lie beside the weights in
/// `lib/weights`.
///
/// ```
/// let net = rebit::papers::reid_texture::pretrained_by_reid()?;
/// assert_eq!(net.parameter_count(), 124_755);
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// When the file of this build is damaged.
pub fn pretrained_by_reid() -> Result<Net> {
    let bytes = include_bytes!("../../../weights/texture_reid_capsules.safetensors");
    loaded("weights/texture_reid_capsules.safetensors", bytes)
}

/// The same, trained with pixels within the silhouette.
///
/// Trained by `cargo run --release -p rebit --example train_texture -- pixels`.
///
/// # Errors
/// When the file of this build is damaged.
pub fn pretrained_by_pixels() -> Result<Net> {
    let bytes = include_bytes!("../../../weights/texture_pixels_capsules.safetensors");
    loaded("weights/texture_pixels_capsules.safetensors", bytes)
}

fn loaded(name: &str, bytes: &[u8]) -> Result<Net> {
    let net = unet(&UNetConfig::small(), rng(0))?;
    net.load_bytes(Path::new(name), bytes)?;
    Ok(net)
}
