//! Batches of one epoch in a seeded order.

use std::sync::Arc;

use rand::SeedableRng;
use rand::seq::SliceRandom;

use super::{Augment, ImageSource, Normalize};
use crate::error::{Error, Result};
use crate::tensors::{Images, Rng, from_vec};

/// The generator of epoch `epoch` of a run with `seed`: epochs are independent of each other, so a run
/// that continues at epoch 7 sees what an uninterrupted one would have seen.
pub fn epoch_rng(seed: u64, epoch: u64) -> Rng {
    // SplitMix64's finaliser: neighbouring (seed, epoch) pairs get unrelated generators.
    let mut z = seed.wrapping_add(epoch.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Rng::seed_from_u64(z ^ (z >> 31))
}

/// A permutation of `0..n` that depends on `seed` and `epoch` alone.
///
/// ```
/// use rebit::data::epoch_order;
/// assert_eq!(epoch_order(100, 1, 0), epoch_order(100, 1, 0));
/// assert_ne!(epoch_order(100, 1, 0), epoch_order(100, 1, 1));
/// ```
pub fn epoch_order(n: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut epoch_rng(seed, epoch));
    order
}

/// How an epoch is cut into batches: their size, order, augmentation, normalisation. [`Batches`] keeps the data along;
/// a training loop that is lent its data says [`epoch`](Self::epoch) itself.
#[derive(Debug, Clone)]
pub struct BatchPlan {
    batch_size: usize,
    seed: Option<u64>,
    augment: Option<Augment>,
    normalize: Normalize,
    drop_last: bool,
}

impl BatchPlan {
    /// Batches of `batch_size` images in the order of the data set, with values in `[0, 1]`.
    ///
    /// # Panics
    /// When `batch_size` is 0.
    pub fn new(batch_size: usize) -> Self {
        assert!(batch_size > 0, "batches: a batch needs at least one image");
        BatchPlan {
            batch_size,
            seed: None,
            augment: None,
            normalize: Normalize::UNIT,
            drop_last: false,
        }
    }

    /// A new order in every epoch; also the seed of the augmentation.
    pub fn shuffled(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Random crops and flips.
    pub fn augmented(mut self, augment: Augment) -> Self {
        self.augment = Some(augment);
        self
    }

    /// Per-channel normalisation.
    pub fn normalized(mut self, normalize: Normalize) -> Self {
        self.normalize = normalize;
        self
    }

    /// Leaves out the last batch of an epoch when it is smaller than the others.
    pub fn drop_last(mut self) -> Self {
        self.drop_last = true;
        self
    }

    /// Batches in an epoch over `images` images.
    pub fn len(&self, images: usize) -> usize {
        if self.drop_last {
            images / self.batch_size
        } else {
            images.div_ceil(self.batch_size)
        }
    }

    /// The batches of epoch `epoch` of `data`.
    pub fn epoch<'a>(&self, data: &'a dyn ImageSource, epoch: u64) -> Epoch<'a> {
        let n = data.len();
        let order = match self.seed {
            Some(seed) => epoch_order(n, seed, epoch),
            None => (0..n).collect(),
        };
        Epoch {
            data,
            plan: self.clone(),
            order,
            next: 0,
            // Not the generator that made the order: the two must not share numbers.
            rng: epoch_rng(!self.seed.unwrap_or(0), epoch),
            buffer: Vec::new(),
        }
    }
}

/// A data set and how it is walked over, to be kept in a variable; clones share the data.
///
/// ```
/// use rebit::data::{Augment, Batches, Dataset, Normalize};
/// # let train = Dataset { name: "tiny".into(), images: vec![0; 10 * 3 * 4 * 4], labels: vec![0; 10],
/// #     classes: vec!["black".into()], channels: 3, height: 4, width: 4 };
/// let batches = Batches::new(train, 4)
///     .normalized(Normalize::CIFAR10)
///     .augmented(Augment::default())
///     .shuffled(1);
/// for epoch in 0..2 {
///     for (images, labels) in batches.epoch(epoch) {
///         assert_eq!(images.shape().0, labels.len());
///     }
/// }
/// # use dfdx::prelude::HasShape;
/// ```
#[derive(Debug, Clone)]
pub struct Batches {
    data: Arc<dyn ImageSource>,
    plan: BatchPlan,
}

impl Batches {
    /// Batches of `batch_size` images in the order of the data set, with values in `[0, 1]`. Data that is needed
    /// elsewhere too is shared: `Arc::new(data)` is a data set as well.
    ///
    /// # Panics
    /// When `batch_size` is 0.
    pub fn new(data: impl ImageSource + 'static, batch_size: usize) -> Self {
        Batches {
            data: Arc::new(data),
            plan: BatchPlan::new(batch_size),
        }
    }

    /// See [`BatchPlan::shuffled`].
    pub fn shuffled(mut self, seed: u64) -> Self {
        self.plan = self.plan.shuffled(seed);
        self
    }

    /// See [`BatchPlan::augmented`].
    pub fn augmented(mut self, augment: Augment) -> Self {
        self.plan = self.plan.augmented(augment);
        self
    }

    /// See [`BatchPlan::normalized`].
    pub fn normalized(mut self, normalize: Normalize) -> Self {
        self.plan = self.plan.normalized(normalize);
        self
    }

    /// See [`BatchPlan::drop_last`].
    pub fn drop_last(mut self) -> Self {
        self.plan = self.plan.drop_last();
        self
    }

    /// Batches in an epoch.
    pub fn len(&self) -> usize {
        self.plan.len(self.data.len())
    }

    /// Whether an epoch has no batch.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batches of epoch `epoch`.
    pub fn epoch(&self, epoch: u64) -> Epoch<'_> {
        self.plan.epoch(&*self.data, epoch)
    }
}

/// Epoch 0; a loop over epochs says [`Batches::epoch`].
impl<'a> IntoIterator for &'a Batches {
    type Item = (Images, Vec<u32>);
    type IntoIter = Epoch<'a>;

    fn into_iter(self) -> Epoch<'a> {
        self.epoch(0)
    }
}

/// The batches of one epoch: an iterator of `(images, labels)`, or [`Epoch::fill`] into a buffer.
pub struct Epoch<'a> {
    data: &'a dyn ImageSource,
    plan: BatchPlan,
    order: Vec<usize>,
    next: usize,
    rng: Rng,
    buffer: Vec<f32>,
}

impl Epoch<'_> {
    /// Writes the next batch into `out` in NHWC order (resized to fit) and returns its labels; `None`
    /// after the last.
    ///
    /// # Errors
    /// As [`ImageSource::fill`]: a file that cannot be read.
    pub fn try_fill(&mut self, out: &mut Vec<f32>) -> Result<Option<Vec<u32>>> {
        let Some(indices) = self.advance() else {
            return Ok(None);
        };
        let data = self.data;
        let image_len: usize = data.extent().iter().product();
        out.resize(indices.len() * image_len, 0.0);
        let augment = self.plan.augment.as_ref().map(|a| (a, &mut self.rng));
        let indices = &self.order[indices];
        data.fill(indices, augment, &self.plan.normalize, out)
            .map(Some)
    }

    /// Writes the next batch into `out` in NHWC order (resized to fit) and returns its labels; `None`
    /// after the last.
    ///
    /// # Panics
    /// Where [`Epoch::try_fill`] returns an error.
    pub fn fill(&mut self, out: &mut Vec<f32>) -> Option<Vec<u32>> {
        self.try_fill(out).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Passes over `count` batches without making them: what follows is what would have followed.
    pub fn skip_batches(&mut self, count: usize) {
        for _ in 0..count {
            let Some(indices) = self.advance() else {
                return;
            };
            if let Some(augment) = &self.plan.augment {
                self.data.skip(indices.len(), augment, &mut self.rng);
            }
        }
    }

    /// The places in the order of the next batch.
    fn advance(&mut self) -> Option<std::ops::Range<usize>> {
        if self.next >= self.plan.len(self.order.len()) {
            return None;
        }
        let size = self.plan.batch_size;
        let start = self.next * size;
        self.next += 1;
        Some(start..(start + size).min(self.order.len()))
    }
}

impl Iterator for Epoch<'_> {
    type Item = (Images, Vec<u32>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let labels = self.fill(&mut buffer)?;
        let [channels, height, width] = self.data.extent();
        let shape = [labels.len(), height, width, channels];
        let images = images_from_nhwc(&buffer, shape).unwrap_or_else(|e| panic!("{e}"));
        self.buffer = buffer;
        Some((images, labels))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.plan.len(self.order.len()).saturating_sub(self.next);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Epoch<'_> {}

/// A tensor `(n, c, h, w)` from numbers in NHWC order with shape `[n, h, w, c]`.
///
/// # Errors
/// [`Error::Shape`] when the number of elements differs.
pub fn images_from_nhwc(nhwc: &[f32], [n, h, w, c]: [usize; 4]) -> Result<Images> {
    if nhwc.len() != n * h * w * c {
        return Err(Error::shape(
            "images_from_nhwc",
            format!("{n} x {h} x {w} x {c} numbers"),
            nhwc.len(),
        ));
    }
    let plane = h * w;
    let mut nchw = vec![0.0; nhwc.len()];
    if plane * c > 0 {
        let pairs = nhwc
            .chunks_exact(plane * c)
            .zip(nchw.chunks_exact_mut(plane * c));
        for (from, to) in pairs {
            for (p, pixel) in from.chunks_exact(c).enumerate() {
                for (k, &value) in pixel.iter().enumerate() {
                    to[k * plane + p] = value;
                }
            }
        }
    }
    from_vec(nchw, (n, c, h, w))
}
