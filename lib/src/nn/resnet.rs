//! Residual networks for small images.

use super::{Conv, Net, NetBuilder, NodeId};
use crate::ops::relu::Activation;
use crate::{Result, Rng};

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
    cifar_resnet(3, 32, [16, 32, 64], 3, classes, rng).expect("32x32 divides by its strides")
}

/// ResNet-32 for 3x32x32 images: as [`resnet20`] with five blocks a stage, 466,906 parameters at 10 classes.
pub fn resnet32(classes: usize, rng: Rng) -> Net {
    cifar_resnet(3, 32, [16, 32, 64], 5, classes, rng).expect("32x32 divides by its strides")
}

/// ResNet-56 for 3x32x32 images: as [`resnet20`] with nine blocks a stage, 855,770 parameters at 10 classes.
pub fn resnet56(classes: usize, rng: Rng) -> Net {
    cifar_resnet(3, 32, [16, 32, 64], 9, classes, rng).expect("32x32 divides by its strides")
}

/// ResNet of `6 * blocks + 2` layers for `channels` x `size` x `size` images.
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
    let mut b = NetBuilder::new(channels, size, size, rng);
    let input = b.input();
    let x = b.conv("conv1", input, Conv::new(widths[0]))?;
    let mut x = b.norm("bn1", x, Activation::Relu)?;
    for (stage, &width) in widths.iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            x = basic_block(
                &mut b,
                &format!("layer{}.{block}", stage + 1),
                x,
                width,
                stride,
            )?;
        }
    }
    let x = b.global_avg_pool(x)?;
    let x = b.linear("fc", x, classes)?;
    b.build(x)
}

pub(super) fn basic_block(
    b: &mut NetBuilder,
    name: &str,
    x: NodeId,
    width: usize,
    stride: usize,
) -> Result<NodeId> {
    let y = b.conv(&format!("{name}.conv1"), x, Conv::new(width).stride(stride))?;
    let y = b.norm(&format!("{name}.bn1"), y, Activation::Relu)?;
    let y = b.conv(&format!("{name}.conv2"), y, Conv::new(width))?;
    let shortcut = shortcut(b, name, x, width, stride)?;
    b.norm_add(&format!("{name}.bn2"), y, shortcut, Activation::Relu)
}

/// The other way around a block: the input itself, or a 1x1 convolution where the shape changes.
pub(super) fn shortcut(
    b: &mut NetBuilder,
    name: &str,
    x: NodeId,
    width: usize,
    stride: usize,
) -> Result<NodeId> {
    if stride == 1 && b.extent(x)?.channels == width {
        return Ok(x);
    }
    let s = b.conv(
        &format!("{name}.downsample.0"),
        x,
        Conv::new(width).kernel(1).stride(stride),
    )?;
    b.norm(&format!("{name}.downsample.1"), s, Activation::None)
}
