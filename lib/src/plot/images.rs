//! Grids of images with captions.

use super::canvas::{Anchor, Canvas, PALETTE, TextStyle, fitted, text_width};
use super::figure::Figure;
use super::png::Pixels;
use crate::data::{Dataset, Photo};
use crate::error::{Error, Result};
use crate::tensors::{Dev, Images, read};
use dfdx::prelude::{HasShape, Tensor};

const GAP: f64 = 8.0;
const CAPTION: f64 = 20.0;

/// A grid of images; see [`images`].
#[derive(Debug, Clone)]
pub struct ImageGrid {
    title: String,
    tiles: Vec<Tile>,
    columns: Option<usize>,
    scale: Option<f64>,
    mistake: Option<String>,
}

#[derive(Debug, Clone)]
struct Tile {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
    caption: String,
    /// Framed as right or as wrong.
    frame: Option<bool>,
}

/// A grid of images of any sizes, enlarged without smoothing.
///
/// ```
/// use rebit::prelude::*;
/// let noise = from_vec(vec![0.5; 2 * 3 * 8 * 8], (2, 3, 8, 8)).unwrap();
/// plot::images("Grey").batch(&noise).captions(["first", "second"]).scale(4.0).figure();
/// ```
pub fn images(title: impl Into<String>) -> ImageGrid {
    ImageGrid {
        title: title.into(),
        tiles: Vec::new(),
        columns: None,
        scale: None,
        mistake: None,
    }
}

impl ImageGrid {
    /// All images of a batch `(n, 1 or 3, h, w)`. Values in `[0, 1]` are shown as they are; when one lies
    /// outside, as after normalisation, the batch is stretched from its lowest to its highest value.
    pub fn batch<T>(self, images: &Images<T>) -> Self {
        let &(n, c, h, w) = images.shape();
        self.planes(&read(images), &[n, c, h, w], None)
    }

    /// All images of a batch `(n, 1 or 3, h, w)`, black at `low` and white at `high`.
    pub fn batch_in_range<T>(self, images: &Images<T>, low: f32, high: f32) -> Self {
        let &(n, c, h, w) = images.shape();
        self.planes(&read(images), &[n, c, h, w], Some((low, high)))
    }

    /// One image `(1 or 3, h, w)`, with its values as in [`ImageGrid::batch`].
    ///
    /// ```
    /// use rebit::prelude::*;
    /// let red = from_vec([[1.0; 16], [0.0; 16], [0.0; 16]].concat(), (3, 4, 4)).unwrap();
    /// plot::images("Red").image(&red).figure();
    /// ```
    pub fn image<T>(self, image: &Tensor<(usize, usize, usize), f32, Dev, T>) -> Self {
        let &(c, h, w) = image.shape();
        self.planes(&read(image), &[1, c, h, w], None)
    }

    /// Images as row-major elements of shape `(n, 1 or 3, h, w)`.
    pub(super) fn planes(
        mut self,
        data: &[f32],
        &[n, channels, height, width]: &[usize; 4],
        range: Option<(f32, f32)>,
    ) -> Self {
        if channels != 1 && channels != 3 {
            let why = format!("images with {channels} channels; 1 or 3 can be shown");
            self.mistake.get_or_insert(why);
            return self;
        }
        let finite = data.iter().copied().filter(|v| v.is_finite());
        let (low, high) = range.unwrap_or_else(|| {
            let found = finite.fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(v), h.max(v)));
            match found {
                (low, high) if (low < 0.0 || high > 1.0) && low < high => (low, high),
                _ => (0.0, 1.0),
            }
        });
        let bytes: Vec<u8> = data
            .iter()
            .map(|v| ((v - low) / (high - low) * 255.0).round() as u8)
            .collect();
        for planes in bytes
            .chunks_exact((channels * height * width).max(1))
            .take(n)
        {
            self.add_planes(planes, (channels, height, width), String::new());
        }
        self
    }

    /// Images of a data set, captioned with the names of their classes.
    pub fn of(mut self, data: &Dataset, indices: impl IntoIterator<Item = usize>) -> Self {
        for i in indices {
            if i >= data.len() || !matches!(data.channels, 1 | 3) {
                let why = format!("there is no image {i} with 1 or 3 channels in {data:?}");
                self.mistake.get_or_insert(why);
                return self;
            }
            let size = (data.channels, data.height, data.width);
            self.add_planes(data.pixels(i), size, data.class_of(i).to_string());
        }
        self
    }

    /// Photographs, captioned with their names.
    pub fn photos<'a>(mut self, photos: impl IntoIterator<Item = &'a Photo>) -> Self {
        for photo in photos {
            self.tiles.push(Tile {
                width: photo.width,
                height: photo.height,
                rgb: photo.rgb.clone(),
                caption: photo.name.clone(),
                frame: None,
            });
        }
        self
    }

    /// A frame for each image, in order: green for `Some(true)`, red for `Some(false)`, none for `None`.
    pub fn frames(mut self, frames: impl IntoIterator<Item = Option<bool>>) -> Self {
        for (tile, frame) in self.tiles.iter_mut().zip(frames) {
            tile.frame = frame;
        }
        self
    }

    /// A caption for each image, in order; fewer leave the rest as they are.
    pub fn captions<S: Into<String>>(mut self, captions: impl IntoIterator<Item = S>) -> Self {
        for (tile, caption) in self.tiles.iter_mut().zip(captions) {
            tile.caption = caption.into();
        }
        self
    }

    /// Images in a row; as many as fit a notebook if not set.
    pub fn columns(mut self, columns: usize) -> Self {
        self.columns = Some(columns.max(1));
        self
    }

    /// Pixels of the figure for each pixel of an image; chosen by their size if not set.
    pub fn scale(mut self, scale: f64) -> Self {
        self.scale = Some(scale);
        self
    }

    fn add_planes(
        &mut self,
        planes: &[u8],
        (channels, height, width): (usize, usize, usize),
        caption: String,
    ) {
        let n = height * width;
        let rgb = (0..n)
            .flat_map(|p| [0, 1, 2].map(|c| planes[(c % channels) * n + p]))
            .collect();
        self.tiles.push(Tile {
            width,
            height,
            rgb,
            caption,
            frame: None,
        });
    }

    /// The finished figure.
    ///
    /// # Errors
    /// [`Error::Invalid`] for images that cannot be shown, a scale that is not positive, or a figure of
    /// more than 8000 pixels.
    pub fn try_figure(self) -> Result<Figure> {
        let invalid = |why: String| Err(Error::invalid(format!("images {:?}", self.title), why));
        if let Some(mistake) = &self.mistake {
            return invalid(mistake.clone());
        }
        let largest = self
            .tiles
            .iter()
            .map(|t| t.width.max(t.height))
            .max()
            .unwrap_or(1);
        // Small images are enlarged to about 100 pixels, large ones are left alone.
        let scale = self
            .scale
            .unwrap_or((100.0 / largest as f64).round().max(1.0));
        if !(scale.is_finite() && scale > 0.0) {
            return invalid(format!("a scale of {scale}; take a positive one"));
        }
        let cell_width = self.tiles.iter().map(|t| t.width).max().unwrap_or(1) as f64 * scale;
        let captioned = self.tiles.iter().any(|t| !t.caption.is_empty());
        let caption = if captioned { CAPTION } else { 0.0 };
        let cell_height =
            self.tiles.iter().map(|t| t.height).max().unwrap_or(1) as f64 * scale + caption;
        let fit = ((690.0 - GAP) / (cell_width + GAP)).floor().max(1.0) as usize;
        let columns = self.columns.unwrap_or(fit).min(self.tiles.len().max(1));
        let rows = self.tiles.len().div_ceil(columns);
        let top = if self.title.is_empty() { GAP } else { 38.0 };
        let width = (GAP + columns as f64 * (cell_width + GAP))
            .max(text_width(&self.title, 16.0).min(480.0) + 24.0);
        let height = top + rows as f64 * (cell_height + GAP);
        if width > 8000.0 || height > 8000.0 {
            return invalid(format!(
                "{width:.0} x {height:.0} pixels; show fewer images or scale them down"
            ));
        }
        let place = |i: usize| {
            let x = GAP + (i % columns) as f64 * (cell_width + GAP);
            (x, top + (i / columns) as f64 * (cell_height + GAP))
        };
        let mut below = String::new();
        for (i, tile) in self.tiles.iter().enumerate() {
            let pixels = Pixels {
                width: tile.width,
                height: tile.height,
                rgb: tile.rgb.clone(),
            };
            let size = (tile.width as f64 * scale, tile.height as f64 * scale);
            below += &pixels.element(place(i), size)?;
        }
        let size = (width.ceil() as u32, height.ceil() as u32);
        let svg = Canvas::svg(size, &below, |canvas| {
            let mut title = TextStyle::new(16.0, Anchor::Left);
            title.bold = true;
            title.size *= ((width - 16.0) / text_width(&self.title, 16.0).max(1.0)).min(1.0);
            canvas.text((GAP, 20.0), &self.title, title)?;
            for (i, tile) in self.tiles.iter().enumerate() {
                let Some(right) = tile.frame else { continue };
                let (x, y) = place(i);
                let (w, h) = (tile.width as f64 * scale, tile.height as f64 * scale);
                let corners = [(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)];
                canvas.line(&corners, PALETTE[if right { 2 } else { 1 }], 3.0)?;
            }
            for (i, tile) in self
                .tiles
                .iter()
                .enumerate()
                .filter(|(_, t)| !t.caption.is_empty())
            {
                let (x, y) = place(i);
                let style = TextStyle::new(12.0, Anchor::Centre);
                let caption = fitted(&tile.caption, style.size, cell_width + GAP);
                let at = (
                    x + tile.width as f64 * scale / 2.0,
                    y + tile.height as f64 * scale + 11.0,
                );
                canvas.text(at, &caption, style)?;
            }
            Ok(())
        })?;
        let summary = format!("[figure: {}]\n  {} images", self.title, self.tiles.len());
        Ok(Figure::new(svg, size, summary))
    }

    /// The finished figure.
    ///
    /// # Panics
    /// Where [`ImageGrid::try_figure`] returns an error.
    pub fn figure(self) -> Figure {
        self.try_figure().unwrap_or_else(|e| panic!("{e}"))
    }
}
