//! The ImageNet networks of the papers, with torchvision's layer names so that converted weights load.
//!
//! Height and width of the input are free: 224 for ImageNet, 32 for small images.

use super::{Conv, Net, NetBuilder, NodeId};
use crate::ops::relu::Activation;
use crate::{Error, Result, Rng};

/// ResNet-18, -34 or -50 for `size` x `size` RGB images.
///
/// A 7x7 stem with stride 2, max pool, four stages of 64, 128, 256 and 512 channels (basic blocks, or
/// bottlenecks of four times the width from 50 layers on, with the stride in their 3x3 convolution), global
/// average pool, linear layer.
///
/// ```
/// use rebit::nn::imagenet_resnet;
/// use rebit::rng;
/// let net = imagenet_resnet(18, 224, 1000, rng(0))?;
/// assert_eq!(net.parameter_count(), 11_689_512);
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for another depth.
pub fn imagenet_resnet(depth: usize, size: usize, classes: usize, rng: Rng) -> Result<Net> {
    let (blocks, bottleneck) = match depth {
        18 => ([2, 2, 2, 2], false),
        34 => ([3, 4, 6, 3], false),
        50 => ([3, 4, 6, 3], true),
        _ => {
            return Err(Error::invalid(
                format!("ResNet-{depth}"),
                "there are 18, 34 and 50",
            ));
        }
    };
    let mut b = NetBuilder::new(3, size, size, rng);
    let x = b.input();
    let x = b.conv("conv1", x, Conv::new(64).kernel(7).stride(2))?;
    let x = b.norm("bn1", x, Activation::Relu)?;
    let mut x = b.max_pool(x, 3, 2, 1)?;
    for (stage, count) in blocks.into_iter().enumerate() {
        for block in 0..count {
            let name = format!("layer{}.{block}", stage + 1);
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let width = 64 << stage;
            x = match bottleneck {
                true => bottleneck_block(&mut b, &name, x, width, stride)?,
                false => super::resnet::basic_block(&mut b, &name, x, width, stride)?,
            };
        }
    }
    let x = b.global_avg_pool(x)?;
    let x = b.linear("fc", x, classes)?;
    b.build(x)
}

fn bottleneck_block(
    b: &mut NetBuilder,
    name: &str,
    x: NodeId,
    width: usize,
    stride: usize,
) -> Result<NodeId> {
    let y = b.conv(&format!("{name}.conv1"), x, Conv::new(width).kernel(1))?;
    let y = b.norm(&format!("{name}.bn1"), y, Activation::Relu)?;
    let y = b.conv(&format!("{name}.conv2"), y, Conv::new(width).stride(stride))?;
    let y = b.norm(&format!("{name}.bn2"), y, Activation::Relu)?;
    let y = b.conv(&format!("{name}.conv3"), y, Conv::new(4 * width).kernel(1))?;
    let shortcut = super::resnet::shortcut(b, name, x, 4 * width, stride)?;
    b.norm_add(&format!("{name}.bn3"), y, shortcut, Activation::Relu)
}

/// MobileNetV1 for `size` x `size` RGB images: a 3x3 stem with stride 2, then 13 pairs of depthwise 3x3 and
/// pointwise convolutions, each with batch norm and ReLU.
///
/// # Errors
/// When `size` is too small for the strides.
pub fn mobilenet_v1(size: usize, classes: usize, rng: Rng) -> Result<Net> {
    let groups: [&[usize]; 5] = [&[64], &[128, 128], &[256, 256], &[512; 6], &[1024, 1024]];
    let mut b = NetBuilder::new(3, size, size, rng);
    let x = b.input();
    let x = b.conv("features.init_block.conv", x, Conv::new(32).stride(2))?;
    let mut x = b.norm("features.init_block.bn", x, Activation::Relu)?;
    for (stage, widths) in groups.into_iter().enumerate() {
        for (unit, &width) in widths.iter().enumerate() {
            let name = format!("features.stage{}.unit{}", stage + 1, unit + 1);
            let stride = if stage > 0 && unit == 0 { 2 } else { 1 };
            x = depthwise(
                &mut b,
                &format!("{name}.dw_conv.conv"),
                &format!("{name}.dw_conv.bn"),
                x,
                stride,
            )?;
            x = b.conv(
                &format!("{name}.pw_conv.conv"),
                x,
                Conv::new(width).kernel(1),
            )?;
            x = b.norm(&format!("{name}.pw_conv.bn"), x, Activation::Relu)?;
        }
    }
    let x = b.global_avg_pool(x)?;
    let x = b.linear("output", x, classes)?;
    b.build(x)
}

/// MobileNetV2 for `size` x `size` RGB images, with ReLU as in the LTS code (the original has ReLU6).
///
/// Inverted residuals: a pointwise convolution widens by `t`, a depthwise one filters, a pointwise one
/// projects without activation; blocks that keep their shape add their input.
///
/// # Errors
/// When `size` is too small for the strides.
pub fn mobilenet_v2(size: usize, classes: usize, rng: Rng) -> Result<Net> {
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
    let mut b = NetBuilder::new(3, size, size, rng);
    let x = b.input();
    let x = b.conv("features.0.0", x, Conv::new(32).stride(2))?;
    let mut x = b.norm("features.0.1", x, Activation::Relu)?;
    let mut at = 1;
    for (expand, width, count, first_stride) in GROUPS {
        for block in 0..count {
            let stride = if block == 0 { first_stride } else { 1 };
            x = inverted_residual(
                &mut b,
                &format!("features.{at}.conv"),
                x,
                expand,
                width,
                stride,
            )?;
            at += 1;
        }
    }
    let x = b.conv(&format!("features.{at}.0"), x, Conv::new(1280).kernel(1))?;
    let x = b.norm(&format!("features.{at}.1"), x, Activation::Relu)?;
    let x = b.global_avg_pool(x)?;
    let x = b.linear("classifier.1", x, classes)?;
    b.build(x)
}

fn inverted_residual(
    b: &mut NetBuilder,
    name: &str,
    x: NodeId,
    expand: usize,
    width: usize,
    stride: usize,
) -> Result<NodeId> {
    let channels = b.extent(x)?.channels;
    let (mut y, mut at) = (x, 0);
    if expand != 1 {
        y = b.conv(
            &format!("{name}.0.0"),
            y,
            Conv::new(channels * expand).kernel(1),
        )?;
        y = b.norm(&format!("{name}.0.1"), y, Activation::Relu)?;
        at = 1;
    }
    y = depthwise(
        b,
        &format!("{name}.{at}.0"),
        &format!("{name}.{at}.1"),
        y,
        stride,
    )?;
    y = b.conv(&format!("{name}.{}", at + 1), y, Conv::new(width).kernel(1))?;
    let norm = format!("{name}.{}", at + 2);
    match stride == 1 && channels == width {
        true => b.norm_add(&norm, y, x, Activation::None),
        false => b.norm(&norm, y, Activation::None),
    }
}

fn depthwise(
    b: &mut NetBuilder,
    conv: &str,
    norm: &str,
    x: NodeId,
    stride: usize,
) -> Result<NodeId> {
    let channels = b.extent(x)?.channels;
    let y = b.conv(conv, x, Conv::new(channels).stride(stride).groups(channels))?;
    b.norm(norm, y, Activation::Relu)
}
