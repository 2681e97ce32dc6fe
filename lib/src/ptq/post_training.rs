//! The steps of post-training quantisation in their order.

use super::adaround::{On, Resumed, progress, round_layer};
use super::analytic::{correct_bias_analytically, input_means};
use super::calibration::Calibration;
use super::config::{Correction, PtqConfig};
use super::correct::{Targets, correct_layer, correct_layers};
use super::equalise::{Equalised, equalise};
use super::graph::Wiring;
use super::place::{observe, place};
use super::report::{Made, PtqReport};
use crate::nn::Net;
use crate::{Error, Images, Result};

/// Images that biases are corrected on, at most: means of channels need no more.
const CORRECTED_ON: usize = 128;

/// Quantises a trained network by its recipe, without training: a network of its own on levels
/// ([`Affine`](crate::nn::Affine)), with every range set, and a report of what that cost.
///
/// The steps, each as `config` says: batch norms folded; ranges of neighbouring layers evened out; ranges of activations
/// read off the calibration images at full precision, those of weights off the weights; quantisers put before weights and
/// activations; then layer after layer, with everything before it quantised: rounding learned, bias corrected. 0 is a
/// level of every range [choice of this library: padding and zero points are then exact].
///
/// Calibration images are normalised as in training; some hundred are usual, labels are not needed.
///
/// ```
/// use rebit::prelude::*;
/// let net = resnet20(10, rng(0));
/// let calibration = images(16, 3, 32, 32, &mut rng(1));
/// let (q, report) = post_training(&net, &calibration, &PtqConfig::bits(4).first_last(8))?;
/// assert_eq!((q.layers()[0].bits, q.layers()[5].bits), (Some(8), Some(4)));
/// assert!(report.layers[5].output_sqnr > 5.0);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] without an image, for numbers that are not finite, as [`PtqConfig::check`] (bits, names of layers)
/// and [`Net::folded`], and for a network that is quantised already; [`Error::Shape`] for images of another size;
/// [`Error::Interrupted`].
pub fn post_training(
    net: &Net,
    calibration: &Images,
    config: &PtqConfig,
) -> Result<(Net, PtqReport)> {
    config.check(&net.layers())?;
    if let Some(placed) = net.quantisers().first() {
        return Err(Error::invalid(
            format!("post-training quantisation of layer {}", placed.layer),
            "which is quantised already; start from the network at full precision",
        ));
    }
    let calibration = Calibration::new(net, calibration, config.batch)?;
    let float = match config.fold && !net.norms().is_empty() {
        true => net.folded()?,
        false => net.duplicate()?,
    };
    let pairs = match config.equalise {
        true => equalise(&float)?,
        false => Vec::new(),
    };
    let wiring = Wiring::of(&float);
    let observed = observe(&float, &wiring, &calibration, config)?;
    let q = float.duplicate()?;
    place(&q, config, &observed)?;
    let on = On {
        q: &q,
        float: &float,
        wiring: &wiring,
        calibration: &calibration,
    };
    let corrected = adjust(&on, config)?
        + match config.correction {
            Some(Correction::Analytic) => {
                let means = means_behind(net, &pairs);
                correct_bias_analytically(&q, &float, &means)?.len()
            }
            _ => 0,
        };
    let made = Made {
        float: &float,
        q: &q,
        wiring: &wiring,
        calibration: &calibration,
        observed: &observed,
        config,
    };
    let report = made.report(pairs.len(), corrected)?;
    Ok((q, report))
}

/// Rounds and corrects layer after layer; how many biases were corrected.
fn adjust(on: &On, config: &PtqConfig) -> Result<usize> {
    let few = on.calibration.first(CORRECTED_ON);
    let layers = &on.wiring.layers;
    let targets = match config.correction {
        Some(Correction::Empirical) => Some(Targets::of(on.float, layers, &few)?),
        _ => None,
    };
    let Some(how) = &config.rounding else {
        let corrected = targets.map(|targets| correct_layers(on.q, layers, &targets, &few));
        return Ok(corrected.transpose()?.map_or(0, |names| names.len()));
    };
    let mut run = Resumed::start(how, on.q, on.calibration)?;
    let mut bar = progress(how, layers.len());
    let mut corrected = 0;
    for (i, layer) in layers.iter().enumerate() {
        let kept = run.holds(&layer.name);
        round_layer(on, i, how, &mut run, &mut bar)?;
        if let Some(targets) = &targets {
            // What a checkpoint holds has been corrected.
            corrected += usize::from(kept && layer.bias.is_some());
            if !kept && correct_layer(on.q, layer, targets, &few)? {
                corrected += 1;
            }
        }
        run.finished(on.q, layer)?;
    }
    Ok(corrected)
}

/// The means that norms tell, of the channels as they are after equalisation.
fn means_behind(net: &Net, pairs: &[Equalised]) -> Vec<(String, Vec<f64>)> {
    let mut means = input_means(net);
    for pair in pairs {
        let of = means.iter_mut().find(|(name, _)| *name == pair.second);
        let pairs = of
            .into_iter()
            .flat_map(|(_, m)| m.iter_mut().zip(&pair.scales));
        pairs.for_each(|(m, s)| *m /= f64::from(*s));
    }
    means
}
