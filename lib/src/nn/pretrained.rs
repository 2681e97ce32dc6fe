//! Weights trained by this project, inside the library.

use std::path::Path;

use super::{Net, resnet20};
use crate::{Result, rng};

/// The full-precision [`resnet20`] for CIFAR-10 that quantisation starts from.
///
/// Trained by `cargo run --release -p rebit --example train_resnet20`; recipe, log and accuracy lie beside
/// the weights in `lib/weights`.
///
/// # Errors
/// When the file of this build is damaged.
pub fn pretrained_resnet20() -> Result<Net> {
    let net = resnet20(10, rng(0));
    let bytes = include_bytes!("../../weights/resnet20_cifar10.safetensors");
    net.load_bytes(Path::new("weights/resnet20_cifar10.safetensors"), bytes)?;
    Ok(net)
}
