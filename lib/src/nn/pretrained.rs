//! Weights trained by this project, inside the library.

use std::path::Path;

use super::{Net, resnet8, resnet20};
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

/// The full-precision [`resnet8`] for CIFAR-10 at 16x16, images that
/// [`Cifar10::mean_pooled`](crate::data::Cifar10::mean_pooled) makes with a window of 2, normalised as
/// [`Normalize::CIFAR10`](crate::data::Normalize::CIFAR10) does: a network for experiments that are repeated many times.
///
/// Trained by `cargo run --release -p rebit --example train_resnet8`; recipe, log and accuracy lie beside the weights in
/// `lib/weights`.
///
/// ```
/// let net = rebit::nn::pretrained_resnet8()?;
/// assert_eq!(net.input_extent().height, 16);
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// When the file of this build is damaged.
pub fn pretrained_resnet8() -> Result<Net> {
    let net = resnet8(10, rng(0));
    let bytes = include_bytes!("../../weights/resnet8_cifar10_16.safetensors");
    net.load_bytes(Path::new("weights/resnet8_cifar10_16.safetensors"), bytes)?;
    Ok(net)
}
