//! The images that ranges, means and rounding are taken from.

use dfdx::prelude::HasShape;

use crate::nn::Net;
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

    /// Hands the activations of named nodes to `f`, batch by batch: their shapes and numbers in the order of the names.
    pub fn each_batch(
        &self,
        net: &Net,
        names: &[&str],
        mut f: impl FnMut(&[(Shape4, Vec<f32>)]) -> Result<()>,
    ) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        for batch in &self.batches {
            check_interrupt()?;
            let found = net.predict_nodes(&[batch], names)?;
            let found: Vec<_> = found.iter().map(|x| (*x.shape(), read(x))).collect();
            f(&found)?;
        }
        Ok(())
    }

    /// [`each_batch`](Self::each_batch), one name after the other: which it is, its shape and its numbers.
    pub fn each(
        &self,
        net: &Net,
        names: &[&str],
        mut f: impl FnMut(usize, Shape4, &[f32]) -> Result<()>,
    ) -> Result<()> {
        self.each_batch(net, names, |found| {
            let mut all = found.iter().enumerate();
            all.try_for_each(|(i, (shape, values))| f(i, *shape, values))
        })
    }

    /// The means of named nodes by channel.
    pub fn channel_means(&self, net: &Net, names: &[&str]) -> Result<Vec<Vec<f64>>> {
        let mut sums = vec![(Vec::new(), 0usize); names.len()];
        self.each(net, names, |i, (n, c, h, w), values| {
            let (sums, count) = &mut sums[i];
            sums.resize(c, 0.0);
            *count += n * h * w;
            for (at, part) in values.chunks_exact((h * w).max(1)).enumerate() {
                sums[at % c] += part.iter().map(|v| f64::from(*v)).sum::<f64>();
            }
            Ok(())
        })?;
        let mean =
            |(sums, count): (Vec<f64>, usize)| sums.into_iter().map(move |s| s / count as f64);
        Ok(sums.into_iter().map(|s| mean(s).collect()).collect())
    }
}
