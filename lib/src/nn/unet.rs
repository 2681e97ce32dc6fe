//! U-Net: an image at falling sizes, and back up with what each size has kept.

use super::{Conv, Init, Net, NetBuilder, NodeId};
use crate::ops::relu::Activation;
use crate::ops::upsample::Upsample;
use crate::{Error, Result, Rng};

/// Sizes of a [`unet`]; the default is the texture generator of Wang et al.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UNetConfig {
    /// Channels of the images.
    pub channels: usize,
    /// Height and width of the images.
    pub input: (usize, usize),
    /// Height and width at which the network begins: the image itself, or means of whole windows of it.
    pub work: (usize, usize),
    /// Channels on the way down; each size but the first has half the sides of the one before.
    pub down: Vec<usize>,
    /// Channels on the way up, one number fewer.
    pub up: Vec<usize>,
    /// Channels of the result.
    pub out_channels: usize,
    /// Height and width of the result: those at which the network ends, means of whole windows of that, or twice as many
    /// pixels along both sides, once or several times.
    pub output: (usize, usize),
}

impl Default for UNetConfig {
    fn default() -> Self {
        UNetConfig {
            channels: 3,
            input: (128, 64),
            work: (128, 64),
            down: vec![64, 128, 256, 512, 512],
            up: vec![256, 128, 64, 64],
            out_channels: 3,
            output: (64, 64),
        }
    }
}

impl UNetConfig {
    /// For pictures of 64x32 and two processor cores, a choice of this library: 124,755 parameters.
    pub fn small() -> Self {
        UNetConfig {
            input: (64, 32),
            work: (32, 32),
            down: vec![8, 16, 24, 32, 48],
            up: vec![32, 24, 16, 8],
            ..UNetConfig::default()
        }
    }

    /// The default with all widths divided by `by`, rounded up.
    pub fn narrow(by: usize) -> Self {
        let whole = UNetConfig::default();
        let divided = |widths: &[usize]| widths.iter().map(|w| w.div_ceil(by.max(1))).collect();
        UNetConfig {
            down: divided(&whole.down),
            up: divided(&whole.up),
            ..whole
        }
    }

    fn check(&self) -> Result<()> {
        let refuse = |what: String, why: &str| Err(Error::invalid(format!("U-Net: {what}"), why));
        let (down, up) = (&self.down, &self.up);
        if down.is_empty() || up.len() + 1 != down.len() {
            let what = format!("{} widths down, {} up", down.len(), up.len());
            return refuse(
                what,
                "there is one fewer on the way up, and at least one down",
            );
        }
        if self.channels * self.out_channels == 0 || down.iter().chain(up).any(|w| *w == 0) {
            return refuse(format!("{self:?}"), "every width is at least 1");
        }
        let ((ih, iw), (wh, ww)) = (self.input, self.work);
        if wh * ww == 0 || !ih.is_multiple_of(wh) || !iw.is_multiple_of(ww) || ih * iw == 0 {
            let what = format!("images of {ih}x{iw} at {wh}x{ww}");
            return refuse(what, "the sides of the images must be multiples");
        }
        let deep = 1 << (down.len() - 1);
        if !wh.is_multiple_of(deep) || !ww.is_multiple_of(deep) {
            let what = format!("{wh}x{ww} pixels for {} sizes", down.len());
            return refuse(what, &format!("sides must be multiples of {deep}"));
        }
        let (oh, ow) = self.output;
        let doubled = (0..16).any(|k| (oh, ow) == (wh << k, ww << k));
        let pooled = oh * ow > 0 && wh.is_multiple_of(oh) && ww.is_multiple_of(ow);
        if !doubled && !pooled {
            let what = format!("a result of {oh}x{ow} from {wh}x{ww}");
            return refuse(what, "take whole parts of the sides, or both doubled");
        }
        Ok(())
    }
}

/// A U-Net that makes one image of another, with values from -1 to 1.
///
/// Two 3x3 convolutions with batch norm and ReLU at each size. Down: maximum over 2x2. Up: twice the size on straight lines
/// (outermost centres aligned), behind what the way down had at this size. At the end a 1x1 convolution and the hyperbolic
/// tangent, and the change to the size of the result. Convolutions have a bias, weights start as PyTorch's do.
///
/// ```
/// use rebit::nn::{UNetConfig, unet};
/// use rebit::prelude::*;
/// assert_eq!(unet(&UNetConfig::default(), rng(0))?.parameter_count(), 13_395_459);
/// let small = unet(&UNetConfig::small(), rng(0))?;
/// assert_eq!(small.parameter_count(), 124_755);
/// assert_eq!(small.output_extent(), Extent::new(3, 64, 64));
/// # Ok::<(), Error>(())
/// ```
///
/// Source: the generator of Wang et al., [arXiv:1904.03385](https://arxiv.org/abs/1904.03385), as in the authors' code,
/// after Ronneberger et al., "U-Net", [arXiv:1505.04597](https://arxiv.org/abs/1505.04597).
///
/// # Errors
/// [`Error::Invalid`] for widths of 0 or of another number, and for sizes that do not lead from one to the other.
pub fn unet(config: &UNetConfig, rng: Rng) -> Result<Net> {
    config.check()?;
    let (ih, iw) = config.input;
    let (wh, ww) = config.work;
    let mut b = NetBuilder::new(config.channels, ih, iw, rng);
    let mut x = b.input();
    if config.input != config.work {
        let window = (ih / wh, iw / ww);
        x = b.avg_pool(x, window, window)?;
    }
    let mut kept = Vec::new();
    for (k, &width) in config.down.iter().enumerate() {
        if k > 0 {
            kept.push(x);
            x = b.max_pool(x, 2, 2, 0)?;
        }
        x = double(&mut b, &format!("down{k}"), x, width)?;
    }
    for (k, (&width, skip)) in config.up.iter().zip(kept.into_iter().rev()).enumerate() {
        let large = b.upsample(x, Upsample::BilinearAligned)?;
        let both = b.concat(&format!("join{k}"), &[skip, large])?;
        x = double(&mut b, &format!("up{k}"), both, width)?;
    }
    let last = Conv::new(config.out_channels).kernel(1);
    let x = b.conv("out", x, last.with_bias().init(Init::UniformFanIn))?;
    let mut x = b.tanh("tanh", x)?;
    let (oh, ow) = config.output;
    if oh < wh || ow < ww {
        let window = (wh / oh, ww / ow);
        x = b.avg_pool(x, window, window)?;
    }
    while b.extent(x)?.height < oh {
        x = b.upsample(x, Upsample::Bilinear)?;
    }
    b.build(x)
}

/// Twice a 3x3 convolution, batch norm and ReLU.
fn double(b: &mut NetBuilder, name: &str, mut x: NodeId, width: usize) -> Result<NodeId> {
    for part in ["0", "1"] {
        let conv = Conv::new(width).with_bias().init(Init::UniformFanIn);
        let y = b.conv(&format!("{name}.conv{part}"), x, conv)?;
        x = b.norm(&format!("{name}.bn{part}"), y, Activation::Relu)?;
    }
    Ok(x)
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Backward, HasShape, SumTo};

    use super::*;
    use crate::nn::Mode;
    use crate::train::Optimiser;
    use crate::{images, read, rng};

    fn tiny() -> UNetConfig {
        UNetConfig {
            channels: 2,
            input: (8, 4),
            work: (4, 4),
            down: vec![2, 3, 2],
            up: vec![3, 2],
            out_channels: 3,
            output: (8, 8),
        }
    }

    #[test]
    fn sizes_are_those_of_the_authors() {
        let net = unet(&UNetConfig::default(), rng(0)).unwrap();
        assert_eq!(net.parameter_count(), 13_395_459);
        let extents: Vec<String> = net.nodes().iter().map(|n| n.extent.to_string()).collect();
        // The result at the size of the image, then means of pairs of rows.
        assert_eq!(extents[extents.len() - 2], "3x128x64");
        assert_eq!(extents[extents.len() - 1], "3x64x64");
        let small = unet(&UNetConfig::small(), rng(0)).unwrap();
        assert_eq!(small.parameter_count(), 124_755);
        let quarter = unet(&UNetConfig::narrow(4), rng(0)).unwrap();
        assert!((800_000..880_000).contains(&quarter.parameter_count()));
    }

    #[test]
    fn the_result_of_the_paper_is_the_mean_of_row_pairs() {
        let config = UNetConfig {
            down: vec![4, 4],
            up: vec![4],
            input: (16, 8),
            work: (16, 8),
            output: (8, 8),
            ..UNetConfig::default()
        };
        let net = unet(&config, rng(0)).unwrap();
        let x = images(2, 3, 16, 8, &mut rng(1));
        let y = read(&net.predict_images(&x).unwrap());
        let whole = read(&net.predict_nodes(&[&x], &["tanh"]).unwrap()[0]);
        for (k, y) in y.iter().enumerate() {
            let (plane, row, column) = (k / 64, k / 8 % 8, k % 8);
            let at = |r: usize| whole[plane * 128 + r * 8 + column];
            let mean = 0.5 * (at(2 * row) + at(2 * row + 1));
            assert!((y - mean).abs() < 1e-6 && y.abs() < 1.0);
        }
    }

    /// Parameters one by one would meet the corners of ReLU and maximum; a small step against the whole gradient lowers the
    /// loss by the square of its length times the rate.
    #[test]
    fn the_loss_falls_as_its_gradient_says() {
        let net = unet(&tiny(), rng(0)).unwrap();
        let x = images(3, 2, 8, 4, &mut rng(1));
        assert_eq!(net.predict_images(&x).unwrap().shape(), &(3, 3, 8, 8));
        let loss = || {
            let out = net.run(&x, Mode::Train).unwrap().output().unwrap();
            out.square().sum::<(), _>()
        };
        let numbers = || -> Vec<f32> {
            let all = net.parameters();
            all.iter().flat_map(|p| p.to_vec()).collect()
        };
        let (before, start) = (loss(), numbers());
        let rate = 1e-5;
        let mut sgd = crate::train::Sgd::new(rate).over(&net).unwrap();
        let first = read(&before)[0];
        sgd.step(&mut before.backward()).unwrap();
        let moved: f64 = start
            .iter()
            .zip(numbers())
            .map(|(a, b)| f64::from(a - b).powi(2))
            .sum();
        let fall = f64::from(first - read(&loss())[0]);
        let expected = moved / f64::from(rate);
        assert!(
            (fall - expected).abs() < 0.05 * expected,
            "{fall} {expected}"
        );
    }

    #[test]
    fn sizes_that_lead_nowhere_are_refused() {
        let said = |change: fn(&mut UNetConfig)| {
            let mut config = tiny();
            change(&mut config);
            unet(&config, rng(0)).unwrap_err().to_string()
        };
        assert!(said(|c| c.up = vec![4]).contains("3 widths down, 1 up"));
        assert!(said(|c| c.down[1] = 0).contains("at least 1"));
        assert!(said(|c| c.work = (6, 4)).contains("8x4 at 6x4"));
        assert!(said(|c| c.work = (2, 2)).contains("multiples of 4"));
        assert!(said(|c| c.output = (8, 4)).contains("8x4 from 4x4"));
        assert!(said(|c| c.output = (0, 0)).contains("0x0"));
    }
}
