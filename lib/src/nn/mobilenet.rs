//! MobileNets: depthwise and pointwise convolutions, with torchvision's layer names for the second.

use super::resnet::{check_size, norm_relu};
use super::{Conv, Net, NetBuilder, NodeId};
use crate::ops::relu::Activation;
use crate::{Error, Result, Rng};

/// Size and width of a [`mobilenet_v1_with`] or [`mobilenet_v2_with`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MobilenetConfig {
    /// Height and width of the images: at least 16 times the stem's stride.
    pub size: usize,
    /// Numbers of the answer.
    pub classes: usize,
    /// Factor of every layer's channels (0.25, 0.5, 0.75, 1); the second version rounds to multiples of 8.
    pub width: f32,
    /// Stride of the first convolution: 2, or 1 for small images.
    pub stem_stride: usize,
    /// Whether there are sites for activation quantisers: `NAME.site` behind every ReLU of a norm `NAME`.
    pub sites: bool,
}

impl Default for MobilenetConfig {
    fn default() -> Self {
        MobilenetConfig {
            size: 224,
            classes: 1000,
            width: 1.0,
            stem_stride: 2,
            sites: false,
        }
    }
}

impl MobilenetConfig {
    /// Width 0.35 for the 10 classes of 32x32 images, with a stem of stride 1: what the recipe `train_mobilenet_v2` trains.
    pub fn cifar() -> Self {
        MobilenetConfig {
            size: 32,
            classes: 10,
            width: 0.35,
            stem_stride: 1,
            sites: false,
        }
    }

    /// Width 0.25, else as [`cifar`](Self::cifar): what the recipe `train_mobilenet_v1` trains.
    pub fn quarter_cifar() -> Self {
        MobilenetConfig {
            width: 0.25,
            ..Self::cifar()
        }
    }

    fn builder(&self, what: &str, rng: Rng) -> Result<NetBuilder> {
        if !(self.width > 0.0 && self.width <= 16.0) {
            return Err(Error::invalid(
                format!("{what} of width {}", self.width),
                "is a factor above 0 and at most 16",
            ));
        }
        if !matches!(self.stem_stride, 1 | 2) {
            return Err(Error::invalid(
                format!("{what} with a stem of stride {}", self.stem_stride),
                "is 2, or 1 for small images",
            ));
        }
        check_size(what, self.size, 16 * self.stem_stride)?;
        Ok(NetBuilder::new(3, self.size, self.size, rng).with_sites(self.sites))
    }

    /// Channels of the first version.
    fn scaled(&self, channels: usize) -> usize {
        ((channels as f32 * self.width) as usize).max(1)
    }

    /// Channels of the second version: the nearest multiple of 8, at least 8, and not more than a tenth below.
    fn rounded(&self, channels: usize) -> usize {
        let exact = channels as f32 * self.width;
        let near = ((exact as usize + 4) / 8 * 8).max(8);
        if (near as f32) < 0.9 * exact {
            near + 8
        } else {
            near
        }
    }
}

/// MobileNetV1 for `size` x `size` RGB images; [`mobilenet_v1_with`] has more settings.
///
/// # Errors
/// [`Error::Invalid`] for images below 32x32.
pub fn mobilenet_v1(size: usize, classes: usize, rng: Rng) -> Result<Net> {
    let config = MobilenetConfig {
        size,
        classes,
        ..MobilenetConfig::default()
    };
    mobilenet_v1_with(&config, rng)
}

/// MobileNetV1: a 3x3 stem, then 13 pairs of depthwise 3x3 and pointwise convolutions, each with batch norm and ReLU.
///
/// ```
/// use rebit::nn::{MobilenetConfig, mobilenet_v1_with};
/// use rebit::prelude::*;
/// let net = mobilenet_v1_with(&MobilenetConfig::quarter_cifar(), rng(0))?;
/// assert_eq!(net.layers()[0].weights, 8 * 3 * 9);
/// # Ok::<(), Error>(())
/// ```
///
/// Source: Howard et al., arXiv:1704.04861, table 1.
///
/// # Errors
/// [`Error::Invalid`] for images below 16 times the stem's stride, a stride other than 1 and 2, and a width that is no
/// factor.
pub fn mobilenet_v1_with(config: &MobilenetConfig, rng: Rng) -> Result<Net> {
    let groups: [&[usize]; 5] = [&[64], &[128, 128], &[256, 256], &[512; 6], &[1024, 1024]];
    let mut b = config.builder("MobileNetV1", rng)?;
    let x = b.input();
    let stem = Conv::new(config.scaled(32)).stride(config.stem_stride);
    let x = b.conv("features.init_block.conv", x, stem)?;
    let mut x = norm_relu(&mut b, "features.init_block.bn", x)?;
    for (stage, widths) in groups.into_iter().enumerate() {
        for (unit, &width) in widths.iter().enumerate() {
            let name = format!("features.stage{}.unit{}", stage + 1, unit + 1);
            let stride = if stage > 0 && unit == 0 { 2 } else { 1 };
            let (conv, norm) = (format!("{name}.dw_conv.conv"), format!("{name}.dw_conv.bn"));
            x = depthwise(&mut b, (&conv, &norm), x, stride)?;
            let pointwise = Conv::new(config.scaled(width)).kernel(1);
            x = b.conv(&format!("{name}.pw_conv.conv"), x, pointwise)?;
            x = norm_relu(&mut b, &format!("{name}.pw_conv.bn"), x)?;
        }
    }
    let x = b.global_avg_pool(x)?;
    let x = b.linear("output", x, config.classes)?;
    b.build(x)
}

/// MobileNetV2 for `size` x `size` RGB images; [`mobilenet_v2_with`] has more settings.
///
/// # Errors
/// [`Error::Invalid`] for images below 32x32.
pub fn mobilenet_v2(size: usize, classes: usize, rng: Rng) -> Result<Net> {
    let config = MobilenetConfig {
        size,
        classes,
        ..MobilenetConfig::default()
    };
    mobilenet_v2_with(&config, rng)
}

/// MobileNetV2, with ReLU as in the LTS code (the original has ReLU6).
///
/// Inverted residuals: a pointwise convolution widens by `t`, a depthwise one filters, a pointwise one
/// projects without activation; blocks that keep their shape add their input.
///
/// Source: Sandler et al., arXiv:1801.04381, table 2.
///
/// # Errors
/// As [`mobilenet_v1_with`].
pub fn mobilenet_v2_with(config: &MobilenetConfig, rng: Rng) -> Result<Net> {
    // Expansion, channels, blocks, stride of the first.
    const GROUPS: [(usize, usize, usize, usize); 7] = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ];
    let mut b = config.builder("MobileNetV2", rng)?;
    let x = b.input();
    let stem = Conv::new(config.rounded(32)).stride(config.stem_stride);
    let x = b.conv("features.0.0", x, stem)?;
    let mut x = norm_relu(&mut b, "features.0.1", x)?;
    let mut at = 1;
    for (expand, width, count, first_stride) in GROUPS {
        for block in 0..count {
            let name = format!("features.{at}.conv");
            let block = Inverted {
                name: &name,
                expand,
                width: config.rounded(width),
                stride: if block == 0 { first_stride } else { 1 },
            };
            x = block.build(&mut b, x)?;
            at += 1;
        }
    }
    // A narrower network keeps the width of its last convolution; a wider one has more.
    let last = MobilenetConfig {
        width: config.width.max(1.0),
        ..*config
    };
    let head = Conv::new(last.rounded(1280)).kernel(1);
    let x = b.conv(&format!("features.{at}.0"), x, head)?;
    let x = norm_relu(&mut b, &format!("features.{at}.1"), x)?;
    let x = b.global_avg_pool(x)?;
    let x = b.linear("classifier.1", x, config.classes)?;
    b.build(x)
}

struct Inverted<'a> {
    name: &'a str,
    expand: usize,
    width: usize,
    stride: usize,
}

impl Inverted<'_> {
    fn build(&self, b: &mut NetBuilder, x: NodeId) -> Result<NodeId> {
        let name = self.name;
        let channels = b.extent(x)?.channels;
        let (mut y, mut at) = (x, 0);
        if self.expand != 1 {
            let widen = Conv::new(channels * self.expand).kernel(1);
            y = b.conv(&format!("{name}.0.0"), y, widen)?;
            y = norm_relu(b, &format!("{name}.0.1"), y)?;
            at = 1;
        }
        let (conv, norm) = (format!("{name}.{at}.0"), format!("{name}.{at}.1"));
        y = depthwise(b, (&conv, &norm), y, self.stride)?;
        let project = Conv::new(self.width).kernel(1);
        y = b.conv(&format!("{name}.{}", at + 1), y, project)?;
        let norm = format!("{name}.{}", at + 2);
        match self.stride == 1 && channels == self.width {
            true => b.norm_add(&norm, y, x, Activation::None),
            false => b.norm(&norm, y, Activation::None),
        }
    }
}

fn depthwise(
    b: &mut NetBuilder,
    (conv, norm): (&str, &str),
    x: NodeId,
    stride: usize,
) -> Result<NodeId> {
    let channels = b.extent(x)?.channels;
    let y = b.conv(conv, x, Conv::new(channels).stride(stride).groups(channels))?;
    norm_relu(b, norm, y)
}
