//! Residual networks for small images.

use super::layers::{AvgPool, PadChannels};
use super::{Conv, Net, NetBuilder, NodeId};
use crate::ops::relu::Activation;
use crate::{Error, Result, Rng};

/// The way around a block that changes the shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shortcut {
    /// A 1x1 convolution with batch norm (option B).
    #[default]
    Projection,
    /// Every second pixel of every second row, between channels of zeros, without a parameter (option A): half of the new
    /// channels before the old ones and half behind, as in the CIFAR ResNets that are shared for PyTorch.
    PadChannels,
}

/// Size and wiring of a [`cifar_resnet_with`]; the default is [`resnet20`] at 10 classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CifarResnetConfig {
    /// Channels of the images.
    pub channels: usize,
    /// Height and width of the images, at least 4.
    pub size: usize,
    /// Channels of the three stages.
    pub widths: [usize; 3],
    /// Blocks of a stage: `6 * blocks + 2` layers.
    pub blocks: usize,
    /// Numbers of the answer.
    pub classes: usize,
    /// The way around blocks that change the shape.
    pub shortcut: Shortcut,
    /// Whether there are sites for activation quantisers: `NAME.site` behind every ReLU of a norm `NAME`, that after a
    /// block's sum included.
    pub sites: bool,
}

impl CifarResnetConfig {
    /// [`resnet8`] at 10 classes.
    pub const RESNET8: CifarResnetConfig = CifarResnetConfig {
        channels: 3,
        size: 16,
        widths: [16, 32, 64],
        blocks: 1,
        classes: 10,
        shortcut: Shortcut::Projection,
        sites: false,
    };
}

impl Default for CifarResnetConfig {
    fn default() -> Self {
        CifarResnetConfig {
            channels: 3,
            size: 32,
            widths: [16, 32, 64],
            blocks: 3,
            classes: 10,
            shortcut: Shortcut::Projection,
            sites: false,
        }
    }
}

/// ResNet-20 for 3x32x32 images.
///
/// A 3x3 stem of 16 channels, three stages of three basic blocks at 16, 32 and 64 channels, the first block
/// of stages two and three with stride 2 and a 1x1 convolution with batch norm as its shortcut, global
/// average pool, linear layer. No convolution has a bias. 22 layers with 270,896 weights at 10 classes.
///
/// ```
/// use rebit::prelude::*;
/// let net = resnet20(10, rng(0));
/// assert_eq!(net.layers().iter().map(|l| l.weights).sum::<usize>(), 270_896);
/// ```
pub fn resnet20(classes: usize, rng: Rng) -> Net {
    of_32(3, classes, rng)
}

/// ResNet-32 for 3x32x32 images: as [`resnet20`] with five blocks a stage, 466,906 parameters at 10 classes.
pub fn resnet32(classes: usize, rng: Rng) -> Net {
    of_32(5, classes, rng)
}

/// ResNet-56 for 3x32x32 images: as [`resnet20`] with nine blocks a stage, 855,770 parameters at 10 classes.
pub fn resnet56(classes: usize, rng: Rng) -> Net {
    of_32(9, classes, rng)
}

/// ResNet-8 for 3x16x16 images: the layout of [`resnet20`] with one block a stage, 78,042 parameters and 3.1 million
/// multiply-adds an image at 10 classes. [`pretrained_resnet8`](super::pretrained_resnet8) is a trained one.
///
/// ```
/// use rebit::nn::resnet8;
/// let net = resnet8(10, rebit::rng(0));
/// assert_eq!(net.parameter_count(), 78_042);
/// assert_eq!(net.layers().iter().map(|l| l.macs).sum::<usize>(), 3_125_888);
/// ```
pub fn resnet8(classes: usize, rng: Rng) -> Net {
    let config = CifarResnetConfig {
        classes,
        ..CifarResnetConfig::RESNET8
    };
    cifar_resnet_with(&config, rng).expect("16x16 divides by its strides")
}

fn of_32(blocks: usize, classes: usize, rng: Rng) -> Net {
    let config = CifarResnetConfig {
        blocks,
        classes,
        ..CifarResnetConfig::default()
    };
    cifar_resnet_with(&config, rng).expect("32x32 divides by its strides")
}

/// ResNet of `6 * blocks + 2` layers for `channels` x `size` x `size` images; [`cifar_resnet_with`] has more settings.
///
/// # Errors
/// When `size` is too small for the strides.
pub fn cifar_resnet(
    channels: usize,
    size: usize,
    widths: [usize; 3],
    blocks: usize,
    classes: usize,
    rng: Rng,
) -> Result<Net> {
    let config = CifarResnetConfig {
        channels,
        size,
        widths,
        blocks,
        classes,
        ..CifarResnetConfig::default()
    };
    cifar_resnet_with(&config, rng)
}

/// [`resnet20`] of any size and depth.
///
/// The public CIFAR ResNets of the paper's own kind (option A, whose last layer is called `linear`) load like this, from
/// a checkpoint that was written as safetensors:
///
/// ```
/// use rebit::nn::{CifarResnetConfig, Shortcut, cifar_resnet_with};
/// use rebit::prelude::*;
/// let config = CifarResnetConfig { shortcut: Shortcut::PadChannels, ..CifarResnetConfig::default() };
/// let net = cifar_resnet_with(&config, rng(0))?;
/// assert_eq!(net.parameter_count(), 269_722);
/// # let file = std::env::temp_dir().join("rebit-doc-option-a.safetensors");
/// # net.save(&file, &[])?;
/// net.load_renamed(&file, |name| name.replace("module.", "").replace("linear.", "fc."))?;
/// # std::fs::remove_file(file).ok();
/// # Ok::<(), Error>(())
/// ```
///
/// Source: He et al., arXiv:1512.03385, §4.2.
///
/// # Errors
/// [`Error::Invalid`] for a `size` below 4, [`Error::Shape`] for stages whose channels option A cannot pad.
pub fn cifar_resnet_with(config: &CifarResnetConfig, rng: Rng) -> Result<Net> {
    check_size("CIFAR ResNet", config.size, 4)?;
    let mut b = NetBuilder::new(config.channels, config.size, config.size, rng);
    b = b.with_sites(config.sites);
    let input = b.input();
    let x = b.conv("conv1", input, Conv::new(config.widths[0]))?;
    let mut x = norm_relu(&mut b, "bn1", x)?;
    for (stage, &width) in config.widths.iter().enumerate() {
        for block in 0..config.blocks {
            let name = format!("layer{}.{block}", stage + 1);
            let block = Block {
                name: &name,
                width,
                stride: if stage > 0 && block == 0 { 2 } else { 1 },
                shortcut: config.shortcut,
            };
            x = block.basic(&mut b, x)?;
        }
    }
    let x = b.global_avg_pool(x)?;
    let x = b.linear("fc", x, config.classes)?;
    b.build(x)
}

/// Batch norm, ReLU, and a site behind it where the builder makes them.
pub(super) fn norm_relu(b: &mut NetBuilder, name: &str, x: NodeId) -> Result<NodeId> {
    let y = b.norm(name, x, Activation::Relu)?;
    b.site(&format!("{name}.site"), y)
}

/// As [`norm_relu`], with the other way around a block added before the ReLU.
pub(super) fn norm_add_relu(
    b: &mut NetBuilder,
    name: &str,
    x: NodeId,
    other: NodeId,
) -> Result<NodeId> {
    let y = b.norm_add(name, x, other, Activation::Relu)?;
    b.site(&format!("{name}.site"), y)
}

/// Refuses images that the strides would shrink below a pixel.
pub(super) fn check_size(what: &str, size: usize, strides: usize) -> Result<()> {
    if size >= strides {
        return Ok(());
    }
    Err(Error::invalid(
        format!("{what} for {size}x{size} images"),
        format!(
            "its strides divide the sides by {strides}: take images of at least {strides}x{strides}"
        ),
    ))
}

/// One residual block.
pub(super) struct Block<'a> {
    pub name: &'a str,
    pub width: usize,
    pub stride: usize,
    pub shortcut: Shortcut,
}

impl Block<'_> {
    fn part(&self, part: &str) -> String {
        format!("{}.{part}", self.name)
    }

    /// Two 3x3 convolutions.
    pub fn basic(&self, b: &mut NetBuilder, x: NodeId) -> Result<NodeId> {
        let conv = Conv::new(self.width);
        let y = b.conv(&self.part("conv1"), x, conv.stride(self.stride))?;
        let y = norm_relu(b, &self.part("bn1"), y)?;
        let y = b.conv(&self.part("conv2"), y, conv)?;
        let around = self.around(b, x, self.width)?;
        norm_add_relu(b, &self.part("bn2"), y, around)
    }

    /// A 3x3 convolution, which has the stride, between two of 1x1; four times the width comes out.
    pub fn bottleneck(&self, b: &mut NetBuilder, x: NodeId) -> Result<NodeId> {
        let (conv, wide) = (Conv::new(self.width), 4 * self.width);
        let y = b.conv(&self.part("conv1"), x, conv.kernel(1))?;
        let y = norm_relu(b, &self.part("bn1"), y)?;
        let y = b.conv(&self.part("conv2"), y, conv.stride(self.stride))?;
        let y = norm_relu(b, &self.part("bn2"), y)?;
        let y = b.conv(&self.part("conv3"), y, Conv::new(wide).kernel(1))?;
        let around = self.around(b, x, wide)?;
        norm_add_relu(b, &self.part("bn3"), y, around)
    }

    /// The other way around the block: the input itself, or what the shortcut makes of it where the shape changes.
    fn around(&self, b: &mut NetBuilder, x: NodeId, width: usize) -> Result<NodeId> {
        let channels = b.extent(x)?.channels;
        if self.stride == 1 && channels == width {
            return Ok(x);
        }
        match self.shortcut {
            Shortcut::Projection => {
                let conv = Conv::new(width).kernel(1).stride(self.stride);
                let s = b.conv(&self.part("downsample.0"), x, conv)?;
                b.norm(&self.part("downsample.1"), s, Activation::None)
            }
            Shortcut::PadChannels => {
                let Some(missing) = width.checked_sub(channels) else {
                    return Err(Error::shape(
                        "shortcut",
                        format!("{}: at least the {channels} channels it reads", self.name),
                        width,
                    ));
                };
                // A window of one pixel: its mean is the pixel.
                let every = AvgPool {
                    kernel: (1, 1),
                    stride: (self.stride, self.stride),
                };
                let s = b.layer(&self.part("shortcut.subsample"), &[x], every)?;
                let pad = PadChannels {
                    before: missing / 2,
                    after: missing - missing / 2,
                };
                b.layer(&self.part("shortcut.pad"), &[s], pad)
            }
        }
    }
}
