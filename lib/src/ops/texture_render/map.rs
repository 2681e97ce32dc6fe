//! Which texels each pixel of an image reads, with which weights: a sparse matrix and its transpose.

use std::sync::Arc;

use crate::error::{Error, Result};

/// The most texels that a pixel reads.
pub const MOST: usize = 4;

/// A sparse matrix from the texels of a square texture to the pixels of an image.
///
/// It is made once and shared: a copy is another handle. Beside the matrix it keeps its transpose, sorted by texel and,
/// within a texel, by pixel, so that a gradient is a sum in a fixed order.
///
/// ```
/// use rebit::ops::texture_render::TexelMap;
/// // An image of two pixels: the first shows texel 3 of a 2x2 texture, the second none.
/// let map = TexelMap::new((1, 2), 2, &[vec![(3, 1.0)], vec![]])?;
/// assert_eq!(map.mask(), [true, false]);
/// assert_eq!(map.seen(), [false, false, false, true]);
/// # Ok::<(), rebit::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct TexelMap {
    inner: Arc<Inner>,
}

#[derive(PartialEq)]
struct Inner {
    image: (usize, usize),
    side: usize,
    by_pixel: Lists,
    by_texel: Lists,
}

/// A sparse matrix row by row: row `r` holds the entries `start[r]` to before `start[r + 1]`.
#[derive(PartialEq)]
pub(crate) struct Lists {
    pub start: Vec<u32>,
    pub index: Vec<u32>,
    pub weight: Vec<f32>,
}

impl Lists {
    /// The entries of a row.
    #[inline(always)]
    pub fn row(&self, r: usize) -> impl Iterator<Item = (usize, f32)> {
        let range = self.start[r] as usize..self.start[r + 1] as usize;
        let pairs = self.index[range.clone()].iter().zip(&self.weight[range]);
        pairs.map(|(&i, &w)| (i as usize, w))
    }

    /// The transpose, of `columns` rows.
    fn turned(&self, columns: usize) -> Lists {
        let mut start = vec![0u32; columns + 1];
        for &column in &self.index {
            start[column as usize + 1] += 1;
        }
        for k in 0..columns {
            start[k + 1] += start[k];
        }
        let mut next = start.clone();
        let mut index = vec![0; self.index.len()];
        let mut weight = vec![0.0; self.index.len()];
        for row in 0..self.start.len() - 1 {
            for (column, w) in self.row(row) {
                let at = next[column] as usize;
                (index[at], weight[at]) = (row as u32, w);
                next[column] += 1;
            }
        }
        Lists {
            start,
            index,
            weight,
        }
    }
}

impl TexelMap {
    /// A map for images of `(height, width)` pixels and textures of `side` x `side` texels: for each pixel, row by row,
    /// the texels that it reads and their weights, none where the body is not seen. Weights of 0 are left out.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is a list for each pixel, [`Error::Invalid`] for an image without pixels, a side that
    /// is not 1 to 255, a texel that the texture does not have, more than four texels in a pixel, and a weight that is not
    /// finite.
    pub fn new(image: (usize, usize), side: usize, reads: &[Vec<(u16, f32)>]) -> Result<Self> {
        let (height, width) = image;
        let pixels = height.checked_mul(width).unwrap_or(0);
        if pixels == 0 || pixels > (u32::MAX / 4) as usize {
            let what = format!("a texel map of {height}x{width} pixels");
            return Err(Error::invalid(what, "needs at least one, and at most 2^30"));
        }
        if !(1..=255).contains(&side) {
            let what = format!("a texel map for a texture of {side}x{side}");
            return Err(Error::invalid(what, "a side has 1 to 255 texels"));
        }
        if reads.len() != pixels {
            let expected = format!("texels of {pixels} pixels, {height}x{width}");
            return Err(Error::shape("texel map", expected, reads.len()));
        }
        let mut lists = Lists {
            start: vec![0],
            index: Vec::new(),
            weight: Vec::new(),
        };
        for (pixel, texels) in reads.iter().enumerate() {
            let refuse = |what: String, why: String| {
                let place = format!("row {}, column {}", pixel / width, pixel % width);
                Err(Error::invalid(format!("texel map, {place}: {what}"), why))
            };
            if texels.len() > MOST {
                return refuse(
                    format!("{} texels", texels.len()),
                    format!("at most {MOST}"),
                );
            }
            for &(texel, weight) in texels {
                if texel as usize >= side * side {
                    let why = format!("a texture of {side}x{side} has {} texels", side * side);
                    return refuse(format!("texel {texel}"), why);
                }
                if !weight.is_finite() {
                    return refuse(format!("weight {weight}"), "must be finite".into());
                }
                if weight != 0.0 {
                    lists.index.push(texel.into());
                    lists.weight.push(weight);
                }
            }
            lists.start.push(lists.index.len() as u32);
        }
        let by_texel = lists.turned(side * side);
        let inner = Arc::new(Inner {
            image,
            side,
            by_pixel: lists,
            by_texel,
        });
        Ok(TexelMap { inner })
    }

    /// Height and width of the image.
    pub fn image(&self) -> (usize, usize) {
        self.inner.image
    }

    /// Texels along a side of the texture.
    pub fn side(&self) -> usize {
        self.inner.side
    }

    /// Pixels of the image.
    pub fn pixels(&self) -> usize {
        self.inner.image.0 * self.inner.image.1
    }

    /// Texels of the texture.
    pub fn texels(&self) -> usize {
        self.inner.side * self.inner.side
    }

    /// Where the body is seen, pixel by pixel.
    pub fn mask(&self) -> Vec<bool> {
        filled(&self.inner.by_pixel)
    }

    /// Which texels some pixel reads.
    pub fn seen(&self) -> Vec<bool> {
        filled(&self.inner.by_texel)
    }

    /// What a pixel reads: texels and weights.
    ///
    /// # Panics
    /// When there is no such pixel.
    pub fn reads(&self, pixel: usize) -> Vec<(u16, f32)> {
        let row = self.inner.by_pixel.row(pixel);
        row.map(|(texel, weight)| (texel as u16, weight)).collect()
    }

    /// Which pixels read a texel, and with which weights: a row of the transpose.
    ///
    /// # Panics
    /// When there is no such texel.
    pub fn read_by(&self, texel: usize) -> Vec<(usize, f32)> {
        self.inner.by_texel.row(texel).collect()
    }

    /// The matrix.
    pub(crate) fn by_pixel(&self) -> &Lists {
        &self.inner.by_pixel
    }

    /// Its transpose.
    pub(crate) fn by_texel(&self) -> &Lists {
        &self.inner.by_texel
    }
}

fn filled(lists: &Lists) -> Vec<bool> {
    lists.start.windows(2).map(|w| w[0] < w[1]).collect()
}

impl std::fmt::Debug for TexelMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (height, width) = self.image();
        let (side, seen) = (self.side(), self.mask().iter().filter(|m| **m).count());
        write!(
            f,
            "TexelMap {height}x{width} of a {side}x{side} texture, {seen} pixels seen"
        )
    }
}
