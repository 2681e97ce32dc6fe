//! What a training loop asks of labelled images, in memory or on disk.

use std::sync::Arc;

use super::{Augment, Dataset, Normalize, augment};
use crate::error::Result;
use crate::tensors::Rng;

/// Labelled images that can be had batch by batch: a [`Dataset`] in memory, an
/// [`ImageFolder`](super::ImageFolder) on disk.
pub trait ImageSource: std::fmt::Debug + Send + Sync {
    /// What it is, for titles and messages.
    fn name(&self) -> &str;

    /// The number of images.
    fn len(&self) -> usize;

    /// Whether there is no image at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Channels, height, width of an image as a batch holds it.
    fn extent(&self) -> [usize; 3];

    /// Writes the images at `indices` into `out` in NHWC order and returns their labels.
    ///
    /// With `augment` they are changed at random; the numbers of a batch are drawn in order before the images
    /// are made in parallel, so the result depends on the generator alone.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for a buffer of another length, [`crate::Error::Invalid`] for an index that is not
    /// there, [`crate::Error::Io`] and [`crate::Error::Data`] naming a file that cannot be read.
    fn fill(
        &self,
        indices: &[usize],
        augment: Option<(&Augment, &mut Rng)>,
        normalize: &Normalize,
        out: &mut [f32],
    ) -> Result<Vec<u32>>;

    /// Draws and forgets the random numbers that `count` augmented images take.
    fn skip(&self, count: usize, augment: &Augment, rng: &mut Rng);
}

impl ImageSource for Dataset {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn extent(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    fn fill(
        &self,
        indices: &[usize],
        augment: Option<(&Augment, &mut Rng)>,
        normalize: &Normalize,
        out: &mut [f32],
    ) -> Result<Vec<u32>> {
        augment::fill(self, indices, augment, normalize, out)
    }

    fn skip(&self, count: usize, augment: &Augment, rng: &mut Rng) {
        augment.skip(count, (self.height, self.width), rng);
    }
}

/// Shared data.
impl<D: ImageSource + ?Sized> ImageSource for Arc<D> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn len(&self) -> usize {
        (**self).len()
    }

    fn extent(&self) -> [usize; 3] {
        (**self).extent()
    }

    fn fill(
        &self,
        indices: &[usize],
        augment: Option<(&Augment, &mut Rng)>,
        normalize: &Normalize,
        out: &mut [f32],
    ) -> Result<Vec<u32>> {
        (**self).fill(indices, augment, normalize, out)
    }

    fn skip(&self, count: usize, augment: &Augment, rng: &mut Rng) {
        (**self).skip(count, augment, rng);
    }
}
