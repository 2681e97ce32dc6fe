//! From bytes to a batch: random crops, horizontal flip.

use rand::Rng as _;
use rayon::prelude::*;

use super::{Dataset, Normalize};
use crate::error::{Error, Result};
use crate::ops::parallel::start_threads;
use crate::tensors::Rng;

/// Random changes of a training image that keep its class.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Augment {
    /// A crop of the original size at a random place of the image with a border around it: the usual one for small
    /// images.
    PaddedCrop {
        /// Zero pixels added on every side. "Zero" is the byte 0, so a padded pixel is black, not the mean colour.
        padding: usize,
        /// Mirror left to right with probability one half.
        flip: bool,
    },
    /// A random part of the image, with an aspect ratio of 3/4 to 4/3, resized to the original size: bilinear between
    /// half-pixel centres, clamped to the part, not antialiased (PyTorch's `RandomResizedCrop` on tensors).
    ResizedCrop {
        /// Smallest share of the area that a part has, above 0 and at most 1.
        min_area: f32,
        /// Mirror left to right with probability one half.
        flip: bool,
    },
}

impl Default for Augment {
    /// The usual one for CIFAR-10: padding 4 and flips.
    fn default() -> Self {
        Augment::PaddedCrop {
            padding: 4,
            flip: true,
        }
    }
}

/// What happens to one image.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    pub(super) part: Part,
    pub(super) flip: bool,
}

/// What is seen of an image.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// A part of the image's size, at this place of the image with `padding` around it.
    Shifted {
        top: usize,
        left: usize,
        padding: usize,
    },
    /// This part, resized.
    Resized {
        top: usize,
        left: usize,
        height: usize,
        width: usize,
    },
}

impl Choice {
    /// The image as it is.
    pub(super) const KEEP: Choice = Choice {
        part: Part::Shifted {
            top: 0,
            left: 0,
            padding: 0,
        },
        flip: false,
    };
}

impl Augment {
    /// Refuses a share of the area that is none, and padding beyond all images.
    pub(super) fn check(&self) -> Result<()> {
        match *self {
            Augment::ResizedCrop { min_area, .. } if !(min_area > 0.0 && min_area <= 1.0) => {
                Err(Error::invalid(
                    format!("min_area {min_area}"),
                    "is a share of the area, above 0 and at most 1",
                ))
            }
            Augment::PaddedCrop { padding, .. } if padding > MOST_PADDING => Err(Error::invalid(
                format!("crop padding {padding}"),
                format!("is at most {MOST_PADDING} pixels"),
            )),
            _ => Ok(()),
        }
    }

    /// Whether images may be mirrored.
    pub(super) fn flips(&self) -> bool {
        match *self {
            Augment::PaddedCrop { flip, .. } | Augment::ResizedCrop { flip, .. } => flip,
        }
    }

    /// Draws and forgets the numbers of `count` images of this height and width.
    pub(super) fn skip(&self, count: usize, size: (usize, usize), rng: &mut Rng) {
        if self.check().is_ok() {
            (0..count).for_each(|_| {
                self.draw(size, rng);
            });
        }
    }

    /// What happens to the next image of this height and width; [`check`](Self::check) comes first.
    pub(super) fn draw(&self, (height, width): (usize, usize), rng: &mut Rng) -> Choice {
        let part = match *self {
            Augment::PaddedCrop { padding, .. } => {
                let offsets = 0..=2 * padding;
                Part::Shifted {
                    top: rng.random_range(offsets.clone()),
                    left: rng.random_range(offsets),
                    padding,
                }
            }
            Augment::ResizedCrop { min_area, .. } => {
                let size = (width as u32, height as u32);
                let [left, top, width, height] = random_part(size, min_area, rng);
                Part::Resized {
                    top: top as usize,
                    left: left as usize,
                    height: height as usize,
                    width: width as usize,
                }
            }
        };
        Choice {
            part,
            flip: self.flips() && rng.random(),
        }
    }
}

/// Most pixels that are added on a side before a crop.
const MOST_PADDING: usize = 1 << 20;
/// Aspect ratios of random parts, width to height.
const RATIO: (f32, f32) = (3.0 / 4.0, 4.0 / 3.0);
/// Random parts that may fail to fit before a central one is taken.
const ATTEMPTS: usize = 10;

/// Left, top, width, height of a part of an image of (width, height), with a share of the area drawn from
/// `[min_area, 1]` and an aspect ratio of 3/4 to 4/3; the largest central part of an allowed ratio when ten draws do not
/// fit, of a square image the whole. What [`Augment::ResizedCrop`] draws.
///
/// ```
/// let [x, y, w, h] = rebit::data::random_part((32, 32), 0.5, &mut rebit::rng(0));
/// assert!(x + w <= 32 && y + h <= 32 && w * h >= 400);
/// ```
pub fn random_part((width, height): (u32, u32), min_area: f32, rng: &mut Rng) -> [u32; 4] {
    let area = width as f32 * height as f32;
    let (low, high) = (RATIO.0.ln(), RATIO.1.ln());
    for _ in 0..ATTEMPTS {
        let part = area * rng.random_range(min_area..=1.0);
        let ratio = rng.random_range(low..=high).exp();
        let w = (part * ratio).sqrt().round_ties_even() as u32;
        let h = (part / ratio).sqrt().round_ties_even() as u32;
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let y = rng.random_range(0..=height - h);
            let x = rng.random_range(0..=width - w);
            return [x, y, w, h];
        }
    }
    let ratio = width as f32 / height as f32;
    let w = width.min((height as f32 * RATIO.1).round_ties_even().max(1.0) as u32);
    let h = height.min((width as f32 / RATIO.0).round_ties_even().max(1.0) as u32);
    match ratio {
        r if r < RATIO.0 => [0, (height - h) / 2, width, h],
        r if r > RATIO.1 => [(width - w) / 2, 0, w, height],
        _ => [0, 0, width, height],
    }
}

/// One choice for each image, drawn in order; all images are kept as they are without augmentation.
pub(super) fn choices(
    count: usize,
    size: (usize, usize),
    augment: Option<(&Augment, &mut Rng)>,
) -> Result<Vec<Choice>> {
    let Some((augment, rng)) = augment else {
        return Ok(vec![Choice::KEEP; count]);
    };
    augment.check()?;
    Ok((0..count).map(|_| augment.draw(size, rng)).collect())
}

/// See [`Dataset::try_fill`].
pub(super) fn fill(
    data: &Dataset,
    indices: &[usize],
    augment: Option<(&Augment, &mut Rng)>,
    normalize: &Normalize,
    out: &mut [f32],
) -> Result<Vec<u32>> {
    start_threads();
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
    let size = (data.height, data.width);
    let choices = choices(indices.len(), size, augment)?;
    if image_len > 0 {
        out.par_chunks_exact_mut(image_len)
            .enumerate()
            .with_min_len(8)
            .for_each(|(k, out)| {
                fill_image(data, data.pixels(indices[k]), choices[k], &table, out)
            });
    }
    Ok(indices.iter().map(|&i| data.labels[i] as u32).collect())
}

/// One image: planes of bytes in, interleaved numbers out.
fn fill_image(
    data: &Dataset,
    pixels: &[u8],
    choice: Choice,
    table: &[[f32; 256]],
    out: &mut [f32],
) {
    let (height, width) = (data.height, data.width);
    let Part::Shifted { top, left, padding } = choice.part else {
        let value =
            |c: usize, y: usize, x: usize| table[c][pixels[(c * height + y) * width + x] as usize];
        return resize_part(choice, [data.channels, height, width], value, out);
    };
    let channels = data.channels;
    // Columns of the output that lie on the image; the others are padding.
    let from = padding.saturating_sub(left).min(width);
    let to = (width + padding).saturating_sub(left).clamp(from, width);
    for (y, out_row) in out.chunks_exact_mut(width * channels).enumerate() {
        let source_y = (y + top).checked_sub(padding);
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
            let first = (from + left).saturating_sub(padding);
            for (x, &byte) in (from..to).zip(&row[first.min(width)..]) {
                put(x, bytes_to_value[byte as usize]);
            }
            (to..width).for_each(|x| put(x, black));
        }
    }
}

/// The part of an image that a choice names, resized to `[channels, height, width]` into interleaved numbers;
/// `value(c, y, x)` is a pixel of the image.
pub(super) fn resize_part(
    choice: Choice,
    [channels, height, width]: [usize; 3],
    value: impl Fn(usize, usize, usize) -> f32,
    out: &mut [f32],
) {
    let Part::Resized {
        top,
        left,
        height: rows,
        width: columns,
    } = choice.part
    else {
        return;
    };
    let across: Vec<Tap> = (0..width)
        .map(|x| Tap::new(x, width, left, columns))
        .collect();
    for (y, out) in out.chunks_exact_mut(width * channels).enumerate() {
        let down = Tap::new(y, height, top, rows);
        for (x, across) in across.iter().enumerate() {
            let x = if choice.flip { width - 1 - x } else { x };
            for (c, out) in out[x * channels..][..channels].iter_mut().enumerate() {
                let row = |y: usize| {
                    let (a, b) = (value(c, y, across.first), value(c, y, across.second));
                    a + across.share * (b - a)
                };
                let (a, b) = (row(down.first), row(down.second));
                *out = a + down.share * (b - a);
            }
        }
    }
}

/// The two pixels that a pixel of a resized part is read between.
struct Tap {
    first: usize,
    second: usize,
    /// How far it lies from the first to the second.
    share: f32,
}

impl Tap {
    /// Pixel `i` of `n` that show the part `start..start + length`: half-pixel centres, clamped to the part.
    fn new(i: usize, n: usize, start: usize, length: usize) -> Tap {
        let place = ((i as f32 + 0.5) * length as f32 / n as f32 - 0.5).max(0.0);
        let first = (place as usize).min(length - 1);
        Tap {
            first: start + first,
            second: start + (first + 1).min(length - 1),
            share: place - first as f32,
        }
    }
}
