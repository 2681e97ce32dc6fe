//! Photographs for super-resolution: of any size, in memory as bytes, shrunk by the bicubic kernel that the
//! benchmarks use.

use std::path::{Path, PathBuf};

use image::{ExtendedColorType, ImageFormat};

use crate::error::{Error, Result};
use crate::ops::layout::{nchw_to_nhwc, nhwc_to_nchw};
use crate::ops::resize::try_resize;
use crate::show::check_interrupt;
use crate::tensors::{Images, from_vec, read};

/// One colour photograph.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Photo {
    /// What it is called: its file's name without the ending.
    pub name: String,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height * width * 3` bytes, pixel by pixel.
    pub rgb: Vec<u8>,
}

impl Photo {
    /// Reads a PNG or JPEG file; grey images become colour, transparency is dropped.
    ///
    /// # Errors
    /// [`Error::Data`] for a file that is neither, [`Error::Io`] when it cannot be read.
    pub fn read(path: impl AsRef<Path>) -> Result<Photo> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let image = image::load_from_memory(&bytes)
            .map_err(|e| Error::data(path, e, "Give a PNG or JPEG file"))?
            .into_rgb8();
        let stem = path.file_stem().unwrap_or_default();
        Ok(Photo {
            name: stem.to_string_lossy().into_owned(),
            height: image.height() as usize,
            width: image.width() as usize,
            rgb: image.into_raw(),
        })
    }

    /// Writes a PNG file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut png = std::io::Cursor::new(Vec::new());
        let (w, h) = (self.width as u32, self.height as u32);
        let kind = ExtendedColorType::Rgb8;
        image::write_buffer_with_format(&mut png, &self.rgb, w, h, kind, ImageFormat::Png)
            .map_err(|e| Error::data(path, e, "Check the size of the photograph"))?;
        crate::files::save(path, png.get_ref())
    }

    /// The rectangle of `height` x `width` pixels whose first pixel is at row `top`, column `left`.
    ///
    /// # Errors
    /// [`Error::Shape`] when it reaches beyond the photograph.
    pub fn crop(&self, top: usize, left: usize, height: usize, width: usize) -> Result<Photo> {
        let within =
            |at: usize, len: usize, all: usize| at.checked_add(len).is_some_and(|e| e <= all);
        if !within(top, height, self.height) || !within(left, width, self.width) {
            return Err(Error::shape(
                "crop",
                format!("a rectangle within {}x{}", self.height, self.width),
                format!("{height}x{width} at row {top}, column {left}"),
            ));
        }
        let rows =
            (top..top + height).map(|r| &self.rgb[(r * self.width + left) * 3..][..3 * width]);
        Ok(Photo {
            name: self.name.clone(),
            height,
            width,
            rgb: rows.flatten().copied().collect(),
        })
    }

    /// The `height` x `width` pixels in the middle, or as many as there are.
    pub fn centre(&self, height: usize, width: usize) -> Photo {
        let (h, w) = (height.min(self.height), width.min(self.width));
        self.crop((self.height - h) / 2, (self.width - w) / 2, h, w)
            .expect("no larger than the photograph")
    }

    /// Another size, by [antialiased bicubic](crate::ops::resize), rounded to bytes after each axis, rows first, as
    /// MATLAB does.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a size of 0.
    pub fn resized(&self, height: usize, width: usize) -> Result<Photo> {
        let rows = try_resize(self.to_images(), height, self.width)?;
        let rows = Photo::from_images(&self.name, &rows)?;
        let both = try_resize(rows.to_images(), height, width)?;
        Photo::from_images(&self.name, &both)
    }

    /// `factor` times smaller, after cutting off what the factor leaves over.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a factor of 0 or one larger than the photograph.
    pub fn shrunk(&self, factor: usize) -> Result<Photo> {
        let cut = self.divisible(factor)?;
        cut.resized(cut.height / factor, cut.width / factor)
    }

    /// The top left part whose sides `factor` divides.
    ///
    /// # Errors
    /// As [`shrunk`](Self::shrunk).
    pub fn divisible(&self, factor: usize) -> Result<Photo> {
        if factor == 0 || factor > self.height.min(self.width) {
            return Err(Error::invalid(
                format!("scale {factor}"),
                format!(
                    "must be between 1 and the sides {}x{}",
                    self.height, self.width
                ),
            ));
        }
        let whole = |n: usize| n / factor * factor;
        self.crop(0, 0, whole(self.height), whole(self.width))
    }

    /// As a batch of one, `(1, 3, height, width)`, in grey levels from 0 to 255.
    pub fn to_images(&self) -> Images {
        let bytes: Vec<f32> = self.rgb.iter().map(|&b| f32::from(b)).collect();
        let mut planes = vec![0.0; bytes.len()];
        nhwc_to_nchw(&bytes, 3, self.height * self.width, &mut planes);
        from_vec(planes, (1, 3, self.height, self.width)).expect("three bytes a pixel")
    }

    /// The first image of a batch `(N, 3, H, W)` in grey levels, rounded and clamped to bytes.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are images of three channels.
    pub fn from_images(name: &str, images: &Images) -> Result<Photo> {
        use dfdx::prelude::HasShape;
        let (n, c, height, width) = *images.shape();
        if n == 0 || c != 3 {
            let found = format!("({n}, {c}, {height}, {width})");
            return Err(Error::shape("photograph", "images (N, 3, H, W)", found));
        }
        let planes = read(images);
        let mut pixels = vec![0.0; 3 * height * width];
        nchw_to_nhwc(&planes[..pixels.len()], 3, height * width, &mut pixels);
        Ok(Photo::from_pixels(name, height, width, &pixels))
    }

    /// From grey levels, pixel by pixel; rounded (halves up, which is what made the benchmarks' small images) and
    /// clamped to bytes.
    pub(crate) fn from_pixels(name: &str, height: usize, width: usize, pixels: &[f32]) -> Photo {
        Photo {
            name: name.to_string(),
            height,
            width,
            rgb: pixels.iter().map(|v| v.round() as u8).collect(),
        }
    }
}

impl std::fmt::Debug for Photo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} x {} pixels", self.name, self.height, self.width)
    }
}

/// All photographs (PNG, JPEG) of a folder, in the order of their names; subfolders are left alone.
///
/// DIV2K as its authors distribute it is such a folder: `data::photos("DIV2K_train_HR")`.
///
/// # Errors
/// [`Error::Io`] for a folder that cannot be read, [`Error::Data`] for one without photographs or a broken file.
pub fn photos(folder: impl AsRef<Path>) -> Result<Vec<Photo>> {
    let folder = folder.as_ref();
    picture_files(folder)?
        .iter()
        .map(read_unless_stopped)
        .collect()
}

/// Photographs are large: a folder of them is left between two files.
fn read_unless_stopped(path: impl AsRef<Path>) -> Result<Photo> {
    check_interrupt()?;
    Photo::read(path)
}

/// The pictures of a folder by name.
pub(super) fn picture_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    files.retain(|path| {
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        ["png", "jpg", "jpeg"].contains(&ending.to_lowercase().as_str())
    });
    if files.is_empty() {
        return Err(Error::data(
            folder,
            "holds no PNG or JPEG file",
            "Give the folder that holds the photographs themselves",
        ));
    }
    files.sort();
    Ok(files)
}

/// A photograph and the small version that a network is to enlarge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrPair {
    /// The small one.
    pub low: Photo,
    /// What it was made from, `scale` times larger.
    pub high: Photo,
}

impl SrPair {
    /// Shrinks `photo` by bicubic interpolation.
    ///
    /// # Errors
    /// As [`Photo::shrunk`].
    pub fn new(photo: &Photo, scale: usize) -> Result<SrPair> {
        let high = photo.divisible(scale)?;
        let low = high.shrunk(scale)?;
        Ok(SrPair { low, high })
    }

    /// How many times larger `high` is.
    pub fn scale(&self) -> usize {
        self.high.width / self.low.width.max(1)
    }
}

/// A benchmark folder in the layout of Set5 and Set14, `image_SRF_K/img_NNN_SRF_K_{HR,LR}.png`.
///
/// # Errors
/// [`Error::Io`] without the folder, [`Error::Data`] for a file without its partner or of the wrong size.
pub fn sr_benchmark(folder: impl AsRef<Path>, scale: usize) -> Result<Vec<SrPair>> {
    let folder = folder.as_ref().join(format!("image_SRF_{scale}"));
    let files = picture_files(&folder)?;
    let large = files
        .iter()
        .filter(|f| f.to_string_lossy().ends_with("_HR.png"));
    large
        .map(|path| {
            let small = path.to_string_lossy().replace("_HR.png", "_LR.png");
            let (high, low) = (read_unless_stopped(path)?, Photo::read(&small)?);
            if (high.height, high.width) != (scale * low.height, scale * low.width) {
                return Err(Error::data(
                    small,
                    format!("is {low:?}, its partner {high:?}"),
                    format!("The large one must be {scale} times the small one"),
                ));
            }
            Ok(SrPair { low, high })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(height: usize, width: usize) -> Photo {
        Photo {
            name: "ramp".into(),
            height,
            width,
            rgb: (0..height * width * 3).map(|i| (i % 251) as u8).collect(),
        }
    }

    #[test]
    fn a_photograph_survives_tensors_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let photo = ramp(5, 7);
        assert_eq!(
            Photo::from_images("ramp", &photo.to_images()).unwrap(),
            photo
        );
        photo.save(folder.path().join("ramp.png")).unwrap();
        assert_eq!(photos(folder.path()).unwrap(), [photo]);
    }

    #[test]
    fn grey_levels_are_rounded_and_clamped() {
        let photo = Photo::from_pixels("p", 1, 1, &[-3.0, 254.6, 300.0]);
        assert_eq!(photo.rgb, [0, 255, 255]);
    }

    #[test]
    fn pairs_have_sides_that_the_scale_divides() {
        let pair = SrPair::new(&ramp(11, 14), 4).unwrap();
        assert_eq!((pair.high.height, pair.high.width), (8, 12));
        assert_eq!((pair.low.height, pair.low.width, pair.scale()), (2, 3, 4));
        assert_eq!(ramp(4, 4).centre(9, 2).crop(1, 0, 2, 2).unwrap().rgb[0], 15);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = |e: Error| e.to_string();
        assert!(error(photos(folder.path()).unwrap_err()).contains("no PNG or JPEG"));
        assert!(error(ramp(4, 4).crop(2, 0, 3, 3).unwrap_err()).contains("within 4x4"));
        assert!(error(ramp(4, 4).shrunk(5).unwrap_err()).contains("scale 5"));
        std::fs::write(folder.path().join("a.png"), "no").unwrap();
        assert!(error(photos(folder.path()).unwrap_err()).contains("a.png"));
        let set = folder.path().join("image_SRF_2");
        std::fs::create_dir(&set).unwrap();
        ramp(4, 4).save(set.join("img_001_SRF_2_HR.png")).unwrap();
        ramp(2, 3).save(set.join("img_001_SRF_2_LR.png")).unwrap();
        assert!(error(sr_benchmark(folder.path(), 2).unwrap_err()).contains("2 times"));
    }
}
