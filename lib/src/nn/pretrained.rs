//! Weights trained by this project, inside the library.

use std::path::Path;

use super::{
    DetectorConfig, EdsrConfig, MobilenetConfig, Net, ReidNetConfig, detector, edsr,
    mobilenet_v2_with, reid, resnet8, resnet20,
};
use crate::{Error, Result, rng};

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

/// The full-precision MobileNetV2 x0.35 for CIFAR-10, as [`MobilenetConfig::cifar`] builds it: depthwise layers, whose
/// channels differ widely in range.
///
/// Trained by `cargo run --release -p rebit --example train_mobilenet_v2`; recipe, log and accuracy lie beside the weights in
/// `lib/weights`.
///
/// ```
/// let net = rebit::nn::pretrained_mobilenet_v2()?;
/// assert_eq!(net.layers().len(), 53);
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// When the file of this build is damaged.
pub fn pretrained_mobilenet_v2() -> Result<Net> {
    let net = mobilenet_v2_with(&MobilenetConfig::cifar(), rng(0))?;
    let bytes = include_bytes!("../../weights/mobilenet_v2_cifar10.safetensors");
    net.load_bytes(Path::new("weights/mobilenet_v2_cifar10.safetensors"), bytes)?;
    Ok(net)
}

/// The full-precision [`edsr`] x2 of 8 blocks of 32 channels that quantisation starts from, and its size.
///
/// Trained by `cargo run --release -p rebit --example train_edsr`; recipe, log and scores lie beside the weights in
/// `lib/weights`.
///
/// # Errors
/// When the file of this build is damaged.
pub fn pretrained_edsr() -> Result<(Net, EdsrConfig)> {
    let bytes = include_bytes!("../../weights/edsr_x2.safetensors");
    edsr_of(8, "weights/edsr_x2.safetensors", bytes)
}

/// The same of 16 blocks: twice as deep as [`pretrained_edsr`].
///
/// ```
/// let (net, size) = rebit::nn::pretrained_edsr_deep()?;
/// assert_eq!((size.scale, size.blocks, net.parameters().len()), (2, 16, 72));
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// When the file of this build is damaged.
pub fn pretrained_edsr_deep() -> Result<(Net, EdsrConfig)> {
    let bytes = include_bytes!("../../weights/edsr_x2_deep.safetensors");
    edsr_of(16, "weights/edsr_x2_deep.safetensors", bytes)
}

fn edsr_of(blocks: usize, file: &str, bytes: &[u8]) -> Result<(Net, EdsrConfig)> {
    let config = EdsrConfig {
        blocks,
        channels: 32,
        ..EdsrConfig::default()
    };
    let net = edsr(&config, rng(0))?;
    net.load_bytes(Path::new(file), bytes)?;
    Ok((net, config))
}

/// A [`detector()`] of people for scenes of [`WorldConfig::training`](crate::data::WorldConfig::training), which learned boxes
/// that are off by `annotation`: 0.06 or 0.12.
///
/// Trained by `cargo run --release -p rebit --example train_detector`; log and accuracy lie beside the weights in
/// `lib/weights`.
///
/// ```
/// let net = rebit::nn::pretrained_detector(0.12)?;
/// assert_eq!(net.output_extent().channels, 5);
/// assert!(rebit::nn::pretrained_detector(0.5).is_err());
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for another annotation; when the file of this build is damaged.
pub fn pretrained_detector(annotation: f32) -> Result<Net> {
    let bytes: &[u8] = match annotation {
        0.06 => include_bytes!("../../weights/detector_capsules_06.safetensors"),
        0.12 => include_bytes!("../../weights/detector_capsules_12.safetensors"),
        _ => {
            let what = format!("a trained detector for annotation {annotation}");
            return Err(Error::invalid(what, "there are those for 0.06 and 0.12"));
        }
    };
    let net = detector(&DetectorConfig::default(), rng(0))?;
    net.load_bytes(Path::new("weights/detector_capsules"), bytes)?;
    Ok(net)
}

/// Re-ID network A of person search: the light [`reid()`] of 300 people of the made world, through which losses run.
///
/// Trained by `cargo run --release -p rebit --example train_reid -- A`; log and accuracy lie beside the weights in
/// `lib/weights`.
///
/// ```
/// let net = rebit::nn::pretrained_reid_a()?;
/// assert_eq!(rebit::nn::reid::identities(&net)?, 300);
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// When the file of this build is damaged.
pub fn pretrained_reid_a() -> Result<Net> {
    let net = reid(&ReidNetConfig::light(300), rng(0))?;
    let bytes = include_bytes!("../../weights/reid_a_capsules.safetensors");
    net.load_bytes(Path::new("weights/reid_a_capsules.safetensors"), bytes)?;
    Ok(net)
}

/// Re-ID network B of person search, which only measures: wider than [A](pretrained_reid_a), trained on other scenes and
/// from another seed, with a triplet loss.
///
/// Trained by `cargo run --release -p rebit --example train_reid -- B`.
///
/// # Errors
/// When the file of this build is damaged.
pub fn pretrained_reid_b() -> Result<Net> {
    let net = reid(&ReidNetConfig::wide(300), rng(0))?;
    let bytes = include_bytes!("../../weights/reid_b_capsules.safetensors");
    net.load_bytes(Path::new("weights/reid_b_capsules.safetensors"), bytes)?;
    Ok(net)
}
