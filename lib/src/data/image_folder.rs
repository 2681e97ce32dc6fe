//! Photographs in one folder a class, as ImageNet is laid out, decoded while training runs.

use std::fmt;
use std::path::{Path, PathBuf};

use image::imageops::{FilterType, crop_imm, flip_horizontal_in_place, resize};
use image::{ImageReader, RgbImage};
use rand::Rng as _;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::augment::random_part;
use super::{Augment, ImageSource, Normalize, epoch_rng};
use crate::error::{Error, Result};
use crate::ops::parallel::start_threads;
use crate::show::check_interrupt;
use crate::tensors::Rng;

/// A folder of images, one sub-folder a class: only names are in memory.
///
/// Under augmentation an image is a random part of between [`min_scale`](Self::min_scale) and all of its area with
/// an aspect ratio of 3/4 to 4/3, resized to `size` x `size`, and mirrored in half of the cases when the augmentation
/// says so. [`Augment::ResizedCrop`] brings a smallest share of its own; the padding of [`Augment::PaddedCrop`] belongs
/// to small images and is not used. Without augmentation, its shorter side is resized and the centre is cut out. Resizing is bilinear and antialiased, as in torchvision.
#[derive(Clone, PartialEq)]
pub struct ImageFolder {
    /// What it is, for titles and messages: the folder's name.
    pub name: String,
    /// Names of the classes, the sub-folders in alphabetical order.
    pub classes: Vec<String>,
    /// Files and the class of each, class by class in alphabetical order.
    pub files: Vec<(PathBuf, u32)>,
    /// Height and width of an image in a batch.
    pub size: usize,
    /// Length of the shorter side before the centre is cut out.
    pub resize: usize,
    /// Smallest share of the area that a random part has.
    pub min_scale: f32,
}

/// The images below `folder`, one sub-folder a class, at 224 x 224.
///
/// JPEG and PNG files are taken, whatever the case of their extension, also from folders inside a class; other
/// files are passed over. What a file holds is read from its first bytes, not from its name.
///
/// ```no_run
/// use rebit::data::image_folder;
/// let train = image_folder("imagenet/train")?.min_scale(0.2);
/// let test = image_folder("imagenet/val")?;
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] for a folder that cannot be read, [`Error::Data`] for one without class folders or with a class
/// without images.
pub fn image_folder(folder: impl AsRef<Path>) -> Result<ImageFolder> {
    let folder = folder.as_ref();
    let layout = "Give a folder with one sub-folder of JPEG or PNG files a class";
    let mut classes = Vec::new();
    let mut files = Vec::new();
    for class in sorted(folder)?.into_iter().filter(|p| p.is_dir()) {
        let mut found = Vec::new();
        collect(&class, &mut found)?;
        if found.is_empty() {
            return Err(Error::data(class, "holds no JPEG or PNG file", layout));
        }
        let label = classes.len() as u32;
        files.extend(found.into_iter().map(|file| (file, label)));
        classes.push(name_of(&class));
    }
    if classes.is_empty() {
        return Err(Error::data(folder, "holds no class folder", layout));
    }
    Ok(ImageFolder {
        name: name_of(folder),
        classes,
        files,
        size: 224,
        resize: 256,
        min_scale: 0.08,
    })
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| Error::io(folder, e);
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let mut paths = entries
        .map(|entry| entry.map(|e| e.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(failed)?;
    paths.sort();
    Ok(paths)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    check_interrupt()?;
    for path in sorted(folder)? {
        if path.is_dir() {
            collect(&path, files)?;
        } else if is_image(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    ["jpg", "jpeg", "png"].iter().any(|e| extension == *e)
}

impl ImageFolder {
    /// Another height and width of the images in a batch; the shorter side before the central cut follows in the
    /// proportion 256 to 224.
    pub fn size(mut self, size: usize) -> Self {
        self.size = size;
        self.resize = (size * 256).div_ceil(224);
        self
    }

    /// Another smallest share of the area of a random part; the LTS code has 0.2 for ResNet-18, else 0.08.
    pub fn min_scale(mut self, share: f32) -> Self {
        self.min_scale = share;
        self
    }

    /// `n` images drawn at random without replacement; all of them (shuffled) when there are fewer.
    pub fn take(mut self, n: usize, seed: u64) -> Self {
        self.files.shuffle(&mut epoch_rng(seed, 0));
        self.files.truncate(n);
        self
    }

    /// The decoded image `i`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an index that is not there; [`Error::Io`] and [`Error::Data`] naming a file that
    /// cannot be read or decoded.
    pub fn try_image(&self, i: usize) -> Result<RgbImage> {
        let (path, _) = self.files.get(i).ok_or_else(|| {
            let n = self.files.len();
            Error::invalid(
                format!("image {i}"),
                format!("{} has {n} images, counted from 0", self.name),
            )
        })?;
        let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
        let decoded = reader.map_err(|e| Error::io(path, e))?.decode();
        let image = decoded.map_err(|e| Error::data(path, e, "Replace or remove the file"))?;
        if image.width() == 0 || image.height() == 0 {
            return Err(Error::data(path, "has no pixels", "Remove the file"));
        }
        Ok(image.to_rgb8())
    }

    fn check(&self) -> Result<()> {
        if self.size == 0 || self.resize < self.size {
            return Err(Error::invalid(
                format!("size {} and resize {}", self.size, self.resize),
                "the size must be at least 1 and the shorter side no smaller",
            ));
        }
        if !(self.min_scale > 0.0 && self.min_scale <= 1.0) {
            return Err(Error::invalid(
                format!("min_scale {}", self.min_scale),
                "is a share of the area, above 0 and at most 1",
            ));
        }
        Ok(())
    }

    /// Shorter side to `resize`, then the centre.
    fn centre(&self, image: &RgbImage) -> RgbImage {
        let (w, h) = image.dimensions();
        let (short, to) = (w.min(h) as u64, self.resize as u64);
        // Lengths are cut off, not rounded, as in torchvision.
        let scaled = |n: u32| ((u64::from(n) * to / short) as u32).max(self.resize as u32);
        let (w, h) = (scaled(w), scaled(h));
        let image = resize(image, w, h, FilterType::Triangle);
        let size = self.size as u32;
        let offset = |n: u32| (f64::from(n - size) / 2.0).round_ties_even() as u32;
        crop_imm(&image, offset(w), offset(h), size, size).to_image()
    }

    /// A random part, resized.
    fn random(&self, image: &RgbImage, min_area: f32, flip: bool, rng: &mut Rng) -> RgbImage {
        let [x, y, w, h] = random_part(image.dimensions(), min_area, rng);
        let part = crop_imm(image, x, y, w, h).to_image();
        let size = self.size as u32;
        let mut image = resize(&part, size, size, FilterType::Triangle);
        if flip && rng.random() {
            flip_horizontal_in_place(&mut image);
        }
        image
    }
}

impl ImageSource for ImageFolder {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.files.len()
    }

    fn extent(&self) -> [usize; 3] {
        [3, self.size, self.size]
    }

    fn fill(
        &self,
        indices: &[usize],
        augment: Option<(&Augment, &mut Rng)>,
        normalize: &Normalize,
        out: &mut [f32],
    ) -> Result<Vec<u32>> {
        start_threads();
        self.check()?;
        let image_len = 3 * self.size * self.size;
        if out.len() != indices.len() * image_len {
            return Err(Error::shape(
                "fill",
                format!("a buffer of {} x {image_len} numbers", indices.len()),
                out.len(),
            ));
        }
        let table = normalize.table(3)?;
        // One number an image, drawn in order: how many a crop takes depends on the image's own size.
        let (how, seeds): (_, Option<Vec<u64>>) = match augment {
            Some((augment, rng)) => {
                augment.check()?;
                let seeds = indices.iter().map(|_| rng.random()).collect();
                (Some(augment), Some(seeds))
            }
            None => (None, None),
        };
        let flip = how.is_some_and(Augment::flips);
        let min_area = match how {
            Some(Augment::ResizedCrop { min_area, .. }) => *min_area,
            _ => self.min_scale,
        };
        out.par_chunks_exact_mut(image_len)
            .enumerate()
            .try_for_each(|(k, out)| {
                let image = self.try_image(indices[k])?;
                let image = match &seeds {
                    Some(seeds) => self.random(&image, min_area, flip, &mut crate::rng(seeds[k])),
                    None => self.centre(&image),
                };
                for (pixel, out) in image.pixels().zip(out.chunks_exact_mut(3)) {
                    for ((out, byte), row) in out.iter_mut().zip(pixel.0).zip(&table) {
                        *out = row[byte as usize];
                    }
                }
                Ok::<(), Error>(())
            })?;
        Ok(indices.iter().map(|&i| self.files[i].1).collect())
    }

    fn skip(&self, count: usize, _: &Augment, rng: &mut Rng) {
        (0..count).for_each(|_| {
            rng.random::<u64>();
        });
    }
}

impl fmt::Debug for ImageFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, c, s) = (self.files.len(), self.classes.len(), self.size);
        write!(
            f,
            "{}: {n} images in {c} classes, read as {s} x {s}",
            self.name
        )
    }
}

#[cfg(test)]
mod tests;
