//! Low-bit copies of a network that are trained with the network as their teacher: what IntraQ and FDDA share.

use crate::nn::layers::Linear;
use crate::nn::{Activations, Affine, Net, Slots};
use crate::ops::cross_entropy::try_cross_entropy;
use crate::quant::{EmaRule, Range};
use crate::train::{try_distillation, try_total};
use crate::{Error, Matrix, Result, Scalar, Taped};

/// Share of the old range that a batch leaves of an activation's, beta.
const MOMENTUM: f32 = 0.9;

/// Which levels a student's weights and activations are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StudentLevels {
    /// Bits of all weights and activations, 1 to 8.
    pub bits: u32,
    /// Bits of both ends, where they differ: the weights of the first layer and of every linear one, the activation
    /// behind the first layer and the one before the last.
    pub ends: Option<u32>,
    /// How the moving averages of activation ranges begin.
    pub average: EmaRule,
}

impl StudentLevels {
    /// The same bits everywhere, moving averages that begin with the first batch.
    pub fn bits(bits: u32) -> Self {
        StudentLevels {
            bits,
            ends: None,
            average: EmaRule::FirstBatch,
        }
    }

    /// Other bits at both ends.
    pub fn ends(mut self, bits: u32) -> Self {
        self.ends = Some(bits);
        self
    }

    /// Moving averages that begin otherwise.
    pub fn average(mut self, rule: EmaRule) -> Self {
        self.average = rule;
        self
    }

    /// Refuses bits outside 1 to 8.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the bits.
    pub fn check(self) -> Result<()> {
        let bits = [Some(self.bits), self.ends].into_iter().flatten();
        match bits.into_iter().find(|bits| !(1..=8).contains(bits)) {
            Some(bits) => Err(Error::invalid(format!("{bits} bits"), "must be 1 to 8")),
            None => Ok(()),
        }
    }
}

/// `W4A4`, and `W4A4 F8L8` with other bits at the ends.
impl std::fmt::Display for StudentLevels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "W{0}A{0}", self.bits)?;
        match self.ends {
            Some(ends) => write!(f, " F{ends}L{ends}"),
            None => Ok(()),
        }
    }
}

/// A copy of a trained network whose weights and activations are on grids of `2^bits` levels
/// ([`Affine`](crate::nn::Affine)): weights by output channel, between the smallest and largest in every pass; activations
/// between moving averages of smallest and largest value, `r = 0.9 r + 0.1 batch`, which [`Net::observe_ranges`] moves and
/// [`Net::freeze_ranges`] holds.
///
/// Activations are quantised behind every ReLU where the network has [sites](crate::nn::NetBuilder::site), as both papers
/// do; otherwise where a layer reads them, the image excepted, and identity shortcuts carry what is not quantised.
///
/// ```
/// use rebit::prelude::*;
/// use rebit::ptq::{StudentLevels, student};
/// let q = student(&resnet20(10, rng(0)), StudentLevels::bits(3).ends(8))?;
/// let bits: Vec<_> = q.layers().iter().map(|l| l.bits).collect();
/// assert_eq!((bits[0], bits[1], bits[21]), (Some(8), Some(3), Some(8)));
/// # Ok::<(), Error>(())
/// ```
///
/// Source: arXiv:2111.09136 and arXiv:2109.04186, as in their authors' code.
///
/// # Errors
/// As [`StudentLevels::check`]; [`Error::Invalid`] for a network that is quantised already.
pub fn student(net: &Net, levels: StudentLevels) -> Result<Net> {
    levels.check()?;
    let ends = levels.ends.unwrap_or(levels.bits);
    let student = net.duplicate()?;
    let linear: Vec<usize> = student
        .nodes()
        .iter()
        .filter(|node| node.layer_as::<Linear>().is_some())
        .map(|node| node.node)
        .collect();
    let layers = student.layers();
    let first = layers.first().map(|layer| layer.node);
    student.quantise(|layer| {
        let bits = match Some(layer.node) == first || linear.contains(&layer.node) {
            true => ends,
            false => levels.bits,
        };
        let grid = Affine::bits(bits).per_channel();
        Ok(Slots::weights(grid, Range::MinMax.each_pass()))
    })?;
    let sites: Vec<String> = student.sites().into_iter().map(|site| site.name).collect();
    let readers = match sites.is_empty() {
        false => sites,
        true => layers.into_iter().skip(1).map(|l| l.name).collect(),
    };
    let last = readers.len().saturating_sub(1);
    for (i, reader) in readers.iter().enumerate() {
        let bits = if i == 0 || i == last {
            ends
        } else {
            levels.bits
        };
        let range = Range::MinMax.ema_by(MOMENTUM, levels.average);
        student.quantise_input(reader, Affine::bits(bits), range)?;
    }
    Ok(student)
}

/// What a student learns: the labels, and its teacher's answers.
///
/// ```text
/// loss = CE(Q(x), y) + alpha T^2 KL(softmax(F(x) / T) || softmax(Q(x) / T))
/// ```
///
/// `pass` is a recorded pass of the student `Q`, `wanted` the logits of the teacher `F` on the same images. Both papers
/// take `alpha = T = 20`.
///
/// Source: arXiv:2111.09136 and arXiv:2109.04186; the factor `T^2` as in their authors' code.
///
/// ```
/// use rebit::prelude::*;
/// use rebit::ptq::student_loss;
/// let net = resnet20(10, rng(0));
/// let x = images(2, 3, 32, 32, &mut rng(1));
/// let (wanted, mut pass) = (net.predict(&x)?, net.run(&x, Mode::Eval)?);
/// // The answers are the teacher's own: what is left is the cross entropy.
/// let loss = read(&student_loss(&mut pass, &wanted, &[3, 8], (20.0, 20.0))?)[0];
/// assert!((loss - read(&cross_entropy(wanted, &[3, 8]))[0]).abs() < 1e-3);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// As [`try_cross_entropy`] and [`try_distillation`].
pub fn student_loss(
    pass: &mut Activations,
    wanted: &Matrix,
    labels: &[u32],
    (alpha, temperature): (f32, f32),
) -> Result<Scalar<Taped>> {
    let own = try_cross_entropy(pass.logits()?, labels, 0.0)?;
    let alike = try_distillation(pass.logits()?, wanted, temperature)?;
    try_total(vec![(1.0, own), (alpha, alike)])
}

/// A student and its way.
pub struct StudentRun {
    /// The low-bit network.
    pub net: Net,
    /// Top-1 accuracy on the test images with ranges alone, before training, in %; 0 where there is no test image.
    pub ranges_only: f32,
    /// After the last step.
    pub last: f32,
    /// The best of all measurements: what both papers report.
    pub best: f32,
    /// Loss of each step.
    pub loss: Vec<f32>,
}

impl StudentRun {
    /// From the accuracies in their order, the first of which was measured before training.
    ///
    /// ```
    /// use rebit::ptq::StudentRun;
    /// let run = StudentRun::of(rebit::prelude::resnet20(10, rebit::rng(0)), &[40.0, 62.0, 61.0], vec![0.5]);
    /// assert_eq!((run.ranges_only, run.last, run.best), (40.0, 61.0, 62.0));
    /// ```
    pub fn of(net: Net, scores: &[f32], loss: Vec<f32>) -> Self {
        let first = scores.first().copied().unwrap_or_default();
        StudentRun {
            ranges_only: first,
            last: scores.last().copied().unwrap_or(first),
            best: scores.iter().copied().fold(first, f32::max),
            loss,
            net,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{CifarResnetConfig, Mode, Operand, cifar_resnet_with};
    use crate::{images, read, rng};

    fn network(sites: bool) -> Net {
        let config = CifarResnetConfig {
            size: 8,
            widths: [4, 8, 8],
            blocks: 1,
            sites,
            ..CifarResnetConfig::default()
        };
        cifar_resnet_with(&config, rng(1)).expect("a network")
    }

    #[test]
    fn eight_bits_stand_in_exactly_four_places() -> Result<()> {
        for sites in [true, false] {
            let q = student(&network(sites), StudentLevels::bits(3).ends(8))?;
            let eight = |operand| -> Vec<String> {
                let placed = q.quantisers().into_iter();
                let wide = placed.filter(|p| p.bits == 8 && p.operand == operand);
                wide.map(|p| p.layer).collect()
            };
            assert_eq!(eight(Operand::Weight), ["conv1", "fc"]);
            let expected = match sites {
                true => ["bn1.site", "layer3.0.bn2.site"],
                false => ["layer1.0.conv1", "fc"],
            };
            assert_eq!(eight(Operand::Input), expected);
            let three = q.quantisers().into_iter().filter(|p| p.bits == 3).count();
            assert_eq!(three + 4, q.quantisers().len());
        }
        Ok(())
    }

    #[test]
    fn an_average_from_zero_reaches_its_share_and_stays_when_frozen() -> Result<()> {
        let levels = StudentLevels::bits(4).average(EmaRule::FromZero);
        let (q, net) = (student(&network(true), levels)?, network(true));
        let x = images(4, 3, 8, 8, &mut rng(2));
        for _ in 0..7 {
            q.observe_ranges(&x)?;
        }
        q.freeze_ranges();
        q.observe_ranges(&(x.clone() * 9.0))?;
        let first = q.parameter("bn1.site.act_bounds")?.to_vec();
        // The first site reads what is not quantised yet but for its weights: those of a copy alike.
        let weights = Range::MinMax.each_pass();
        net.quantise(|_| Ok(Slots::weights(Affine::bits(4).per_channel(), weights)))?;
        let seen = net.predict_nodes(&[&x], &["bn1"])?;
        let largest = read(&seen[0]).into_iter().fold(0.0, f32::max);
        let expected = (1.0 - 0.9f32.powi(7)) * largest;
        assert!(
            (first[1] - expected).abs() < 1e-4 * expected,
            "{first:?}, {expected}"
        );
        Ok(())
    }

    #[test]
    fn the_loss_is_the_sum_of_its_parts() -> Result<()> {
        let (net, x) = (network(false), images(2, 3, 8, 8, &mut rng(3)));
        let wanted = crate::randn(2, 10, &mut rng(4));
        let (own, alike) = (net.predict(&x)?, net.predict(&x)?);
        let expected = read(&try_cross_entropy(own, &[1, 2], 0.0)?)[0]
            + 2.0 * read(&try_distillation(alike, &wanted, 5.0)?)[0];
        let mut pass = net.run(&x, Mode::Eval)?;
        let found = read(&student_loss(&mut pass, &wanted, &[1, 2], (2.0, 5.0))?)[0];
        assert!(
            (found - expected).abs() < 1e-4 * expected,
            "{found}, {expected}"
        );
        Ok(())
    }

    #[test]
    fn bits_that_cannot_be_are_refused() {
        for levels in [StudentLevels::bits(0), StudentLevels::bits(3).ends(9)] {
            let error = student(&network(true), levels).unwrap_err().to_string();
            assert!(error.contains("1 to 8"), "{error}");
        }
        assert_eq!(StudentLevels::bits(4).ends(8).to_string(), "W4A4 F8L8");
    }
}
