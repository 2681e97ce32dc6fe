//! The residual networks of ImageNet, with torchvision's layer names so that converted weights load.
//!
//! Height and width of the input are free: 224 for ImageNet, 32 for small images.

use super::resnet::{Block, Shortcut, check_size, norm_relu};
use super::{Conv, Net, NetBuilder};
use crate::{Error, Result, Rng};

/// Depth and size of an [`imagenet_resnet_with`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImagenetResnetConfig {
    /// 18, 34 or 50.
    pub depth: usize,
    /// Height and width of the images, at least 32.
    pub size: usize,
    /// Numbers of the answer.
    pub classes: usize,
    /// Whether there are sites for activation quantisers: `NAME.site` behind every ReLU of a norm `NAME`, that after a
    /// block's sum included.
    pub sites: bool,
}

impl Default for ImagenetResnetConfig {
    fn default() -> Self {
        ImagenetResnetConfig {
            depth: 18,
            size: 224,
            classes: 1000,
            sites: false,
        }
    }
}

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
/// [`Error::Invalid`] for another depth and for images below 32x32.
pub fn imagenet_resnet(depth: usize, size: usize, classes: usize, rng: Rng) -> Result<Net> {
    let config = ImagenetResnetConfig {
        depth,
        size,
        classes,
        sites: false,
    };
    imagenet_resnet_with(&config, rng)
}

/// [`imagenet_resnet`] with all settings.
///
/// # Errors
/// As [`imagenet_resnet`].
pub fn imagenet_resnet_with(config: &ImagenetResnetConfig, rng: Rng) -> Result<Net> {
    let (blocks, bottleneck) = match config.depth {
        18 => ([2, 2, 2, 2], false),
        34 => ([3, 4, 6, 3], false),
        50 => ([3, 4, 6, 3], true),
        depth => {
            let what = format!("ResNet-{depth}");
            return Err(Error::invalid(what, "there are 18, 34 and 50"));
        }
    };
    check_size("ImageNet ResNet", config.size, 32)?;
    let mut b = NetBuilder::new(3, config.size, config.size, rng).with_sites(config.sites);
    let x = b.input();
    let x = b.conv("conv1", x, Conv::new(64).kernel(7).stride(2))?;
    let x = norm_relu(&mut b, "bn1", x)?;
    let mut x = b.max_pool(x, 3, 2, 1)?;
    for (stage, count) in blocks.into_iter().enumerate() {
        for block in 0..count {
            let name = format!("layer{}.{block}", stage + 1);
            let block = Block {
                name: &name,
                width: 64 << stage,
                stride: if stage > 0 && block == 0 { 2 } else { 1 },
                shortcut: Shortcut::Projection,
            };
            x = match bottleneck {
                true => block.bottleneck(&mut b, x)?,
                false => block.basic(&mut b, x)?,
            };
        }
    }
    let x = b.global_avg_pool(x)?;
    let x = b.linear("fc", x, config.classes)?;
    b.build(x)
}
