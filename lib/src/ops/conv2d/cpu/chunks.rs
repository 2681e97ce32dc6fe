//! How the sum over all pixels is cut: into bands of rows, and these into chunks that are summed on their own.

use pulp::Simd;
use rayon::prelude::*;

use super::plan::Plan;

/// Pixels that a chunk should at least have, so that adding the chunks stays cheap.
const CHUNK_PIXELS: usize = 1024;
/// Most chunks.
const CHUNKS: usize = 32;
/// Most floats of all chunks' sums.
const SUM_FLOATS: usize = 8 << 20;

/// The bands and chunks of one gradient, by its shape alone: results do not depend on the number of threads.
#[derive(Clone, Copy)]
pub(crate) struct Chunks {
    height: usize,
    pub band_rows: usize,
    bands_per_image: usize,
    bands: usize,
    pub count: usize,
}

impl Chunks {
    /// The chunks for so many floats of sums each.
    pub fn new(plan: &Plan, sum_len: usize) -> Self {
        let height = plan.out.0;
        let band_rows = plan.band_rows();
        let bands_per_image = height.div_ceil(band_rows);
        let bands = plan.batch * bands_per_image;
        let pixels = plan.batch * height * plan.out.1;
        let count = (pixels / CHUNK_PIXELS)
            .min(CHUNKS)
            .min(SUM_FLOATS / sum_len)
            .max(4)
            .min(bands);
        Chunks {
            height,
            band_rows,
            bands_per_image,
            bands,
            count,
        }
    }

    /// The bands of a chunk, in the order in which they are summed.
    pub fn bands_of(&self, chunk: usize) -> std::ops::Range<usize> {
        chunk * self.bands / self.count..(chunk + 1) * self.bands / self.count
    }

    pub fn band(&self, index: usize) -> Band {
        let from = index % self.bands_per_image * self.band_rows;
        Band {
            image: index / self.bands_per_image,
            from,
            rows: self.band_rows.min(self.height - from),
        }
    }
}

/// Destination rows `from..from + rows` of one image.
#[derive(Clone, Copy)]
pub(crate) struct Band {
    pub image: usize,
    pub from: usize,
    pub rows: usize,
}

/// `sum[c] += sum over the pixels of dy[pixel][c]`.
pub(crate) fn add_pixels<S: Simd>(simd: S, dy: &[f32], sum: &mut [f32]) {
    simd.vectorize(
        #[inline(always)]
        || {
            for pixel in dy.chunks_exact(sum.len()) {
                for (s, &g) in sum.iter_mut().zip(pixel) {
                    *s += g;
                }
            }
        },
    );
}

/// Adds all chunks to the first, in order.
pub(crate) fn add_chunks<S: Simd>(simd: S, memory: &mut [f32], len: usize) {
    const PART: usize = 4096;
    let (first, rest) = memory.split_at_mut(len);
    first
        .par_chunks_mut(PART)
        .enumerate()
        .for_each(|(k, part)| {
            simd.vectorize(
                #[inline(always)]
                || {
                    for other in rest.chunks_exact(len) {
                        for (a, &b) in part.iter_mut().zip(&other[k * PART..]) {
                            *a += b;
                        }
                    }
                },
            );
        });
}
