//! SRResNet: a residual super-resolution network with batch norm.

use super::edsr::{FEATURES, check_scale};
use super::{Conv, Init, Net, NetBuilder};
use crate::ops::relu::Activation;
use crate::{Result, Rng};

/// Size and wiring of an [`srresnet`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SrresnetConfig {
    /// 2 or 4.
    pub scale: usize,
    /// Residual blocks.
    pub blocks: usize,
    /// Channels of the body.
    pub channels: usize,
    /// Whether there are sites for activation quantisers: two in each block.
    pub sites: bool,
}

impl Default for SrresnetConfig {
    fn default() -> Self {
        SrresnetConfig {
            scale: 4,
            blocks: 16,
            channels: 64,
            sites: false,
        }
    }
}

/// SRResNet for RGB images in grey levels from 0 to 255, without a shift of the mean.
///
/// 9x9 convolution, PReLU, `blocks` residual blocks (convolution, batch norm, PReLU, convolution, batch norm), 3x3
/// convolution with batch norm, long skip (layer `features`), one stage of convolution, pixel shuffle and PReLU for
/// each factor of 2, 9x9 convolution to three channels. No convolution has a bias; each PReLU has one slope.
///
/// Sites of block `b`: `body.b.in` before the first convolution and `body.b.mid` before the second. The identity
/// branch is not quantised.
///
/// Source: Ledig et al., arXiv:1609.04802, figure 4 (the generator without its adversary).
///
/// # Errors
/// [`crate::Error::Invalid`] for another scale.
pub fn srresnet(config: &SrresnetConfig, rng: Rng) -> Result<Net> {
    check_scale(config.scale)?;
    let c = config.channels;
    let conv = |channels| Conv::new(channels).init(Init::UniformFanIn);
    let mut b = NetBuilder::new(3, 8, 8, rng).with_sites(config.sites);
    let input = b.input();
    let x = b.conv("head.conv", input, conv(c).kernel(9))?;
    let head = b.prelu("head.prelu", x)?;
    let mut x = head;
    for block in 0..config.blocks {
        let name = |part: &str| format!("body.{block}.{part}");
        let y = b.site(&name("in"), x)?;
        let y = b.conv(&name("conv_a"), y, conv(c))?;
        let y = b.norm(&name("bn_a"), y, Activation::None)?;
        let y = b.prelu(&name("prelu"), y)?;
        let y = b.site(&name("mid"), y)?;
        let y = b.conv(&name("conv_b"), y, conv(c))?;
        x = b.norm_add(&name("bn_b"), y, x, Activation::None)?;
    }
    let x = b.conv("body.last", x, conv(c))?;
    let mut x = b.norm_add(FEATURES, x, head, Activation::None)?;
    for stage in 0..config.scale.ilog2() {
        x = b.conv(&format!("tail.{stage}.conv"), x, conv(4 * c))?;
        x = b.pixel_shuffle(&format!("tail.{stage}.shuffle"), x, 2)?;
        x = b.prelu(&format!("tail.{stage}.prelu"), x)?;
    }
    let x = b.conv("tail.last", x, conv(3).kernel(9))?;
    b.build(x)
}
