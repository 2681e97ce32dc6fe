//! How far features point in different directions: the loss of networks that are shown two pictures of one thing.

use rayon::prelude::*;

use super::activation_loss::{ActivationLoss, BatchExtent};
use crate::{Buffer, Error, HostAccess, Result, buffer};

/// The cosine distance of an activation from a target, each sample's map taken as one vector:
///
/// ```text
/// L = 1/N sum_n |u_n - v_n|^2 / 2,   u = x / |x|,   v = target / |target|          dL/dx = (u (u . v) - v) / (N |x|)
/// ```
///
/// which is `1 - cos` of the two. A map of zeros has no direction, stays 0, and gets no gradient: two of them are at
/// distance 0. With a [mask](Self::masked) both maps are first multiplied by it, pixel by pixel.
///
/// Source: the four-layer loss of Wang et al., [arXiv:1904.03385](https://arxiv.org/abs/1904.03385), is a weighted sum of
/// these: its mean over the `M` numbers of a layer is `2 L / M`.
///
/// ```
/// use rebit::nn::CosineDistance;
/// use rebit::prelude::*;
/// let net = resnet20(10, rng(0)).frozen();
/// let (a, b) = (images(2, 3, 32, 32, &mut rng(1)), images(2, 3, 32, 32, &mut rng(2)));
/// let target = net.trace(&b, Mode::Eval)?.channels_last("layer2.2.bn2")?;
/// let mut pass = net.trace(&a, Mode::Eval)?;
/// let loss = pass.loss("layer2.2.bn2", CosineDistance::new(target.clone()))?;
/// assert!((0.0..2.0).contains(&read(&loss)[0]));
/// let mut same = net.trace(&b, Mode::Eval)?;
/// assert!(read(&same.loss("layer2.2.bn2", CosineDistance::new(target))?)[0].abs() < 1e-6);
/// # Ok::<(), Error>(())
/// ```
pub struct CosineDistance {
    target: Vec<f32>,
    mask: Option<Vec<f32>>,
}

impl CosineDistance {
    /// From a target in `(N, H, W, C)` order.
    pub fn new(target: Vec<f32>) -> Self {
        CosineDistance { target, mask: None }
    }

    /// Of what a mask lets through, with a number for each pixel of each sample's map, `(N, H, W)`.
    pub fn masked(self, mask: Vec<f32>) -> Self {
        CosineDistance {
            mask: Some(mask),
            ..self
        }
    }

    fn check(&self, at: BatchExtent) -> Result<()> {
        let (samples, pixels) = (at.batch, at.batch * at.extent.pixels());
        if self.target.len() != at.elements() {
            let expected = format!("a target of {samples} times {}", at.extent);
            let found = format!("{} numbers", self.target.len());
            return Err(Error::shape("cosine distance", expected, found));
        }
        match &self.mask {
            Some(mask) if mask.len() != pixels => {
                let expected = format!("a mask of {samples} times {} pixels", at.extent.pixels());
                let found = format!("{} numbers", mask.len());
                Err(Error::shape("cosine distance", expected, found))
            }
            _ => Ok(()),
        }
    }

    /// `x` of a sample as it is compared.
    fn seen(&self, sample: usize, x: &[f32], channels: usize) -> Vec<f32> {
        let Some(mask) = &self.mask else {
            return x.to_vec();
        };
        let pixels = x.len() / channels.max(1);
        let mask = &mask[sample * pixels..][..pixels];
        let rows = x.chunks_exact(channels.max(1)).zip(mask);
        rows.flat_map(|(x, m)| x.iter().map(move |x| m * x))
            .collect()
    }
}

/// A vector and one over its length; 0 for a vector of zeros.
fn directed(x: &[f32]) -> f64 {
    let square: f64 = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    match square == 0.0 {
        true => 0.0,
        false => 1.0 / square.sqrt(),
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

impl ActivationLoss for CosineDistance {
    fn loss(&mut self, x: &Buffer, at: BatchExtent) -> Result<f32> {
        self.check(at)?;
        let (len, channels) = (at.extent.len().max(1), at.extent.channels);
        let x = x.view()?;
        let of = |(n, (x, t)): (usize, (&[f32], &[f32]))| {
            let (x, t) = (self.seen(n, x, channels), self.seen(n, t, channels));
            let (a, b) = (directed(&x), directed(&t));
            // Lengths of the directions: 1, or 0 where there is none; NaN stays NaN.
            let length = |s: f64| if s == 0.0 { 0.0 } else { 1.0 };
            0.5 * (length(a) + length(b)) - a * b * dot(&x, &t)
        };
        let samples = x.par_chunks(len).zip(self.target.par_chunks(len));
        let each: Vec<f64> = samples.enumerate().map(of).collect();
        Ok((each.iter().sum::<f64>() / at.batch.max(1) as f64) as f32)
    }

    fn gradient(&mut self, x: &Buffer, at: BatchExtent, factor: f32) -> Result<Buffer> {
        self.check(at)?;
        let (len, channels) = (at.extent.len().max(1), at.extent.channels);
        let x = x.view()?;
        let mut slope = vec![0.0; x.len()];
        let share = f64::from(factor) / at.batch.max(1) as f64;
        slope
            .par_chunks_mut(len)
            .zip(x.par_chunks(len).zip(self.target.par_chunks(len)))
            .enumerate()
            .for_each(|(n, (slope, (x, t)))| {
                let (x, t) = (self.seen(n, x, channels), self.seen(n, t, channels));
                let (a, b) = (directed(&x), directed(&t));
                let along = a * b * dot(&x, &t);
                let (of_x, of_t) = ((share * a * a * along) as f32, (share * a * b) as f32);
                for ((s, x), t) in slope.iter_mut().zip(&x).zip(&t) {
                    *s = of_x * x - of_t * t;
                }
                if self.mask.is_some() {
                    slope.copy_from_slice(&self.seen(n, slope, channels));
                }
            });
        buffer(&slope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Extent;
    use crate::ops::{assert_close, numeric_gradient, wave};

    fn at(batch: usize) -> BatchExtent {
        BatchExtent {
            batch,
            extent: Extent::new(3, 2, 2),
        }
    }

    fn value(loss: &mut CosineDistance, x: &[f32], batch: usize) -> f32 {
        loss.loss(&buffer(x).unwrap(), at(batch)).unwrap()
    }

    #[test]
    fn directions_are_compared_and_lengths_are_not() {
        let x = wave(12);
        let longer: Vec<f32> = x.iter().map(|v| 7.0 * v).collect();
        let turned: Vec<f32> = x.iter().map(|v| -0.5 * v).collect();
        assert!(value(&mut CosineDistance::new(x.clone()), &longer, 1).abs() < 1e-6);
        let opposite = value(&mut CosineDistance::new(x.clone()), &turned, 1);
        assert_close(&[opposite], &[2.0], 1e-6);
        // One of each: the mean.
        let both = [longer, turned].concat();
        let mean = value(&mut CosineDistance::new([x.clone(), x].concat()), &both, 2);
        assert_close(&[mean], &[1.0], 1e-6);
    }

    #[test]
    fn zeros_have_no_direction_and_nan_stays() {
        let x = wave(12);
        assert_eq!(
            value(&mut CosineDistance::new(vec![0.0; 12]), &[0.0; 12], 1),
            0.0
        );
        let mut half = CosineDistance::new(x.clone());
        assert_eq!(value(&mut half, &[0.0; 12], 1), 0.5);
        let slope = half
            .gradient(&buffer(&[0.0; 12]).unwrap(), at(1), 1.0)
            .unwrap();
        assert!(slope.view().unwrap().iter().all(|s| *s == 0.0));
        let mut nan = x.clone();
        nan[3] = f32::NAN;
        assert!(value(&mut CosineDistance::new(x.clone()), &nan, 1).is_nan());
        assert!(value(&mut CosineDistance::new(nan), &x, 1).is_nan());
    }

    #[test]
    fn gradients_agree_with_finite_differences_masked_or_not() {
        let (values, target) = (wave(24), wave(48)[24..].to_vec());
        let mask = vec![1.0, 0.0, 0.5, 1.0, 0.0, 1.0, 1.0, 0.25];
        for masked in [false, true] {
            let make = || match masked {
                true => CosineDistance::new(target.clone()).masked(mask.clone()),
                false => CosineDistance::new(target.clone()),
            };
            let numeric = numeric_gradient(&values, 1e-2, |v| value(&mut make(), v, 2));
            let mut loss = make();
            value(&mut loss, &values, 2);
            let slope = loss
                .gradient(&buffer(&values).unwrap(), at(2), 2.0)
                .unwrap();
            let half: Vec<f32> = slope.view().unwrap().iter().map(|s| s / 2.0).collect();
            assert_close(&half, &numeric, 2e-3);
            if masked {
                assert_eq!(half[3..6], [0.0; 3]);
            }
        }
    }

    #[test]
    fn what_is_under_the_mask_changes_nothing() {
        let (mut x, target) = (wave(12), wave(24)[12..].to_vec());
        let mask = vec![1.0, 0.0, 1.0, 0.0];
        let mut loss = CosineDistance::new(target).masked(mask);
        let before = value(&mut loss, &x, 1);
        x[3..6].fill(9.0);
        assert_eq!(value(&mut loss, &x, 1), before);
        x[0] += 1.0;
        assert_ne!(value(&mut loss, &x, 1), before);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let said = |mut loss: CosineDistance| {
            let x = buffer(&[0.0; 12]).unwrap();
            loss.loss(&x, at(1)).unwrap_err().to_string()
        };
        let e = said(CosineDistance::new(vec![0.0; 6]));
        assert!(
            e.contains("1 times 3x2x2") && e.contains("6 numbers"),
            "{e}"
        );
        let e = said(CosineDistance::new(vec![0.0; 12]).masked(vec![1.0; 3]));
        assert!(e.contains("4 pixels") && e.contains("3 numbers"), "{e}");
    }
}
