//! RDN: residual dense blocks, in which every convolution reads all earlier outputs of its block.

use super::edsr::{FEATURES, check_scale, upsampler};
use super::{Conv, Init, Net, NetBuilder, NodeId};
use crate::ops::relu::Activation;
use crate::{Result, Rng};

/// Size and wiring of an [`rdn`]; the default is configuration B of the paper.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RdnConfig {
    /// 2 or 4.
    pub scale: usize,
    /// Residual dense blocks.
    pub blocks: usize,
    /// Convolutions of a block.
    pub convs: usize,
    /// Channels of the trunk and of each convolution.
    pub channels: usize,
    /// Whether there are sites for activation quantisers.
    pub sites: bool,
}

impl Default for RdnConfig {
    fn default() -> Self {
        RdnConfig {
            scale: 2,
            blocks: 16,
            convs: 8,
            channels: 64,
            sites: false,
        }
    }
}

/// RDN for RGB images in grey levels from 0 to 255, without a shift of the mean.
///
/// Two 3x3 convolutions, `blocks` dense blocks (`convs` 3x3 convolutions with ReLU, each reading the concatenation so
/// far, a 1x1 convolution and the block's input), their outputs joined by a 1x1 and a 3x3 convolution, sum with the
/// first convolution's output (layer `features`), up-sampler, 3x3 convolution to three channels.
///
/// Sites: `body.b.0` on a block's input, `body.b.c` on each later concatenation, `body.b.lff` before the 1x1
/// convolution, `body.gff` before the joining one: `(convs + 1) blocks + 1`. Old channels are so quantised again and
/// again, and the input of the 3x3 convolution `body.gff.1` is not, as in the authors' code of DDTB.
///
/// Source: Zhang et al., arXiv:1802.08797, §3.
///
/// # Errors
/// [`crate::Error::Invalid`] for another scale.
pub fn rdn(config: &RdnConfig, rng: Rng) -> Result<Net> {
    check_scale(config.scale)?;
    let c = config.channels;
    let conv = |channels| Conv::new(channels).with_bias().init(Init::UniformFanIn);
    let mut b = NetBuilder::new(3, 8, 8, rng).with_sites(config.sites);
    let input = b.input();
    let first = b.conv("sfe1", input, conv(c))?;
    let mut x = b.conv("sfe2", first, conv(c))?;
    let mut outputs = Vec::new();
    for block in 0..config.blocks {
        x = dense_block(&mut b, block, x, config.convs, conv(c))?;
        outputs.push(x);
    }
    let x = b.concat("body.join", &outputs)?;
    let x = b.site("body.gff", x)?;
    let x = b.conv("body.gff.0", x, conv(c).kernel(1))?;
    let x = b.conv("body.gff.1", x, conv(c))?;
    let x = b.add(FEATURES, x, first, Activation::None)?;
    let x = upsampler(&mut b, x, config.scale, conv(4 * c))?;
    let x = b.conv("tail.1", x, conv(3))?;
    b.build(x)
}

fn dense_block(
    b: &mut NetBuilder,
    block: usize,
    x: NodeId,
    convs: usize,
    conv: Conv,
) -> Result<NodeId> {
    let name = |part: &str| format!("body.{block}.{part}");
    let input = b.site(&name("0"), x)?;
    let mut x = input;
    for c in 0..convs {
        if c > 0 {
            x = b.site(&name(&c.to_string()), x)?;
        }
        let y = b.conv(&name(&format!("conv.{c}")), x, conv)?;
        let y = b.activation(&name(&format!("act.{c}")), y, Activation::Relu)?;
        x = b.concat(&name(&format!("join.{c}")), &[x, y])?;
    }
    let x = b.site(&name("lff"), x)?;
    let x = b.conv(&name("lff.conv"), x, conv.kernel(1))?;
    b.add(&name("sum"), x, input, Activation::None)
}
