//! Walking a channels-last buffer by blocks of channels, whose per-channel values then stay in registers.

/// Work on `W` neighbouring channels of all rows.
pub(crate) trait ColumnPass {
    fn block<const W: usize>(&mut self, first: usize);
}

/// Runs the pass over all channels: in blocks of 16 (one AVX-512 register), then 4, then 1.
#[inline(always)]
pub(crate) fn for_columns(channels: usize, pass: &mut impl ColumnPass) {
    let mut first = 0;
    while first + 16 <= channels {
        pass.block::<16>(first);
        first += 16;
    }
    while first + 4 <= channels {
        pass.block::<4>(first);
        first += 4;
    }
    while first < channels {
        pass.block::<1>(first);
        first += 1;
    }
}

/// `W` values of a row from channel `first` on.
#[inline(always)]
pub(crate) fn at<const W: usize>(row: &[f32], first: usize) -> &[f32; W] {
    row[first..]
        .first_chunk()
        .expect("a block lies inside its row")
}

/// `W` values of a row from channel `first` on, to be written.
#[inline(always)]
pub(crate) fn at_mut<const W: usize>(row: &mut [f32], first: usize) -> &mut [f32; W] {
    row[first..]
        .first_chunk_mut()
        .expect("a block lies inside its row")
}

/// Sum over rows of `term(value, channel inside the block)`, by four interleaved accumulators.
#[inline(always)]
pub(crate) fn sum_rows<const W: usize>(
    rows: &[f32],
    channels: usize,
    first: usize,
    term: impl Fn(f32, usize) -> f32,
) -> [f32; W] {
    let mut sums = [[0.0; W]; 4];
    let mut quads = rows.chunks_exact(4 * channels);
    for quad in &mut quads {
        for (k, sum) in sums.iter_mut().enumerate() {
            let row: &[f32; W] = at(&quad[k * channels..], first);
            for i in 0..W {
                sum[i] += term(row[i], i);
            }
        }
    }
    for row in quads.remainder().chunks_exact(channels) {
        let row: &[f32; W] = at(row, first);
        for i in 0..W {
            sums[0][i] += term(row[i], i);
        }
    }
    let [a, b, c, d] = sums;
    std::array::from_fn(|i| (a[i] + b[i]) + (c[i] + d[i]))
}
