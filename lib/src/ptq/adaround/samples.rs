//! Output pixels of a layer, each with the patch of the input that it sees.

use rand::seq::SliceRandom;

use super::{AdaRoundConfig, On};
use crate::nn::{Conv, Extent};
use crate::ops::affine_quant::AffineGrid;
use crate::ops::conv2d::ConvShape;
use crate::{Buffer, Error, Result, Rng, buffer};

/// Numbers of all patches: 128 MB.
const MOST: usize = 32 << 20;

/// What is to be drawn.
pub(super) struct Wanted<'a> {
    pub layer: &'a str,
    pub source: &'a str,
    /// Of what the layer reads.
    pub extent: Extent,
    /// What the layer's input is read through.
    pub grid: Option<AffineGrid>,
    pub conv: Conv,
    pub config: &'a AdaRoundConfig,
}

/// Patches and targets: a linear regression in parts of equally many rows.
pub(super) struct Samples {
    /// `(rows, patch)` and `(rows, channels)` of each part.
    pub parts: Vec<(Buffer, Vec<f32>)>,
    /// A part as a layer that reads its rows.
    pub shape: ConvShape,
    pub rows: usize,
}

impl Samples {
    pub fn draw(on: &On, wanted: &Wanted, rng: &mut Rng) -> Result<Samples> {
        let Wanted { conv, extent, .. } = *wanted;
        let geometry = Geometry::of(conv, extent);
        let images = on.calibration.count();
        let all = images * geometry.pixels();
        let patch = geometry.patch();
        let affordable = (MOST / patch.max(1)).max(1);
        let count = wanted.config.samples.min(all).min(affordable);
        let rows = wanted.config.rows.min(count);
        let count = count / rows * rows;
        if count == 0 {
            return Err(Error::invalid(
                format!("layer {}", wanted.layer),
                "has no output pixel to learn from",
            ));
        }
        let mut places: Vec<u32> = (0..all as u32).collect();
        let (places, _) = places.partial_shuffle(rng, count);
        let mut x = vec![0.0; count * patch];
        let mut y = vec![0.0; count * conv.channels];
        // Rows by image, so that each batch is looked at once.
        let mut order: Vec<(usize, usize)> = places.iter().map(|p| *p as usize).zip(0..).collect();
        order.sort_unstable();
        let (mut at_x, mut first) = (order.iter().peekable(), 0);
        on.calibration
            .each(on.q, wanted.source, |(n, ..), values| {
                let end = (first + n) * geometry.pixels();
                while let Some((place, row)) = at_x.next_if(|(place, _)| *place < end) {
                    let into = &mut x[row * patch..][..patch];
                    geometry.read(values, place - first * geometry.pixels(), wanted.grid, into);
                }
                first += n;
                Ok(())
            })?;
        let (mut at_y, mut first) = (order.iter().peekable(), 0);
        on.calibration
            .each(on.float, wanted.layer, |(n, c, h, w), values| {
                if (c, h * w) != (conv.channels, geometry.pixels()) {
                    let expected = format!(
                        "{}: {} x {} pixels",
                        wanted.layer,
                        conv.channels,
                        geometry.pixels()
                    );
                    return Err(Error::shape(
                        "learned rounding",
                        expected,
                        format!("{c} x {h} x {w}"),
                    ));
                }
                let end = (first + n) * h * w;
                while let Some((place, row)) = at_y.next_if(|(place, _)| *place < end) {
                    let local = place - first * h * w;
                    let (image, pixel) = (local / (h * w), local % (h * w));
                    let into = &mut y[row * c..][..c];
                    for (channel, y) in into.iter_mut().enumerate() {
                        *y = values[(image * c + channel) * h * w + pixel];
                    }
                }
                first += n;
                Ok(())
            })?;
        let pairs = x
            .chunks_exact(rows * patch)
            .zip(y.chunks_exact(rows * conv.channels));
        let parts = pairs.map(|(x, y)| Ok((buffer(x)?, y.to_vec())));
        Ok(Samples {
            parts: parts.collect::<Result<_>>()?,
            shape: ConvShape {
                groups: conv.groups,
                ..ConvShape::linear(rows, patch, conv.channels)
            },
            rows,
        })
    }
}

/// Which numbers of an image an output pixel sees.
struct Geometry {
    conv: Conv,
    x: Extent,
    /// Rows and columns of the output.
    out: (usize, usize),
}

impl Geometry {
    fn of(conv: Conv, x: Extent) -> Self {
        let side = |n: usize| {
            (n + 2 * conv.padding - (conv.kernel - 1) * conv.dilation - 1) / conv.stride + 1
        };
        Geometry {
            conv,
            x,
            out: (side(x.height), side(x.width)),
        }
    }

    fn pixels(&self) -> usize {
        self.out.0 * self.out.1
    }

    fn patch(&self) -> usize {
        self.x.channels * self.conv.kernel * self.conv.kernel
    }

    /// The patch of the output pixel `place` of some images in `(N, C, H, W)` order: channels, rows, columns, as a row of
    /// the weight has them, one group behind the other.
    fn read(&self, values: &[f32], place: usize, grid: Option<AffineGrid>, into: &mut [f32]) {
        let Conv {
            kernel,
            stride,
            padding,
            dilation,
            ..
        } = self.conv;
        let Extent {
            channels,
            height,
            width,
        } = self.x;
        let (image, pixel) = (place / self.pixels(), place % self.pixels());
        let (row, column) = (pixel / self.out.1, pixel % self.out.1);
        let mut at = 0;
        for c in 0..channels {
            let plane = &values[(image * channels + c) * height * width..][..height * width];
            for u in 0..kernel {
                let y = (row * stride + u * dilation).checked_sub(padding);
                for v in 0..kernel {
                    let x = (column * stride + v * dilation).checked_sub(padding);
                    into[at] = match (y, x) {
                        (Some(y), Some(x)) if y < height && x < width => {
                            let value = plane[y * width + x];
                            grid.map_or(value, |g| g.quantise(value))
                        }
                        _ => 0.0,
                    };
                    at += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::layers::testing::net;
    use crate::ops::assert_close;
    use crate::ops::conv2d::{Conv2dKernel, ConvInput};
    use crate::ptq::calibration::Calibration;
    use crate::ptq::graph::Wiring;
    use crate::{HostAccess, dev, images, rng};

    #[test]
    fn a_part_times_the_weight_is_the_layers_output() -> Result<()> {
        for conv in [
            Conv::new(6).stride(2).with_bias(),
            Conv::new(4).kernel(1),
            Conv::new(4).groups(4),
            Conv::new(8).groups(2).kernel(5),
        ] {
            let net = net((4, 7, 9), |b, x| b.conv("conv", x, conv))?;
            let x = images(5, 4, 7, 9, &mut rng(3));
            let calibration = Calibration::new(&net, &x, 2)?;
            let wiring = Wiring::of(&net);
            let on = On {
                q: &net,
                float: &net,
                wiring: &wiring,
                calibration: &calibration,
            };
            let config = AdaRoundConfig {
                rows: 16,
                samples: 40,
                ..AdaRoundConfig::default()
            };
            let wanted = Wanted {
                layer: "conv",
                source: "input",
                extent: net.input_extent(),
                grid: None,
                conv,
                config: &config,
            };
            let samples = Samples::draw(&on, &wanted, &mut rng(1))?;
            assert_eq!((samples.parts.len(), samples.rows), (2, 16));
            let w = buffer(&net.parameter("conv.weight")?.to_vec())?;
            let bias = match conv.bias {
                true => Some(buffer(&net.parameter("conv.bias")?.to_vec())?),
                false => None,
            };
            let mut y = buffer(&vec![0.0; samples.shape.output_len()])?;
            for (x, target) in &samples.parts {
                let x = ConvInput::new(x, None);
                dev().conv2d_forward(&samples.shape, x, &w, bias.as_ref(), &mut y)?;
                assert_close(&y.view()?, target, 1e-4);
            }
        }
        Ok(())
    }
}
