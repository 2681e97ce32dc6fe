//! EDSR: a residual super-resolution network without batch norm.

use super::{Conv, Init, Net, NetBuilder, NodeId};
use crate::ops::relu::Activation;
use crate::{Error, Result, Rng};

/// Mean colour of DIV2K, in grey levels.
pub(super) const MEAN: [f32; 3] = [0.4488 * 255.0, 0.4371 * 255.0, 0.4040 * 255.0];

/// Size and wiring of an [`edsr`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EdsrConfig {
    /// 2 or 4.
    pub scale: usize,
    /// Residual blocks.
    pub blocks: usize,
    /// Channels of the body.
    pub channels: usize,
    /// Factor of each block's sum.
    pub res_scale: f32,
    /// Whether there are sites for activation quantisers: three in each block.
    pub sites: bool,
    /// Whether the first convolution of a block reads the quantised input. In the authors' code it reads the
    /// input before the quantiser, which serves the identity branch alone.
    pub strict: bool,
}

impl Default for EdsrConfig {
    fn default() -> Self {
        EdsrConfig {
            scale: 2,
            blocks: 16,
            channels: 64,
            res_scale: 1.0,
            sites: false,
            strict: false,
        }
    }
}

/// EDSR for RGB images in grey levels from 0 to 255.
///
/// Mean colour off, 3x3 convolution, `blocks` residual blocks (convolution, ReLU, convolution), 3x3 convolution,
/// sum with the first convolution's output (layer `features`), up-sampler (convolution to `4 c` channels and pixel
/// shuffle, twice for scale 4), 3x3 convolution to three channels, mean colour on. All convolutions have a bias;
/// weights and biases start uniform in `±1/sqrt(fan-in)`.
///
/// Sites of block `b`: `body.b.identity` on the identity branch, `body.b.relu` behind the ReLU and `body.b.conv`
/// behind the second convolution.
///
/// Source: Lim et al., arXiv:1707.02921, the baseline model of table 1.
///
/// ```
/// use rebit::nn::{EdsrConfig, edsr};
/// use rebit::rng;
/// assert_eq!(edsr(&EdsrConfig::default(), rng(0))?.parameter_count(), 1_369_859);
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for another scale.
pub fn edsr(config: &EdsrConfig, rng: Rng) -> Result<Net> {
    check_scale(config.scale)?;
    let c = config.channels;
    let conv = |channels| Conv::new(channels).with_bias().init(Init::UniformFanIn);
    let mut b = NetBuilder::new(3, 8, 8, rng).with_sites(config.sites);
    let input = b.input();
    let x = b.affine("sub_mean", input, 1.0, MEAN.map(|m| -m).to_vec())?;
    let head = b.conv("head.0", x, conv(c))?;
    let mut x = head;
    for block in 0..config.blocks {
        let name = |part: &str| format!("body.{block}.{part}");
        let identity = b.site(&name("identity"), x)?;
        let read = if config.strict { identity } else { x };
        let y = b.conv(&name("conv_a"), read, conv(c))?;
        let y = b.activation(&name("act"), y, Activation::Relu)?;
        let y = b.site(&name("relu"), y)?;
        let mut y = b.conv(&name("conv_b"), y, conv(c))?;
        if config.res_scale != 1.0 {
            y = b.affine(&name("scale"), y, config.res_scale, vec![0.0; c])?;
        }
        let y = b.site(&name("conv"), y)?;
        x = b.add(&name("sum"), y, identity, Activation::None)?;
    }
    let x = b.conv("body.last", x, conv(c))?;
    let x = b.add(FEATURES, x, head, Activation::None)?;
    let x = upsampler(&mut b, x, config.scale, conv(4 * c))?;
    let x = b.conv("tail.1", x, conv(3))?;
    let x = b.affine("add_mean", x, 1.0, MEAN.to_vec())?;
    b.build(x)
}

/// Name of the layer behind the long skip, whose output the attention-transfer loss compares.
pub const FEATURES: &str = "features";

/// Convolution and pixel shuffle by 2, as often as the scale needs.
pub(super) fn upsampler(
    b: &mut NetBuilder,
    mut x: NodeId,
    scale: usize,
    conv: Conv,
) -> Result<NodeId> {
    for stage in 0..scale.ilog2() {
        x = b.conv(&format!("tail.0.{}", 2 * stage), x, conv)?;
        x = b.pixel_shuffle(&format!("tail.0.{}", 2 * stage + 1), x, 2)?;
    }
    Ok(x)
}

pub(super) fn check_scale(scale: usize) -> Result<()> {
    match scale {
        2 | 4 => Ok(()),
        _ => Err(Error::invalid(
            format!("scale {scale}"),
            "the super-resolution networks enlarge by 2 or 4",
        )),
    }
}
