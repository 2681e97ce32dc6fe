//! What a synthesis draws: noise, classes and targets of a batch, parts of a step.

use dfdx::prelude::HasShape;
use rand::Rng as _;

use super::{Inception, IntraqConfig, Reinforcement};
use crate::data::random_part;
use crate::nn::Net;
use crate::ops::sample::{Border, Sampling};
use crate::{Error, Images, Matrix, Result, Rng, from_vec, images, rng};

/// What a batch of [`synthesise`](super::synthesise) begins with.
#[derive(Clone, Debug)]
pub struct Start {
    /// Standard normal noise, `(N, C, H, W)`, in the network's normalised pixel space.
    pub pixels: Images,
    /// The class that each image is to show, uniform and independent.
    pub labels: Vec<u32>,
    /// The target of each image's probability: 1, but below it for a share of the images under [`Inception::Soft`].
    pub targets: Vec<f32>,
}

/// The parts that a step shows in place of whole images, as [`sample`](crate::ops::sample::sample) reads them.
#[derive(Clone, Debug)]
pub struct Parts {
    /// `(x1, y1, x2, y2)` of each image's part, in pixels; `x1 > x2` where it is mirrored.
    pub boxes: Matrix,
    /// One part of each image, enlarged to the image's size, clamped to the part.
    pub sampling: Sampling,
}

impl IntraqConfig {
    /// The noise, classes and targets that [`synthesise`](super::synthesise) begins its batch `batch` with: the same
    /// numbers each time, so that a loop of one's own can be compared with the library's.
    ///
    /// ```
    /// use rebit::papers::intraq::IntraqConfig;
    /// let net = rebit::nn::cifar_resnet(3, 8, [4, 8, 8], 1, 10, rebit::rng(0))?;
    /// let config = IntraqConfig { images: 6, batch: 4, ..IntraqConfig::small() };
    /// assert_eq!(config.start(&net, 0)?.labels.len(), 4);
    /// assert_eq!(config.start(&net, 1)?.labels.len(), 2);
    /// # Ok::<(), rebit::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] for settings that mean nothing and for a batch that the run does not have.
    pub fn start(&self, net: &Net, batch: usize) -> Result<Start> {
        self.check()?;
        let batches = self.images.div_ceil(self.batch);
        if batch >= batches {
            let why = format!(
                "{} images in batches of {} are {batches} batches, counted from 0",
                self.images, self.batch
            );
            return Err(Error::invalid(format!("batch {batch}"), why));
        }
        let count = self.batch.min(self.images - batch * self.batch);
        let (classes, extent) = (net.output_extent().channels as u32, net.input_extent());
        let mut drawn = generator(self.seed, batch, 0);
        let labels = (0..count).map(|_| drawn.random_range(0..classes)).collect();
        let targets = (0..count)
            .map(|_| target(self.inception, &mut drawn))
            .collect();
        let (channels, height, width) = (extent.channels, extent.height, extent.width);
        Ok(Start {
            labels,
            targets,
            pixels: images(count, channels, height, width, &mut drawn),
        })
    }

    /// The parts that step `step` of batch `batch` shows of images like `x`; `None` where it shows them whole.
    ///
    /// ```
    /// use rebit::papers::intraq::IntraqConfig;
    /// use rebit::prelude::*;
    /// let config = IntraqConfig::small();
    /// let x = images(4, 3, 8, 8, &mut rng(0));
    /// let shown: Vec<bool> = (0..100).map(|step| Ok(config.parts(&x, 0, step)?.is_some())).collect::<Result<_>>()?;
    /// assert!((30..70).contains(&shown.iter().filter(|parts| **parts).count()));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] for settings that mean nothing.
    pub fn parts(&self, x: &Images, batch: usize, step: usize) -> Result<Option<Parts>> {
        self.check()?;
        let mut drawn = generator(self.seed, batch, step + 1);
        match self.reinforcement {
            Some(how) if drawn.random_range(0.0..1.0) < how.probability => {
                random_parts(x, how, &mut drawn).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// The generator of a batch, or of one of its steps: what is drawn does not depend on where a run was resumed.
fn generator(seed: u64, batch: usize, step: usize) -> Rng {
    let place = ((batch as u64) << 32) + step as u64;
    rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(place))
}

fn target(inception: Inception, rng: &mut Rng) -> f32 {
    match inception {
        Inception::Soft { lowest, share } if rng.random_range(0.0..1.0) < share => {
            rng.random_range(lowest..=1.0)
        }
        _ => 1.0,
    }
}

/// A random part of each image, half of them mirrored, and how they are brought to the images' size.
fn random_parts(x: &Images, how: Reinforcement, drawn: &mut Rng) -> Result<Parts> {
    let (n, _, height, width) = *x.shape();
    let mut corners = Vec::with_capacity(4 * n);
    for _ in 0..n {
        let [left, top, w, h] = random_part((width as u32, height as u32), how.min_area, drawn);
        let [x1, y1, x2, y2] = [left, top, left + w, top + h].map(|v| v as f32);
        // A box whose sides are exchanged is read mirrored.
        corners.extend(match drawn.random_range(0.0..1.0) < 0.5 {
            true => [x2, y1, x1, y2],
            false => [x1, y1, x2, y2],
        });
    }
    Ok(Parts {
        boxes: from_vec(corners, (n, 4))?,
        sampling: Sampling {
            images: (0..n as u32).collect(),
            out: (height, width),
            border: Border::Clamp,
            constant_images: false,
        },
    })
}
