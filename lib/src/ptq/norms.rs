//! Running statistics of a network whose weights have changed under them.

use dfdx::prelude::HasShape;

use super::calibration::Calibration;
use crate::nn::{Mode, Net};
use crate::{Error, Images, Result, read};

/// Estimates every batch norm's running statistics anew, from images and the network as it computes now, quantisers
/// included: what a norm was trained with is no longer what it reads. Weights and ranges stay.
///
/// In each batch of `batch` images a norm divides by that batch's own statistics, as in training; the running ones become
/// the mean of the batches' means and unbiased variances, weighted by their sizes:
///
/// ```text
/// m = sum n m_b / sum n        v = sum n (n_b / (n_b - 1)) v_b / sum n
/// ```
///
/// with `n_b` the numbers of a channel in batch `b`, which has `n` images.
///
/// ```
/// use rebit::prelude::*;
/// let net = resnet20(10, rng(0));
/// rebit::ptq::reestimate_norms(&net, &images(8, 3, 32, 32, &mut rng(1)), 4)?;
/// assert_ne!(net.parameter("bn1.running_mean")?.to_vec(), [0.0; 16]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] for a network without batch norms, for a quantiser that has no range yet, and for images as in
/// [`post_training`](super::post_training()).
pub fn reestimate_norms(net: &Net, images: &Images, batch: usize) -> Result<()> {
    let norms = net.norms();
    if norms.is_empty() {
        return Err(Error::invalid(
            "re-estimation of batch norms",
            "the network has none; a folded one corrects its biases instead",
        ));
    }
    let calibration = Calibration::new(net, images, batch)?;
    // A duplicate takes the passes in training mode: they move running statistics, and ranges that follow batches.
    let probe = net.duplicate()?;
    if let Some(open) = probe.quantisers().iter().find(|q| !q.ready) {
        return Err(Error::invalid(
            format!("layer {}: its quantiser", open.layer),
            "has no range yet; calibrate it first",
        ));
    }
    probe.freeze_ranges();
    let probe = probe.frozen();
    let mut sums: Vec<(Vec<f64>, Vec<f64>)> = Vec::new();
    for norm in &norms {
        sums.push((vec![0.0; norm.channels], vec![0.0; norm.channels]));
    }
    let nodes = net.nodes();
    for x in calibration.batches() {
        crate::show::check_interrupt()?;
        let n = x.shape().0;
        let mut pass = probe.run(x, Mode::Train)?;
        for (norm, (mean, var)) in norms.iter().zip(&mut sums) {
            let numbers = (n * nodes[norm.node].extent.pixels()) as f64;
            let unbiased = n as f64 * numbers / (numbers - 1.0).max(1.0);
            let moments = pass.moments(norm)?;
            for (sum, m) in mean.iter_mut().zip(read(&moments.mean)) {
                *sum += n as f64 * f64::from(m);
            }
            for (sum, v) in var.iter_mut().zip(read(&moments.var)) {
                *sum += unbiased * f64::from(v);
            }
        }
    }
    let names = net.parameters();
    for (norm, (mean, var)) in norms.iter().zip(sums) {
        let layer = nodes[norm.node].layer();
        let Some(statistics) = layer.and_then(|l| l.statistics()) else {
            continue;
        };
        for (id, sums) in [(statistics.mean, mean), (statistics.var, var)] {
            let means = sums
                .into_iter()
                .map(|s| (s / calibration.count() as f64) as f32);
            net.set_parameter(&names[id].name, &means.collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Conv, NetBuilder, pretrained_resnet20};
    use crate::ops::relu::Activation;
    use crate::{from_vec, images, rng};

    #[test]
    fn literal_statistics_of_two_batches() -> Result<()> {
        let mut b = NetBuilder::new(1, 1, 2, rng(0));
        let x = b.conv("conv", b.input(), Conv::new(1).kernel(1))?;
        let x = b.norm("bn", x, Activation::None)?;
        let net = b.build(x)?;
        net.set_parameter("conv.weight", &[2.0])?;
        let x = from_vec(vec![1.0, 3.0, 5.0, 5.0, -2.0, 0.0], (3, 1, 1, 2))?;
        reestimate_norms(&net, &x, 2)?;
        // Doubled: [2, 6, 10, 10] with mean 7, unbiased variance 44/3; [-4, 0] with -2 and 8; weights 2 and 1.
        let value = |name: &str| net.parameter(name).map(|p| p.to_vec()[0]);
        assert!((value("bn.running_mean")? - 4.0).abs() < 1e-5);
        assert!((value("bn.running_var")? - (2.0 * 44.0 / 3.0 + 8.0) / 3.0).abs() < 1e-4);
        assert_eq!(value("conv.weight")?, 2.0);
        Ok(())
    }

    #[test]
    fn a_folded_network_has_nothing_to_estimate() -> Result<()> {
        let net = pretrained_resnet20()?.folded()?;
        let error = reestimate_norms(&net, &images(2, 3, 32, 32, &mut rng(0)), 2);
        assert!(error.unwrap_err().to_string().contains("has none"));
        Ok(())
    }
}
