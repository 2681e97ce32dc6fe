//! Full-precision networks that quantisation starts from, trained by this project.
//!
//! All by `cargo run --release -p rebit --example train_edsr`; recipes, logs and scores lie beside the weights in `lib/weights`.

use std::path::Path;

use crate::nn::{EdsrConfig, Net, edsr};
use crate::{Result, rng};

/// EDSR x2 of 8 blocks of 32 channels, and its size.
///
/// # Errors
/// When the file of this build is damaged.
pub fn pretrained_edsr() -> Result<(Net, EdsrConfig)> {
    let bytes = include_bytes!("../../../weights/edsr_x2.safetensors");
    load(8, "weights/edsr_x2.safetensors", bytes)
}

/// EDSR x2 of 16 blocks of 32 channels, and its size: twice as deep as [`pretrained_edsr`].
///
/// ```
/// let (net, size) = rebit::papers::ddtb::pretrained_edsr_deep()?;
/// assert_eq!((size.scale, size.blocks, net.parameters().len()), (2, 16, 72));
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// When the file of this build is damaged.
pub fn pretrained_edsr_deep() -> Result<(Net, EdsrConfig)> {
    let bytes = include_bytes!("../../../weights/edsr_x2_deep.safetensors");
    load(16, "weights/edsr_x2_deep.safetensors", bytes)
}

fn load(blocks: usize, file: &str, bytes: &[u8]) -> Result<(Net, EdsrConfig)> {
    let config = EdsrConfig {
        blocks,
        channels: 32,
        ..EdsrConfig::default()
    };
    let net = edsr(&config, rng(0))?;
    net.load_bytes(Path::new(file), bytes)?;
    Ok((net, config))
}
