//! Labelled images as numbers in memory: what was made, and not photographed.

use std::fmt;

use rayon::prelude::*;

use super::augment::{self, Choice, Part};
use super::{Augment, ImageSource, Normalize};
use crate::error::{Error, Result};
use crate::tensors::{Images, Rng, read};
use dfdx::prelude::HasShape;

/// Labelled images of one size, as numbers of any range: synthesised ones, features, what a generator gives.
///
/// A batch holds `(value - mean) / std` of its [`Normalize`]; images that are normalised already are taken with
/// [`Normalize::UNIT`]. What an augmentation adds around an image is the value 0.
///
/// ```
/// use rebit::data::{Augment, Batches, FloatImages};
/// use rebit::prelude::*;
/// let made = FloatImages::new("made", &images(6, 3, 8, 8, &mut rng(0)), vec![0, 1, 2, 0, 1, 2])?;
/// let augment = Augment::ResizedCrop { min_area: 0.5, flip: true };
/// let batches = Batches::new(made, 4).augmented(augment).shuffled(1);
/// for (x, labels) in &batches {
///     assert_eq!(x.shape().0, labels.len());
/// }
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct FloatImages {
    name: String,
    /// `(N, C, H, W)`, row-major.
    values: Vec<f32>,
    labels: Vec<u32>,
    extent: [usize; 3],
}

impl FloatImages {
    /// Images with a label each.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is a label for each image, [`Error::Invalid`] for images without pixels.
    pub fn new(name: impl Into<String>, images: &Images, labels: Vec<u32>) -> Result<Self> {
        let (n, channels, height, width) = *images.shape();
        let name = name.into();
        if labels.len() != n {
            return Err(Error::shape(
                "float images",
                format!("{n} labels, one for each image"),
                format!("{} labels", labels.len()),
            ));
        }
        if channels * height * width == 0 {
            return Err(Error::invalid(
                format!("float images of {channels} x {height} x {width}"),
                "an image needs at least one pixel and one channel",
            ));
        }
        Ok(FloatImages {
            name,
            values: read(images),
            labels,
            extent: [channels, height, width],
        })
    }

    /// Puts more images behind these.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`Error::Shape`] for images of another size.
    pub fn push(&mut self, images: &Images, labels: &[u32]) -> Result<()> {
        let more = FloatImages::new("", images, labels.to_vec())?;
        if more.extent != self.extent {
            return Err(Error::shape(
                "float images",
                format!("images of {:?}", self.extent),
                format!("{:?}", more.extent),
            ));
        }
        self.values.extend(more.values);
        self.labels.extend(more.labels);
        Ok(())
    }

    /// The class of each image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The numbers of image `i`, as planes; `None` when there is none.
    pub fn values(&self, i: usize) -> Option<&[f32]> {
        let len: usize = self.extent.iter().product();
        self.values.get(i.checked_mul(len)?..)?.get(..len)
    }

    fn fill_image(&self, planes: &[f32], choice: Choice, normalize: &Normalize, out: &mut [f32]) {
        let [channels, height, width] = self.extent;
        let [mean, std] = [normalize.mean, normalize.std];
        // Constants for three channels; those beyond have none, as `fill` made sure.
        let scaled = |c: usize, value: f32| match mean.get(c) {
            Some(mean) => (value - mean) / std[c],
            None => value,
        };
        let value = |c: usize, y: usize, x: usize| scaled(c, planes[(c * height + y) * width + x]);
        let Part::Shifted { top, left, padding } = choice.part else {
            return augment::resize_part(choice, self.extent, value, out);
        };
        for (k, out) in out.chunks_exact_mut(channels).enumerate() {
            let (y, x) = (k / width, k % width);
            let x = if choice.flip { width - 1 - x } else { x };
            let inside = |at: usize, of: usize| at.checked_sub(padding).filter(|&at| at < of);
            let pixel = inside(y + top, height).zip(inside(x + left, width));
            for (c, out) in out.iter_mut().enumerate() {
                *out = pixel.map_or_else(|| scaled(c, 0.0), |(y, x)| value(c, y, x));
            }
        }
    }
}

impl ImageSource for FloatImages {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn extent(&self) -> [usize; 3] {
        self.extent
    }

    fn fill(
        &self,
        indices: &[usize],
        augment: Option<(&Augment, &mut Rng)>,
        normalize: &Normalize,
        out: &mut [f32],
    ) -> Result<Vec<u32>> {
        let len: usize = self.extent.iter().product();
        if out.len() != indices.len() * len {
            return Err(Error::shape(
                "fill",
                format!("a buffer of {} x {len} numbers", indices.len()),
                out.len(),
            ));
        }
        if let Some(i) = indices.iter().find(|&&i| i >= self.len()) {
            return Err(Error::invalid(
                format!("image {i}"),
                format!("{} has {} images, counted from 0", self.name, self.len()),
            ));
        }
        normalize.check(self.extent[0].min(3))?;
        if self.extent[0] > 3 && *normalize != Normalize::UNIT {
            return Err(Error::invalid(
                "normalize",
                format!(
                    "{} channels; there are constants for at most 3",
                    self.extent[0]
                ),
            ));
        }
        let choices = augment::choices(indices.len(), (self.extent[1], self.extent[2]), augment)?;
        out.par_chunks_exact_mut(len)
            .zip(indices.par_iter().zip(&choices))
            .with_min_len(8)
            .for_each(|(out, (&i, &choice))| {
                let planes = &self.values[i * len..(i + 1) * len];
                self.fill_image(planes, choice, normalize, out);
            });
        Ok(indices.iter().map(|&i| self.labels[i]).collect())
    }

    fn skip(&self, count: usize, augment: &Augment, rng: &mut Rng) {
        augment.skip(count, (self.extent[1], self.extent[2]), rng);
    }
}

impl fmt::Debug for FloatImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [c, h, w] = self.extent;
        write!(f, "{}: {} images, {c} x {h} x {w}", self.name, self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::{from_vec, rng};

    /// Two images of two channels and 2 x 3 pixels: image, channel, row and column as digits.
    fn numbered() -> FloatImages {
        let value = |k: usize| (k / 12 * 1000 + k / 6 % 2 * 100 + k / 3 % 2 * 10 + k % 3) as f32;
        let x: Images = from_vec((0..24).map(value).collect(), (2, 2, 2, 3)).unwrap();
        FloatImages::new("numbered", &x, vec![4, 7]).unwrap()
    }

    #[test]
    fn values_come_out_as_they_are_or_normalised() {
        let data = numbered();
        let mut out = vec![f32::NAN; 12];
        assert_eq!(
            data.fill(&[1], None, &Normalize::UNIT, &mut out).unwrap(),
            [7]
        );
        assert_eq!(out[..4], [1000.0, 1100.0, 1001.0, 1101.0]);
        let half = Normalize {
            mean: [0.5, 100.0, 0.0],
            std: [0.5, 2.0, 1.0],
        };
        data.fill(&[0], None, &half, &mut out).unwrap();
        // Row 1, columns 1 and 2: 11 and 111, 12 and 112.
        assert_eq!(out[8..], [21.0, 5.5, 23.0, 6.0]);
    }

    #[test]
    fn a_shift_puts_zeros_around_and_a_flip_mirrors() {
        let data = numbered();
        let augment = Augment::PaddedCrop {
            padding: 1,
            flip: true,
        };
        let mut seen = std::collections::HashSet::new();
        let mut rng = rng(1);
        let mut out = vec![0.0; 12];
        for _ in 0..300 {
            data.fill(&[0], Some((&augment, &mut rng)), &Normalize::UNIT, &mut out)
                .unwrap();
            seen.insert(format!("{out:?}"));
        }
        // Nine places, each mirrored or not.
        assert_eq!(seen.len(), 18);
    }

    #[test]
    fn a_resized_part_of_everything_is_the_image() {
        let data = numbered();
        let all = Choice {
            part: Part::Resized {
                top: 0,
                left: 0,
                height: 2,
                width: 3,
            },
            flip: false,
        };
        let (mut out, mut plain) = (vec![0.0; 12], vec![0.0; 12]);
        let planes = data.values(0).unwrap();
        data.fill_image(planes, all, &Normalize::UNIT, &mut out);
        data.fill_image(planes, Choice::KEEP, &Normalize::UNIT, &mut plain);
        assert_eq!(out, plain);
        // One column, enlarged: constant along x; places 0, 0.5 and 1 would need three rows.
        let column = Choice {
            part: Part::Resized {
                top: 0,
                left: 1,
                height: 2,
                width: 1,
            },
            flip: true,
        };
        data.fill_image(planes, column, &Normalize::UNIT, &mut out);
        assert_eq!(
            out,
            [
                1., 101., 1., 101., 1., 101., 11., 111., 11., 111., 11., 111.
            ]
        );
    }

    #[test]
    fn resized_parts_are_those_of_the_bytes() {
        use crate::data::Dataset;
        let bytes: Vec<u8> = (0..3 * 64 * 4).map(|k| (k * 37 % 251) as u8).collect();
        let data = Dataset {
            name: "bytes".into(),
            images: bytes.clone(),
            labels: vec![0, 1, 2, 3],
            classes: vec![],
            channels: 3,
            height: 8,
            width: 8,
        };
        let values = bytes.iter().map(|&b| f32::from(b) / 255.0).collect();
        let x: Images = from_vec(values, (4, 3, 8, 8)).unwrap();
        let made = FloatImages::new("made", &x, vec![0, 1, 2, 3]).unwrap();
        let augment = Augment::ResizedCrop {
            min_area: 0.3,
            flip: true,
        };
        let (mut a, mut b) = (vec![0.0; 768], vec![0.0; 768]);
        let all = [0, 1, 2, 3];
        data.try_fill(
            &all,
            Some((&augment, &mut rng(9))),
            &Normalize::CIFAR10,
            &mut a,
        )
        .unwrap();
        made.fill(
            &all,
            Some((&augment, &mut rng(9))),
            &Normalize::CIFAR10,
            &mut b,
        )
        .unwrap();
        let close = a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(close && a.windows(2).any(|w| w[0] != w[1]));
    }

    #[test]
    fn skipping_draws_what_filling_draws() {
        let data = numbered();
        let augment = Augment::ResizedCrop {
            min_area: 0.2,
            flip: true,
        };
        let (mut a, mut b) = (rng(3), rng(3));
        let mut out = vec![0.0; 24];
        data.fill(
            &[0, 1],
            Some((&augment, &mut a)),
            &Normalize::UNIT,
            &mut out,
        )
        .unwrap();
        data.skip(2, &augment, &mut b);
        assert!(a == b);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let x: Images = from_vec(vec![0.0; 6], (2, 1, 1, 3)).unwrap();
        let error = FloatImages::new("x", &x, vec![0]).unwrap_err().to_string();
        assert!(
            error.contains("2 labels") && error.contains("1 labels"),
            "{error}"
        );
        let none: Images = from_vec(vec![], (2, 0, 1, 3)).unwrap();
        assert!(FloatImages::new("x", &none, vec![0, 1]).is_err());
        let mut data = numbered();
        assert!(data.push(&x, &[0, 1]).is_err());
        assert!(
            data.fill(&[2], None, &Normalize::UNIT, &mut [0.0; 12])
                .is_err()
        );
        for min_area in [0.0, 1.5, f32::NAN] {
            let augment = Augment::ResizedCrop {
                min_area,
                flip: false,
            };
            let how = Some((&augment, &mut rng(0)));
            let refused = data.fill(&[0], how, &Normalize::UNIT, &mut [0.0; 12]);
            assert!(
                refused
                    .unwrap_err()
                    .to_string()
                    .contains("share of the area")
            );
        }
    }
}
