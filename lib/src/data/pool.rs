//! Smaller images of a data set: means of windows.

use rayon::prelude::*;

use super::{Cifar10, Dataset};
use crate::error::{Error, Result};
use crate::ops::parallel::start_threads;

impl Dataset {
    /// The same images at `1 / window` of their sides: each pixel the mean of `window x window` ones, rounded half to
    /// even to a byte.
    ///
    /// ```
    /// use rebit::data::Dataset;
    /// let one = Dataset { name: "one".into(), images: vec![0, 10, 20, 40], labels: vec![0],
    ///     classes: vec!["any".into()], channels: 1, height: 2, width: 2 };
    /// // 17.5 lies between two bytes; the even one is 18.
    /// assert_eq!(one.mean_pooled(2)?.images, [18]);
    /// # Ok::<(), rebit::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for a window that does not divide both sides of the images.
    pub fn mean_pooled(&self, window: usize) -> Result<Dataset> {
        start_threads();
        let (h, w) = (self.height, self.width);
        if window == 0 || !h.is_multiple_of(window) || !w.is_multiple_of(window) {
            return Err(Error::shape(
                "mean_pooled",
                format!("a window that divides {h} x {w} pixels"),
                format!("a window of {window} x {window}"),
            ));
        }
        let (height, width) = (h / window, w / window);
        let mut images = vec![0; self.len() * self.channels * height * width];
        if !images.is_empty() {
            images
                .par_chunks_exact_mut(height * width)
                .zip(self.images.par_chunks_exact(h * w))
                .with_min_len(64)
                .for_each(|(small, large)| pool_plane(small, large, w, window));
        }
        Ok(Dataset {
            name: format!("{} at {height} x {width}", self.name),
            images,
            labels: self.labels.clone(),
            classes: self.classes.clone(),
            height,
            width,
            ..*self
        })
    }
}

/// One plane; `width` is that of the large one.
fn pool_plane(small: &mut [u8], large: &[u8], width: usize, window: usize) {
    let columns = width / window;
    let count = (window * window) as f64;
    for (k, out) in small.iter_mut().enumerate() {
        let (y, x) = (k / columns * window, k % columns * window);
        let rows = large[y * width..].chunks(width).take(window);
        let sum: u64 = rows
            .map(|row| {
                row[x..x + window]
                    .iter()
                    .map(|&b| u64::from(b))
                    .sum::<u64>()
            })
            .sum();
        *out = (sum as f64 / count).round_ties_even() as u8;
    }
}

impl Cifar10 {
    /// Both parts at `1 / window` of their sides, see [`Dataset::mean_pooled`]; a window of 2 gives the 16 x 16 images
    /// that [`pretrained_resnet8`](crate::nn::pretrained_resnet8) is for.
    ///
    /// ```no_run
    /// let small = rebit::data::cifar10()?.mean_pooled(2)?;
    /// assert_eq!((small.train.len(), small.train.height, small.train.width), (50_000, 16, 16));
    /// # Ok::<(), rebit::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for a window that does not divide 32.
    pub fn mean_pooled(&self, window: usize) -> Result<Cifar10> {
        Ok(Cifar10 {
            train: self.train.mean_pooled(window)?,
            test: self.test.mean_pooled(window)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(channels: usize, height: usize, width: usize) -> Dataset {
        let n = 2 * channels * height * width;
        Dataset {
            name: "numbered".into(),
            images: (0..n).map(|k| (k * 7 % 256) as u8).collect(),
            labels: vec![1, 0],
            classes: vec!["a".into(), "b".into()],
            channels,
            height,
            width,
        }
    }

    #[test]
    fn each_pixel_is_the_mean_of_its_window() {
        let data = numbered(3, 4, 6);
        let small = data.mean_pooled(2).unwrap();
        assert_eq!((small.channels, small.height, small.width), (3, 2, 3));
        assert_eq!(small.labels, data.labels);
        let at = |i: usize, c: usize, y: usize, x: usize| {
            f64::from(data.images[((i * 3 + c) * 4 + y) * 6 + x])
        };
        let mut k = 0;
        for i in 0..2 {
            for c in 0..3 {
                for y in [0, 2] {
                    for x in [0, 2, 4] {
                        let sum = at(i, c, y, x)
                            + at(i, c, y, x + 1)
                            + at(i, c, y + 1, x)
                            + at(i, c, y + 1, x + 1);
                        assert_eq!(f64::from(small.images[k]), (sum / 4.0).round_ties_even());
                        k += 1;
                    }
                }
            }
        }
        assert_eq!(k, small.images.len());
        assert_eq!(data.mean_pooled(1).unwrap().images, data.images);
    }

    #[test]
    fn a_window_that_does_not_divide_is_refused_with_both_sizes() {
        for window in [0, 3, 4, 9] {
            let error = numbered(1, 4, 6).mean_pooled(window).unwrap_err();
            let said = error.to_string();
            let names = said.contains("4 x 6") && said.contains(&format!("{window} x {window}"));
            assert!(names, "{said}");
        }
    }
}
