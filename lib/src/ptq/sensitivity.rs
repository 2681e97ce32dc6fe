//! What quantising one layer alone does to the network's answer.

use super::calibration::Calibration;
use super::config::check_bits;
use super::place::{on_grids, weight_bounds};
use crate::nn::{Net, Operand};
use crate::ops::affine_quant::AffineGrid;
use crate::plot::{self, Figure};
use crate::quant::Range;
use crate::show::{Cell, MimeBundle, Progress, Show, Table};
use crate::{Error, Images, Result};

/// How weights are quantised when their layer's turn comes.
#[derive(Clone, Debug, PartialEq)]
pub struct SensitivityConfig {
    /// The numbers of bits that are tried, 1 to 8 each.
    pub bits: Vec<u32>,
    /// How a range follows from a weight.
    pub range: Range,
    /// Whether each output channel has its own.
    pub per_channel: bool,
    /// Images that run at once.
    pub batch: usize,
}

impl Default for SensitivityConfig {
    /// 2, 3, 4, 6 and 8 bits with ranges of least squared error, by output channel.
    fn default() -> Self {
        SensitivityConfig {
            bits: vec![2, 3, 4, 6, 8],
            range: Range::Mse,
            per_channel: true,
            batch: 64,
        }
    }
}

impl SensitivityConfig {
    /// One number of bits.
    pub fn bits(bits: u32) -> Self {
        SensitivityConfig {
            bits: vec![bits],
            ..SensitivityConfig::default()
        }
    }
}

/// What one layer costs.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LayerSensitivity {
    /// Name of the layer.
    pub name: String,
    /// Number of its weights.
    pub weights: usize,
    /// Multiply-accumulates of one sample.
    pub macs: usize,
    /// Rise of the output's error, by number of bits.
    pub rise: Vec<(u32, f64)>,
}

impl LayerSensitivity {
    /// The rise at so many bits, if they were tried.
    pub fn at(&self, bits: u32) -> Option<f64> {
        self.rise
            .iter()
            .find(|(b, _)| *b == bits)
            .map(|(_, rise)| *rise)
    }
}

/// What each layer costs, in the order they run.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Sensitivity {
    /// The layers.
    pub layers: Vec<LayerSensitivity>,
    /// Images that were asked.
    pub images: usize,
    /// Whether the rise is a divergence of answers (nats an image) or, of a network from images to images, a share of
    /// the output's energy.
    pub divergence: bool,
}

/// What quantising the weights of each layer alone does to the network's answer: [`sensitivity_with`] at 2, 3, 4, 6 and
/// 8 bits.
///
/// ```
/// use rebit::prelude::*;
/// let net = resnet20(10, rng(0));
/// let found = sensitivity(&net, &images(8, 3, 32, 32, &mut rng(1)))?;
/// let first = &found.layers[0];
/// assert!(first.at(2) > first.at(8));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// As [`sensitivity_with`].
pub fn sensitivity(net: &Net, calibration: &Images) -> Result<Sensitivity> {
    sensitivity_with(net, calibration, &SensitivityConfig::default())
}

/// What quantising the weights of each layer alone does to the network's answer over images without labels. For the
/// answers `y` at full precision and `yq` with one layer on levels, `p = softmax(y)`, `q = softmax(yq)`:
///
/// ```text
/// rise = mean over images of sum p ln(p / q)
/// ```
///
/// which is the rise of the cross entropy where labels follow the network's own answers. For a network from images to
/// images, `sum (yq - y)^2 / sum y^2`.
///
/// # Errors
/// [`Error::Invalid`] for bits outside 1 to 8, a network that is quantised, and for images as in
/// [`post_training`](super::post_training()); [`Error::Interrupted`].
pub fn sensitivity_with(
    net: &Net,
    calibration: &Images,
    config: &SensitivityConfig,
) -> Result<Sensitivity> {
    config.bits.iter().try_for_each(|bits| check_bits(*bits))?;
    if let Some(placed) = net.quantisers().first() {
        return Err(Error::invalid(
            format!("sensitivity of quantised layer {}", placed.layer),
            "is asked of the network at full precision",
        ));
    }
    let calibration = Calibration::new(net, calibration, config.batch)?;
    let answers = Answers::of(net, &calibration)?;
    // One copy, whose layers are put on levels and back in turn.
    let (probe, params) = (net.duplicate()?, net.parameters());
    let layers = net.layers();
    let total = (layers.len() * config.bits.len()) as u64;
    let mut progress = Progress::new("sensitivity", Some(total));
    let mut found = Vec::with_capacity(layers.len());
    for layer in layers {
        progress.message(layer.name.clone());
        let weight = &params[layer.weight];
        let values = weight.to_vec();
        let mut rise = Vec::new();
        for &bits in &config.bits {
            let how = (config.range, config.per_channel);
            let bounds = weight_bounds(&values, weight.dims[0], bits, how);
            let bounds = bounds.map_err(|e| Error::invalid(format!("layer {}", layer.name), e))?;
            let grids = bounds.into_iter().map(|b| AffineGrid::new(b, bits));
            let grids = grids.collect::<Result<Vec<_>>>()?;
            probe.set_parameter(&weight.name, &on_grids(&values, &grids))?;
            rise.push((bits, answers.rise(&probe, &calibration)?));
            progress.inc(1);
        }
        probe.set_parameter(&weight.name, &values)?;
        found.push(LayerSensitivity {
            name: layer.name,
            weights: layer.weights,
            macs: layer.macs,
            rise,
        });
    }
    Ok(Sensitivity {
        layers: found,
        images: calibration.count(),
        divergence: answers.classes.is_some(),
    })
}

/// What a network answers at full precision.
pub(super) struct Answers {
    values: Vec<f32>,
    /// Numbers of an answer that is a vector of several.
    pub classes: Option<usize>,
}

impl Answers {
    pub fn of(net: &Net, calibration: &Calibration) -> Result<Self> {
        Ok(Answers::from_values(net, outputs(net, calibration)?))
    }

    /// What [`of`](Self::of) would find, of a network that has just run.
    pub fn from_values(net: &Net, values: Vec<f32>) -> Self {
        let extent = net.output_extent();
        let vector = extent.pixels() == 1 && extent.channels > 1;
        Answers {
            values,
            classes: vector.then_some(extent.channels),
        }
    }

    /// How far another network's answers are from these.
    pub fn rise(&self, net: &Net, calibration: &Calibration) -> Result<f64> {
        self.rise_to(&outputs(net, calibration)?)
    }

    /// [`rise`](Self::rise) of a network that has just run, to its answers to the same images.
    pub fn rise_to(&self, other: &[f32]) -> Result<f64> {
        let rise = match self.classes {
            Some(classes) => divergence(&self.values, other, classes),
            None => {
                let squares = |values: &mut dyn Iterator<Item = f32>| -> f64 {
                    values.map(|v| f64::from(v).powi(2)).sum()
                };
                let pairs = self.values.iter().zip(other);
                squares(&mut pairs.map(|(a, b)| a - b))
                    / squares(&mut self.values.iter().copied()).max(f64::MIN_POSITIVE)
            }
        };
        match rise.is_finite() {
            true => Ok(rise),
            false => Err(Error::invalid(
                "the network's answers",
                "are not finite; look for a diverged layer",
            )),
        }
    }
}

fn outputs(net: &Net, calibration: &Calibration) -> Result<Vec<f32>> {
    let mut all = Vec::new();
    calibration.look(net, &[&net.output_name()], |seen| {
        seen.iter().for_each(|s| all.extend_from_slice(&s.values));
        Ok(())
    })?;
    Ok(all)
}

/// Mean over rows of `sum p ln(p / q)` for the softmaxes of logits.
fn divergence(a: &[f32], b: &[f32], classes: usize) -> f64 {
    let logs = |row: &[f32]| -> Vec<f64> {
        let most = row
            .iter()
            .fold(f64::NEG_INFINITY, |m, v| m.max(f64::from(*v)));
        let sum: f64 = row.iter().map(|v| (f64::from(*v) - most).exp()).sum();
        row.iter()
            .map(|v| f64::from(*v) - most - sum.ln())
            .collect()
    };
    let rows = a.chunks_exact(classes).zip(b.chunks_exact(classes));
    let one = |(a, b): (&[f32], &[f32])| -> f64 {
        let pairs = logs(a).into_iter().zip(logs(b));
        pairs.map(|(p, q)| p.exp() * (p - q)).sum()
    };
    rows.map(one).sum::<f64>() / (a.len() / classes).max(1) as f64
}

/// Whether a quantiser stands before this operand of a layer: for the report.
pub(super) fn is_of(q: &crate::nn::QuantiserInfo, layer: &str, operand: Operand) -> bool {
    q.layer == layer && q.operand == operand
}

impl Sensitivity {
    /// The numbers of bits that were tried.
    fn bits(&self) -> Vec<u32> {
        let first = self.layers.first();
        first.map_or(Vec::new(), |l| l.rise.iter().map(|(b, _)| *b).collect())
    }

    /// A row a layer, a column for each number of bits.
    pub fn table(&self) -> Table {
        let bits = self.bits();
        let head = bits.iter().map(|b| match b {
            1 => "1 bit".to_string(),
            b => format!("{b} bits"),
        });
        let head: Vec<String> = ["layer", "weights"]
            .map(String::from)
            .into_iter()
            .chain(head)
            .collect();
        let mut table = Table::new(head);
        for layer in &self.layers {
            let mut row: Vec<Cell> = vec![layer.name.as_str().into(), layer.weights.into()];
            row.extend(layer.rise.iter().map(|(_, rise)| Cell::from(*rise)));
            table.push(row);
        }
        let what = match self.divergence {
            true => "Divergence of the answers, nats an image",
            false => "Error of the output, share of its energy",
        };
        table.caption(format!(
            "{what}, with one layer's weights on levels ({} images)",
            self.images
        ))
    }

    /// The rise over the layers, a curve for each number of bits.
    ///
    /// # Errors
    /// As [`plot::Lines::try_figure`].
    pub fn figure(&self) -> Result<Figure> {
        let what = match self.divergence {
            true => "divergence, nats",
            false => "share of the energy",
        };
        let mut chart = plot::lines("One layer on levels at a time")
            .x("layer")
            .y(what)
            .log_y()
            .markers();
        for bits in self.bits() {
            let rises = self.layers.iter().map(|l| l.at(bits).unwrap_or(f64::NAN));
            // What rounds to nothing has no place on a logarithmic axis.
            let rises: Vec<f64> = rises.map(|r| if r > 0.0 { r } else { f64::NAN }).collect();
            chart = chart.series(format!("{bits} bits"), 1..=self.layers.len(), rises);
        }
        chart.try_figure()
    }
}

impl std::fmt::Display for Sensitivity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.table().fmt(f)
    }
}

impl Show for Sensitivity {
    fn bundle(&self) -> MimeBundle {
        super::report::with_figure(&self.table(), self.figure())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Conv, NetBuilder, Slots, resnet20};
    use crate::{from_vec, images, rng};

    #[test]
    fn literal_divergence_of_two_answers() {
        let (a, b) = ([0.0, 0.0], [0.0, 3.0f32.ln()]);
        // Halves against a quarter and three quarters.
        let expected = 0.5 * 2f64.ln() + 0.5 * (2.0f64 / 3.0).ln();
        assert!((divergence(&a, &b, 2) - expected).abs() < 1e-7);
        assert_eq!(divergence(&b, &b, 2), 0.0);
    }

    #[test]
    fn an_image_network_is_measured_by_its_error() -> Result<()> {
        let mut b = NetBuilder::new(1, 1, 2, rng(0));
        let x = b.conv("conv", b.input(), Conv::new(2).kernel(1))?;
        let net = b.build(x)?;
        net.set_parameter("conv.weight", &[3.0, 1.0])?;
        let config = SensitivityConfig {
            range: Range::MinMax,
            per_channel: false,
            ..SensitivityConfig::bits(1)
        };
        let x = from_vec(vec![1.0, 1.0], (1, 1, 1, 2))?;
        let found = sensitivity_with(&net, &x, &config)?;
        // Levels 0 and 3: of outputs 3 and 1 the second is lost.
        assert!((found.layers[0].at(1).unwrap() - 0.1).abs() < 1e-6);
        assert!(!found.divergence && found.figure().is_ok());
        assert_eq!(net.parameter("conv.weight")?.to_vec(), [3.0, 1.0]);
        Ok(())
    }

    #[test]
    fn bits_and_quantised_networks_are_refused() -> Result<()> {
        let net = resnet20(10, rng(0));
        let x = images(1, 3, 32, 32, &mut rng(0));
        for bits in [0, 9] {
            let error = sensitivity_with(&net, &x, &SensitivityConfig::bits(bits));
            assert!(error.unwrap_err().to_string().contains("1 to 8"));
        }
        net.quantise(|_| Ok(Slots::bits(2)))?;
        let error = sensitivity(&net, &x).unwrap_err().to_string();
        assert!(error.contains("conv1"), "{error}");
        Ok(())
    }
}
