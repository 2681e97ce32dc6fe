//! The images that ranges, means and rounding are taken from.

use dfdx::prelude::HasShape;

use crate::nn::{Net, Seen};
use crate::show::check_interrupt;
use crate::{Error, Images, Result, Shape4, from_vec, read};

/// Images of a network's size, in batches.
pub(super) struct Calibration {
    batches: Vec<Images>,
    count: usize,
}

impl Calibration {
    /// Batches of at most `batch` images.
    ///
    /// # Errors
    /// [`Error::Invalid`] without an image, for numbers that are not finite and for a network of several inputs;
    /// [`Error::Shape`] for images of another size.
    pub fn new(net: &Net, images: &Images, batch: usize) -> Result<Self> {
        if net.input_names().len() != 1 {
            return Err(Error::invalid(
                "post-training quantisation",
                "takes a network of one input",
            ));
        }
        let (n, c, h, w) = *images.shape();
        let expected = net.input_extent();
        if (c, h, w) != (expected.channels, expected.height, expected.width) {
            let found = format!("({n}, {c}, {h}, {w})");
            let expected = format!(
                "images (N, {}, {}, {})",
                expected.channels, expected.height, expected.width
            );
            return Err(Error::shape("calibration", expected, found));
        }
        if n == 0 {
            let why = "there is no image; some hundred are usual";
            return Err(Error::invalid("calibration", why));
        }
        let values = read(images);
        let each = c * h * w;
        if let Some(bad) = values.iter().position(|v| !v.is_finite()) {
            return Err(Error::invalid(
                format!("calibration image {}", bad / each),
                format!("holds {}; no range covers it", values[bad]),
            ));
        }
        let parts = values.chunks(batch.max(1) * each);
        let batches = parts.map(|part| from_vec(part.to_vec(), (part.len() / each, c, h, w)));
        Ok(Calibration {
            batches: batches.collect::<Result<_>>()?,
            count: n,
        })
    }

    /// The first whole batches that hold `images`, or all.
    pub fn first(&self, images: usize) -> Calibration {
        let mut batches = Vec::new();
        let mut count = 0;
        for batch in &self.batches {
            if count >= images {
                break;
            }
            count += batch.shape().0;
            batches.push(batch.clone());
        }
        Calibration { batches, count }
    }

    /// Images.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The batches.
    pub fn batches(&self) -> &[Images] {
        &self.batches
    }

    /// Lets `f` look at the activations of named nodes, batch by batch and in the order of the names.
    pub fn look(
        &self,
        net: &Net,
        names: &[&str],
        mut f: impl FnMut(&[Seen]) -> Result<()>,
    ) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        for batch in &self.batches {
            check_interrupt()?;
            net.look(&[batch], names, &mut f)?;
        }
        Ok(())
    }

    /// [`look`](Self::look) at one node: its shape and its numbers in that order, as in a tensor.
    pub fn each(
        &self,
        net: &Net,
        name: &str,
        mut f: impl FnMut(Shape4, &[f32]) -> Result<()>,
    ) -> Result<()> {
        for batch in &self.batches {
            check_interrupt()?;
            let found = net.predict_nodes(&[batch], &[name])?;
            for x in &found {
                f(*x.shape(), &read(x))?;
            }
        }
        Ok(())
    }

    /// The means of named nodes by channel.
    pub fn channel_means(&self, net: &Net, names: &[&str]) -> Result<Vec<Vec<f64>>> {
        let mut sums = vec![ChannelSums::default(); names.len()];
        self.look(net, names, |seen| {
            let pairs = sums.iter_mut().zip(seen);
            pairs.for_each(|(sums, seen)| sums.add(seen));
            Ok(())
        })?;
        Ok(sums.into_iter().map(ChannelSums::means).collect())
    }
}

/// Sums of an activation by channel.
#[derive(Clone, Default)]
pub(super) struct ChannelSums {
    sums: Vec<f64>,
    count: usize,
}

impl ChannelSums {
    /// Adds a batch.
    pub fn add(&mut self, seen: &Seen) {
        let extent = seen.at.extent;
        self.sums.resize(extent.channels, 0.0);
        self.count += seen.at.batch * extent.pixels();
        let mut own = vec![0.0; extent.channels];
        for image in seen.values.chunks_exact(extent.len().max(1)) {
            own.fill(0.0);
            for pixel in image.chunks_exact(extent.channels) {
                let pairs = own.iter_mut().zip(pixel);
                pairs.for_each(|(sum, v)| *sum += f64::from(*v));
            }
            let pairs = self.sums.iter_mut().zip(&own);
            pairs.for_each(|(sum, v)| *sum += v);
        }
    }

    /// The means of what was added.
    pub fn means(self) -> Vec<f64> {
        let count = self.count as f64;
        self.sums.into_iter().map(|s| s / count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{pretrained_resnet8, resnet8};
    use crate::{images, rng};

    #[test]
    fn means_are_those_of_the_tensors_to_the_bit() -> Result<()> {
        let net = pretrained_resnet8()?;
        let calibration = Calibration::new(&net, &images(5, 3, 16, 16, &mut rng(1)), 2)?;
        let names = ["conv1", "layer3.0.conv2", "fc"];
        let means = calibration.channel_means(&net, &names)?;
        for (name, means) in names.iter().zip(means) {
            let (mut sums, mut count) = (vec![0.0; means.len()], 0);
            calibration.each(&net, name, |(n, c, h, w), values| {
                count += n * h * w;
                for (i, plane) in values.chunks_exact(h * w).enumerate() {
                    sums[i % c] += plane.iter().map(|v| f64::from(*v)).sum::<f64>();
                }
                Ok(())
            })?;
            let expected: Vec<f64> = sums.into_iter().map(|s| s / count as f64).collect();
            assert_eq!(means, expected, "{name}");
        }
        Ok(())
    }

    #[test]
    fn without_names_nothing_runs() -> Result<()> {
        let net = resnet8(10, rng(0));
        let calibration = Calibration::new(&net, &images(1, 3, 16, 16, &mut rng(1)), 1)?;
        calibration.look(&net, &[], |_| Err(Error::invalid("a look", "at nothing")))
    }
}
