//! From the order of tensors, `(N, C, H, W)`, to the order of kernels, `(N, H, W, C)`, and back.

use rayon::prelude::*;

use crate::ops::parallel::wide;

/// Side of the square that is turned over at once: both its faces stay in the first-level cache.
const TILE: usize = 32;

/// `y[c, r] = x[r, c]` of a matrix with `columns` columns.
#[inline(always)]
fn transpose(x: &[f32], columns: usize, y: &mut [f32]) {
    let rows = x.len() / columns;
    for top in (0..rows).step_by(TILE) {
        for left in (0..columns).step_by(TILE) {
            for c in left..(left + TILE).min(columns) {
                for r in top..(top + TILE).min(rows) {
                    y[c * rows + r] = x[r * columns + c];
                }
            }
        }
    }
}

/// Turns every image of `x`, a matrix of `rows x columns`, over into `y`.
fn transpose_images(rows: usize, columns: usize, x: &[f32], y: &mut [f32]) {
    assert_eq!(
        x.len(),
        y.len(),
        "a change of order keeps the number of values"
    );
    if x.is_empty() {
        return;
    }
    y.par_chunks_mut(rows * columns)
        .zip(x.par_chunks(rows * columns))
        .for_each(|(y, x)| wide(move || transpose(x, columns, y)));
}

/// `(N, C, H, W)` to `(N, H, W, C)`; `pixels = H W`.
pub(crate) fn to_channels_last(channels: usize, pixels: usize, x: &[f32], y: &mut [f32]) {
    transpose_images(channels, pixels, x, y);
}

/// `(N, H, W, C)` to `(N, C, H, W)`; `pixels = H W`.
pub(crate) fn to_channels_first(channels: usize, pixels: usize, x: &[f32], y: &mut [f32]) {
    transpose_images(pixels, channels, x, y);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_become_neighbours_and_come_apart_again() {
        // Two images, three channels, two pixels: the value says image, channel, pixel.
        let first = [
            0., 1., 10., 11., 20., 21., 100., 101., 110., 111., 120., 121.,
        ];
        let mut last = [0.0; 12];
        to_channels_last(3, 2, &first, &mut last);
        assert_eq!(
            last,
            [
                0., 10., 20., 1., 11., 21., 100., 110., 120., 101., 111., 121.
            ]
        );
        let mut back = [0.0; 12];
        to_channels_first(3, 2, &last, &mut back);
        assert_eq!(back, first);
    }

    #[test]
    fn sizes_that_are_no_multiple_of_the_tile_survive_the_round_trip() {
        let first: Vec<f32> = (0..2 * 45 * 33).map(|i| i as f32).collect();
        let (mut last, mut back) = (vec![0.0; first.len()], vec![0.0; first.len()]);
        to_channels_last(45, 33, &first, &mut last);
        assert_eq!(last[45 * 33 + 45 + 2], first[45 * 33 + 2 * 33 + 1]);
        to_channels_first(45, 33, &last, &mut back);
        assert_eq!(back, first);
    }
}
