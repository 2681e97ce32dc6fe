//! Rendering on the CPU in the order of tensors: a map's entry is read once for three planes.

use rayon::prelude::*;

use super::Lists;

/// Rows of a matrix that a thread takes at once.
const ROWS: usize = 2048;

/// `y = lists x`, or added to it, for the rows from `first` on of `C` planes.
fn product<const C: usize>(
    lists: &Lists,
    first: usize,
    x: [&[f32]; C],
    y: [&mut [f32]; C],
    add: bool,
) {
    // All planes have one length, and a check of an index is one for all of them.
    let (columns, rows) = (x[0].len(), y[0].len());
    let (x, y) = (x.map(|x| &x[..columns]), y.map(|y| &mut y[..rows]));
    let starts = &lists.start[first..][..rows + 1];
    let (indices, weights) = (&lists.index[..], &lists.weight[..lists.index.len()]);
    let mut entry = starts[0] as usize;
    for k in 0..rows {
        let mut sum = [0.0; C];
        if add {
            (0..C).for_each(|c| sum[c] = y[c][k]);
        }
        let end = starts[k + 1] as usize;
        while entry < end {
            let (index, weight) = (indices[entry] as usize, weights[entry]);
            (0..C).for_each(|c| sum[c] += weight * x[c][index]);
            entry += 1;
        }
        for c in 0..C {
            y[c][k] = sum[c];
        }
    }
}

/// `C` planes in pieces of some rows each, those of the same rows together.
fn pieces<const C: usize>(y: &mut [f32], rows: usize) -> Vec<[&mut [f32]; C]> {
    let mut planes = y.chunks_exact_mut(rows);
    let mut planes: [_; C] =
        std::array::from_fn(|_| planes.next().unwrap_or_default().chunks_mut(ROWS));
    (0..rows.div_ceil(ROWS))
        .map(|_| planes.each_mut().map(|p| p.next().unwrap_or_default()))
        .collect()
}

/// `y[i] = lists(i) x[i]` for matrices of `rows` x `columns`, plane by plane.
pub(super) fn products<'a>(
    lists: impl Fn(usize) -> &'a Lists + Sync,
    (rows, columns, channels): (usize, usize, usize),
    x: &[f32],
    y: &mut [f32],
    add: bool,
) {
    match channels {
        0 => {}
        3 => some::<3>(lists, (rows, columns), x, y, add),
        _ => some::<1>(|i| lists(i / channels), (rows, columns), x, y, add),
    }
}

fn some<'a, const C: usize>(
    lists: impl Fn(usize) -> &'a Lists + Sync,
    (rows, columns): (usize, usize),
    x: &[f32],
    y: &mut [f32],
    add: bool,
) {
    if y.is_empty() {
        return;
    }
    y.par_chunks_mut(rows * C)
        .zip(x.par_chunks(columns * C))
        .enumerate()
        .for_each(|(i, (y, x))| {
            let (lists, x) = (
                lists(i),
                std::array::from_fn(|c| &x[c * columns..][..columns]),
            );
            pieces::<C>(y, rows)
                .into_par_iter()
                .enumerate()
                .for_each(|(part, y)| product(lists, part * ROWS, x, y, add));
        });
}
