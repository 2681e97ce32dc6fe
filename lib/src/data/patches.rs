//! Small squares of photographs, cut at random, for training a super-resolution network.

use rand::Rng as _;

use super::{Fingerprint, Photo, SrPair};
use crate::error::{Error, Result};
use crate::ops::parallel::start_threads;
use crate::ops::tape::store_images;
use crate::tensors::{Images, Rng};

/// A patch of luminance that varies less than this (standard deviation in grey levels) teaches little.
const FLAT: f32 = 6.0;
/// Tries to find a patch that is not flat.
const TRIES: usize = 8;

/// Draws aligned low- and high-resolution patches.
pub struct Patches {
    pairs: Vec<SrPair>,
    size: usize,
    scale: usize,
}

/// One batch of patches, `(N, H, W, 3)`, in grey levels from 0 to 255.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchBatch {
    /// `N x size x size x 3`.
    pub low: Vec<f32>,
    /// `N x (scale size) x (scale size) x 3`.
    pub high: Vec<f32>,
}

impl PatchBatch {
    /// The low-resolution patches as a tensor.
    ///
    /// # Errors
    /// [`Error::Shape`] when the patches are not square.
    pub fn low_images(&self, count: usize) -> Result<Images> {
        square_images(&self.low, count)
    }

    /// The high-resolution patches as a tensor.
    ///
    /// # Errors
    /// As [`low_images`](Self::low_images).
    pub fn high_images(&self, count: usize) -> Result<Images> {
        square_images(&self.high, count)
    }
}

fn square_images(patches: &[f32], count: usize) -> Result<Images> {
    let pixels = patches.len() / (3 * count.max(1));
    let side = pixels.isqrt();
    if count * side * side * 3 != patches.len() {
        let expected = format!("{count} square patches of 3 channels");
        return Err(Error::shape(
            "patches",
            expected,
            format!("{} numbers", patches.len()),
        ));
    }
    store_images(&crate::buffer(patches)?, (count, 3, side, side))
}

impl Patches {
    /// What tells these patches from others: sizes, and the pixels that they are cut from.
    pub fn fingerprint(&self) -> String {
        let start = Fingerprint::new().word(self.size as u64);
        let all = self.pairs.iter().fold(start, |found, pair| {
            let (rows, columns) = (pair.high.height as u64, pair.high.width as u64);
            found.word(rows).word(columns).bytes(&pair.low.rgb)
        });
        format!("{} photographs x{} {all}", self.pairs.len(), self.scale)
    }

    /// Patches of `size` x `size` low-resolution pixels of `photos`, which are shrunk here, once.
    ///
    /// # Errors
    /// [`Error::Invalid`] without a photograph, or with one that is smaller than a patch.
    pub fn new(photos: &[Photo], scale: usize, size: usize) -> Result<Patches> {
        use rayon::prelude::*;
        start_threads();
        let pairs: Vec<SrPair> = photos
            .par_iter()
            .map(|photo| SrPair::new(photo, scale))
            .collect::<Result<_>>()?;
        let small = pairs.iter().find(|p| p.low.height.min(p.low.width) < size);
        if let Some(small) = small {
            return Err(Error::invalid(
                format!("patches of {size}x{size}"),
                format!("a shrunk photograph is smaller: {:?}", small.low),
            ));
        }
        if pairs.is_empty() || size == 0 {
            return Err(Error::invalid(
                "patches",
                "they need at least one photograph and a size above 0",
            ));
        }
        Ok(Patches { pairs, size, scale })
    }

    /// Side of a low-resolution patch.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many times larger a high-resolution patch is.
    pub fn scale(&self) -> usize {
        self.scale
    }

    /// `count` patches, each flipped and transposed with probability 1/2; flat ones are drawn again.
    pub fn draw(&self, count: usize, rng: &mut Rng) -> PatchBatch {
        let (mut low, mut high) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (mut pair, mut top, mut left) = self.place(rng);
            for _ in 1..TRIES {
                if deviation(&pair.low, top, left, self.size) >= FLAT {
                    break;
                }
                (pair, top, left) = self.place(rng);
            }
            let turn = Turn([(); 3].map(|()| rng.random()));
            turn.cut(&pair.low, top, left, self.size, &mut low);
            let s = self.scale;
            turn.cut(&pair.high, s * top, s * left, s * self.size, &mut high);
        }
        PatchBatch { low, high }
    }

    fn place(&self, rng: &mut Rng) -> (&SrPair, usize, usize) {
        let pair = &self.pairs[rng.random_range(0..self.pairs.len())];
        let top = rng.random_range(0..=pair.low.height - self.size);
        let left = rng.random_range(0..=pair.low.width - self.size);
        (pair, top, left)
    }
}

/// Flip left and right, flip top and bottom, transpose.
#[derive(Clone, Copy)]
struct Turn([bool; 3]);

impl Turn {
    fn cut(self, photo: &Photo, top: usize, left: usize, size: usize, out: &mut Vec<f32>) {
        let Turn([mirror, upside_down, transpose]) = self;
        for i in 0..size {
            for j in 0..size {
                let (r, c) = if transpose { (j, i) } else { (i, j) };
                let r = if upside_down { size - 1 - r } else { r };
                let c = if mirror { size - 1 - c } else { c };
                let at = ((top + r) * photo.width + left + c) * 3;
                out.extend(photo.rgb[at..at + 3].iter().map(|&b| f32::from(b)));
            }
        }
    }
}

/// Standard deviation of the green channel, which is most of the luminance.
fn deviation(photo: &Photo, top: usize, left: usize, size: usize) -> f32 {
    let (mut sum, mut squares) = (0.0, 0.0);
    for r in top..top + size {
        let row = &photo.rgb[(r * photo.width + left) * 3..][..3 * size];
        for pixel in row.chunks_exact(3) {
            let v = f32::from(pixel[1]);
            sum += v;
            squares += v * v;
        }
    }
    let n = (size * size) as f32;
    (squares / n - (sum / n) * (sum / n)).max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    fn photo(seed: u64) -> Photo {
        let mut rng = rng(seed);
        Photo {
            name: "noise".into(),
            height: 24,
            width: 20,
            rgb: (0..24 * 20 * 3).map(|_| rng.random()).collect(),
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_patches_and_another_does_not() {
        let patches = Patches::new(&[photo(1), photo(2)], 2, 6).unwrap();
        let draw = |seed| patches.draw(5, &mut rng(seed));
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        assert_eq!(draw(3).low.len(), 5 * 36 * 3);
        assert_eq!(draw(3).high.len(), 5 * 144 * 3);
    }

    #[test]
    fn low_and_high_patches_show_the_same_place_turned_the_same_way() {
        // A large square of one colour per 2x2 pixels: shrinking keeps the mean of each patch about the same.
        let mut smooth = photo(0);
        for (i, b) in smooth.rgb.iter_mut().enumerate() {
            let (row, column) = (i / 3 / 20, i / 3 % 20);
            *b = (4 * row + 6 * column) as u8;
        }
        let patches = Patches::new(&[smooth], 2, 4).unwrap();
        let batch = patches.draw(20, &mut rng(1));
        let corner = |v: &[f32], side: usize, n: usize| v[n * side * side * 3];
        for n in 0..20 {
            let (low, high) = (corner(&batch.low, 4, n), corner(&batch.high, 8, n));
            assert!((low - high).abs() <= 9.0, "{low} beside {high}");
        }
    }

    #[test]
    fn patches_larger_than_a_photograph_are_refused() {
        let error = Patches::new(&[photo(1)], 2, 11).err().unwrap().to_string();
        assert!(
            error.contains("11x11") && error.contains("12 x 10"),
            "{error}"
        );
        assert!(Patches::new(&[], 2, 4).is_err());
    }
}
