//! Image data sets: where they come from, how they are read, how a training loop takes batches of them.
//!
//! [`cifar10`] and [`fashion_mnist`] return bytes in memory, [`image_folder`] reads photographs from disk as
//! they are needed (both are an [`ImageSource`] to a training loop); [`Dataset::fill`] turns a list of indices
//! into a normalised, possibly augmented batch, and [`Batches`] walks over an epoch in a seeded order.
//! What is fetched is fetched once, by the package client of the system, checked, and kept in
//! [`data_folder`].

mod augment;
mod batches;
mod cifar10;
mod fashion_mnist;
mod fetch;
mod fingerprint;
mod float_images;
mod idx;
mod image_folder;
mod normalize;
mod patches;
pub mod people;
mod photos;
mod photos_debian;
mod photos_list;
mod pool;
mod source;
mod summary;
pub mod world;

pub use augment::{Augment, random_part};
pub use batches::{BatchPlan, Batches, Epoch, epoch_order, epoch_rng, images_from_nhwc};
pub use cifar10::{Cifar10, cifar10};
pub use fashion_mnist::{FashionMnist, fashion_mnist};
pub use fetch::data_folder;
pub use fingerprint::{Fingerprint, images_fingerprint, scenes_fingerprint};
pub use float_images::FloatImages;
pub use image_folder::{ImageFolder, image_folder};
pub use normalize::Normalize;
pub use patches::{PatchBatch, Patches};
pub use photos::{Photo, SrPair, photos, sr_benchmark};
pub use photos_debian::{DebianPhotos, debian_photos};
pub use source::ImageSource;
pub use world::{
    Body, Capsules, Crop, Exported, Identity, Lookup, Portrait, Pose, Scene, Sighting, Texels,
    Texture, Viewpoint, World, WorldConfig,
};

use rand::seq::SliceRandom;

use crate::error::{Error, Result};
use crate::tensors::{Images, Rng, from_vec};

/// Labelled images of one size, as bytes in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Dataset {
    /// What it is, for titles and messages: "CIFAR-10 train".
    pub name: String,
    /// All pixels as planes, `len * channels * height * width` bytes in NCHW order.
    pub images: Vec<u8>,
    /// The class of each image, an index into `classes`.
    pub labels: Vec<u8>,
    /// The name of each class.
    pub classes: Vec<String>,
    /// 3 for RGB, 1 for grey.
    pub channels: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
}

impl Dataset {
    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image at all.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Bytes, and later numbers, of one image.
    pub fn image_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// The bytes of image `i`, as planes.
    ///
    /// # Panics
    /// When there is no image `i`.
    pub fn pixels(&self, i: usize) -> &[u8] {
        let n = self.image_len();
        &self.images[i * n..][..n]
    }

    /// The name of the class of image `i`; `?` for a label that has no name.
    pub fn class_of(&self, i: usize) -> &str {
        let class = self.labels[i] as usize;
        self.classes.get(class).map_or("?", String::as_str)
    }

    /// The images at `indices`, in that order; an index may come twice.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an index that is not there.
    pub fn try_subset(&self, indices: impl IntoIterator<Item = usize>) -> Result<Dataset> {
        let mut out = self.like(String::new());
        for i in indices {
            self.check_index(i)?;
            out.images.extend_from_slice(self.pixels(i));
            out.labels.push(self.labels[i]);
        }
        out.name = format!("{} ({} of {})", self.name, out.len(), self.len());
        Ok(out)
    }

    /// The images at `indices`: a range, or a list.
    ///
    /// # Panics
    /// Where [`Dataset::try_subset`] returns an error.
    pub fn subset(&self, indices: impl IntoIterator<Item = usize>) -> Dataset {
        self.try_subset(indices).unwrap_or_else(|e| panic!("{e}"))
    }

    /// `n` images drawn at random without replacement; all of them (shuffled) when there are fewer.
    pub fn take(&self, n: usize, seed: u64) -> Dataset {
        self.subset(epoch_order(self.len(), seed, 0).into_iter().take(n))
    }

    /// Two disjoint random parts, of `first` images and of the rest.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are fewer than `first` images.
    pub fn try_split(&self, first: usize, seed: u64) -> Result<(Dataset, Dataset)> {
        if first > self.len() {
            return Err(Error::invalid(
                "split",
                format!("{first} images asked for, {} has {}", self.name, self.len()),
            ));
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.shuffle(&mut epoch_rng(seed, 0));
        let (a, b) = order.split_at_mut(first);
        // Inside a part the original order is kept, so that a part reads memory forwards.
        a.sort_unstable();
        b.sort_unstable();
        Ok((
            self.subset(a.iter().copied()),
            self.subset(b.iter().copied()),
        ))
    }

    /// Two disjoint random parts, of `first` images and of the rest.
    ///
    /// # Panics
    /// Where [`Dataset::try_split`] returns an error.
    pub fn split(&self, first: usize, seed: u64) -> (Dataset, Dataset) {
        self.try_split(first, seed)
            .unwrap_or_else(|e| panic!("{e}"))
    }

    /// Image `i` as a tensor `(1, channels, height, width)` with values in `[0, 1]`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an index that is not there.
    pub fn try_image(&self, i: usize) -> Result<Images> {
        self.try_images(&[i], &Normalize::UNIT)
    }

    /// Image `i` as a tensor `(1, channels, height, width)` with values in `[0, 1]`.
    ///
    /// # Panics
    /// Where [`Dataset::try_image`] returns an error.
    pub fn image(&self, i: usize) -> Images {
        self.try_image(i).unwrap_or_else(|e| panic!("{e}"))
    }

    /// A batch as a tensor `(indices, channels, height, width)`, normalised, not augmented.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an index that is not there.
    pub fn try_images(&self, indices: &[usize], normalize: &Normalize) -> Result<Images> {
        let table = normalize.table(self.channels)?;
        let plane = self.height * self.width;
        let mut data = Vec::with_capacity(indices.len() * self.image_len());
        for &i in indices {
            self.check_index(i)?;
            for (bytes, row) in self.pixels(i).chunks_exact(plane.max(1)).zip(&table) {
                data.extend(bytes.iter().map(|&b| row[b as usize]));
            }
        }
        let shape = (indices.len(), self.channels, self.height, self.width);
        from_vec(data, shape)
    }

    /// A batch as a tensor `(indices, channels, height, width)`, normalised, not augmented.
    ///
    /// # Panics
    /// Where [`Dataset::try_images`] returns an error.
    pub fn images(&self, indices: &[usize], normalize: &Normalize) -> Images {
        self.try_images(indices, normalize)
            .unwrap_or_else(|e| panic!("{e}"))
    }

    /// Writes the batch `indices` into `out` in NHWC order and returns its labels.
    ///
    /// With `augment`, the random numbers of the whole batch are drawn in order before the images are
    /// made in parallel, so the result depends on the generator alone, not on the number of threads.
    ///
    /// # Errors
    /// [`Error::Shape`] when `out` is not `indices.len() * height * width * channels` long,
    /// [`Error::Invalid`] for an index that is not there.
    pub fn try_fill(
        &self,
        indices: &[usize],
        augment: Option<(&Augment, &mut Rng)>,
        normalize: &Normalize,
        out: &mut [f32],
    ) -> Result<Vec<u32>> {
        augment::fill(self, indices, augment, normalize, out)
    }

    /// Writes the batch `indices` into `out` in NHWC order and returns its labels.
    ///
    /// # Panics
    /// Where [`Dataset::try_fill`] returns an error.
    pub fn fill(
        &self,
        indices: &[usize],
        augment: Option<(&Augment, &mut Rng)>,
        normalize: &Normalize,
        out: &mut [f32],
    ) -> Vec<u32> {
        self.try_fill(indices, augment, normalize, out)
            .unwrap_or_else(|e| panic!("{e}"))
    }

    /// Images of each class.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for &label in &self.labels {
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        counts
    }

    fn check_index(&self, i: usize) -> Result<()> {
        if i < self.len() {
            return Ok(());
        }
        Err(Error::invalid(
            format!("image {i}"),
            format!(
                "{} has {} images, counted from 0; use an index below that",
                self.name,
                self.len()
            ),
        ))
    }

    /// An empty data set with this one's classes and image size.
    fn like(&self, name: String) -> Dataset {
        Dataset {
            name,
            images: Vec::new(),
            labels: Vec::new(),
            classes: self.classes.clone(),
            ..*self
        }
    }
}

impl std::fmt::Debug for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} images, {} x {} x {}, {} classes",
            self.name,
            self.len(),
            self.channels,
            self.height,
            self.width,
            self.classes.len()
        )
    }
}

#[cfg(test)]
mod tests;
