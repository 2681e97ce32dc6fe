//! From bytes to a batch: normalisation, random crop, horizontal flip.

use rand::Rng as _;
use rayon::prelude::*;

use super::Dataset;
use crate::error::{Error, Result};
use crate::tensors::Rng;

/// Random changes of a training image that keep its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Augment {
    /// Zero pixels added on every side before a crop of the original size is taken at a random place.
    /// "Zero" is the byte 0, so a padded pixel is black, not the mean colour.
    pub crop_padding: usize,
    /// Mirror left to right with probability one half.
    pub horizontal_flip: bool,
}

impl Default for Augment {
    /// The usual one for CIFAR-10: padding 4 and flips.
    fn default() -> Self {
        Augment {
            crop_padding: 4,
            horizontal_flip: true,
        }
    }
}

/// Per-channel normalisation `(byte / 255 - mean) / std`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Normalize {
    /// Subtracted, in units of `[0, 1]`; a grey image uses the first.
    pub mean: [f32; 3],
    /// Divided by, in units of `[0, 1]`.
    pub std: [f32; 3],
}

impl Normalize {
    /// CIFAR-10 (the constants of the LTS paper's code).
    pub const CIFAR10: Normalize = Normalize {
        mean: [125.3 / 255.0, 123.0 / 255.0, 113.9 / 255.0],
        std: [63.0 / 255.0, 62.1 / 255.0, 66.7 / 255.0],
    };
    /// ImageNet, the constants of torchvision's networks.
    pub const IMAGENET: Normalize = Normalize {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };
    /// Fashion-MNIST, measured on its training images.
    pub const FASHION_MNIST: Normalize = Normalize {
        mean: [0.2860; 3],
        std: [0.3530; 3],
    };
    /// No shift, no scale: values in `[0, 1]`.
    pub const UNIT: Normalize = Normalize {
        mean: [0.0; 3],
        std: [1.0; 3],
    };

    /// What each byte becomes, per channel: 256 divisions instead of one per pixel.
    pub(super) fn table(&self, channels: usize) -> Result<Vec<[f32; 256]>> {
        if channels > 3 {
            return Err(Error::invalid(
                "normalize",
                format!("{channels} channels; there are constants for at most 3"),
            ));
        }
        if let Some(std) = self.std[..channels].iter().find(|s| !s.is_normal()) {
            return Err(Error::invalid(
                "normalize",
                format!("a standard deviation of {std}; give a positive one"),
            ));
        }
        let row = |c: usize| {
            std::array::from_fn(|byte| (byte as f32 / 255.0 - self.mean[c]) / self.std[c])
        };
        Ok((0..channels).map(row).collect())
    }
}

/// Where one image's crop starts, relative to the padded image, and whether it is mirrored.
#[derive(Clone, Copy)]
struct Choice {
    top: usize,
    left: usize,
    flip: bool,
}

impl Augment {
    /// Draws and forgets the numbers of `count` images.
    pub(super) fn skip(&self, count: usize, rng: &mut Rng) {
        (0..count).for_each(|_| {
            self.draw(rng);
        });
    }

    fn draw(&self, rng: &mut Rng) -> Choice {
        let offsets = 0..=2 * self.crop_padding;
        Choice {
            top: rng.random_range(offsets.clone()),
            left: rng.random_range(offsets),
            flip: self.horizontal_flip && rng.random(),
        }
    }
}

/// See [`Dataset::try_fill`].
pub(super) fn fill(
    data: &Dataset,
    indices: &[usize],
    augment: Option<(&Augment, &mut Rng)>,
    normalize: &Normalize,
    out: &mut [f32],
) -> Result<Vec<u32>> {
    let image_len = data.image_len();
    if out.len() != indices.len() * image_len {
        return Err(Error::shape(
            "fill",
            format!("a buffer of {} x {image_len} numbers", indices.len()),
            out.len(),
        ));
    }
    indices.iter().try_for_each(|&i| data.check_index(i))?;
    let table = normalize.table(data.channels)?;
    let (padding, choices) = match augment {
        None => (0, None),
        Some((augment, rng)) => {
            let choices: Vec<Choice> = indices.iter().map(|_| augment.draw(rng)).collect();
            (augment.crop_padding, Some(choices))
        }
    };
    let keep = Choice {
        top: 0,
        left: 0,
        flip: false,
    };
    if image_len > 0 {
        out.par_chunks_exact_mut(image_len)
            .enumerate()
            .with_min_len(8)
            .for_each(|(k, out)| {
                let choice = choices.as_ref().map_or(keep, |c| c[k]);
                fill_image(data, data.pixels(indices[k]), choice, padding, &table, out);
            });
    }
    Ok(indices.iter().map(|&i| data.labels[i] as u32).collect())
}

/// One image: planes of bytes in, interleaved numbers out.
fn fill_image(
    data: &Dataset,
    pixels: &[u8],
    choice: Choice,
    padding: usize,
    table: &[[f32; 256]],
    out: &mut [f32],
) {
    let (height, width, channels) = (data.height, data.width, data.channels);
    // Columns of the output that lie on the image; the others are padding.
    let from = padding.saturating_sub(choice.left).min(width);
    let to = (width + padding)
        .saturating_sub(choice.left)
        .clamp(from, width);
    for (y, out_row) in out.chunks_exact_mut(width * channels).enumerate() {
        let source_y = (y + choice.top).checked_sub(padding);
        let source_y = source_y.filter(|&y| y < height);
        for (c, bytes_to_value) in table.iter().enumerate() {
            let black = bytes_to_value[0];
            let mut put = |x: usize, value: f32| {
                let x = if choice.flip { width - 1 - x } else { x };
                out_row[x * channels + c] = value;
            };
            let Some(source_y) = source_y else {
                (0..width).for_each(|x| put(x, black));
                continue;
            };
            let row = &pixels[(c * height + source_y) * width..][..width];
            (0..from).for_each(|x| put(x, black));
            let first = (from + choice.left).saturating_sub(padding);
            for (x, &byte) in (from..to).zip(&row[first.min(width)..]) {
                put(x, bytes_to_value[byte as usize]);
            }
            (to..width).for_each(|x| put(x, black));
        }
    }
}
