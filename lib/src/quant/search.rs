//! Ranges that are searched for in a histogram, on the affine grid.

use super::histogram::Histogram;
use super::{Bounds, Range};
use crate::error::{Error, Result};
use crate::ops::affine_quant::AffineGrid;
use crate::ops::parallel::wide;

/// Shares of the whole range that are tried.
const CANDIDATES: u32 = 128;
/// Grids that are tried side by side, one in each lane.
const LANES: usize = 16;

/// Bounds of what was counted, for a range that needs the counts.
pub(super) fn bounds(range: Range, counted: Option<&(Histogram, u32)>) -> Result<Bounds> {
    let Some((seen, bits)) = counted.filter(|(seen, _)| seen.count() > 0) else {
        return Err(Error::invalid(
            "bounds of no values",
            "observe at least one batch first",
        ));
    };
    let all = Bounds::new(seen.smallest(), seen.largest());
    let whole = all.with_zero();
    match range {
        Range::Percentile(p) => {
            let p = f64::from(p);
            Ok(Bounds::new(seen.quantile(1.0 - p), seen.quantile(p)))
        }
        // Levels are searched for with 0 among them: padding and rectified values need it.
        Range::Mse | Range::Kl if whole.width() > 0.0 => {
            let bins = seen.bins();
            least(whole, *bits, |grids| match range {
                Range::Mse => sums(grids, &bins, square_of_bin),
                _ => grids.iter().map(|grid| divergence(&bins, *grid)).collect(),
            })
        }
        _ => Ok(all),
    }
}

/// The share of `all`, which holds 0, with the least squared error of these values.
pub(super) fn least_squares(all: Bounds, bits: u32, values: &[f32]) -> Result<Bounds> {
    if all.width() == 0.0 {
        return Ok(all);
    }
    least(all, bits, |grids| {
        sums(grids, values, |grid, x| {
            f64::from(grid.quantise(x) - x).powi(2)
        })
    })
}

/// The share of `all` with the least loss of its grid; the widest of equal ones.
fn least(all: Bounds, bits: u32, losses: impl FnOnce(&[AffineGrid]) -> Vec<f64>) -> Result<Bounds> {
    let (mut shares, mut grids) = (Vec::new(), Vec::new());
    for step in (1..=CANDIDATES).rev() {
        let share = step as f32 / CANDIDATES as f32;
        let bounds = Bounds::new(share * all.lower, share * all.upper);
        if bounds.check().is_err() {
            break;
        }
        grids.push(AffineGrid::new(bounds, bits)?);
        shares.push(bounds);
    }
    let mut best = (f64::INFINITY, all);
    for (loss, bounds) in losses(&grids).into_iter().zip(shares) {
        if loss < best.0 {
            best = (loss, bounds);
        }
    }
    Ok(best.1)
}

/// For each grid of as many levels, the sum of an error over what was seen, in that order.
fn sums<T: Copy>(
    grids: &[AffineGrid],
    seen: &[T],
    error: impl Fn(AffineGrid, T) -> f64 + Copy,
) -> Vec<f64> {
    let mut all = Vec::with_capacity(grids.len());
    for some in grids.chunks(LANES) {
        let mut lanes = [some[0]; LANES];
        lanes[..some.len()].copy_from_slice(some);
        let (scale, zero) = (lanes.map(|g| g.scale), lanes.map(|g| g.zero));
        let (lowest, highest) = (some[0].lowest, some[0].highest);
        let mut sums = [0.0; LANES];
        wide(
            #[inline(always)]
            || {
                for &x in seen {
                    for (lane, sum) in sums.iter_mut().enumerate() {
                        let (scale, zero) = (scale[lane], zero[lane]);
                        let grid = AffineGrid {
                            scale,
                            zero,
                            lowest,
                            highest,
                        };
                        *sum += error(grid, x);
                    }
                }
            },
        );
        all.extend_from_slice(&sums[..some.len()]);
    }
    all
}

/// Squared error of a bin's middle, for as many values as it holds.
#[inline(always)]
fn square_of_bin(grid: AffineGrid, (x, n): (f64, u64)) -> f64 {
    n as f64 * (f64::from(grid.quantise(x as f32)) - x).powi(2)
}

/// Kullback-Leibler divergence of the clipped values to what the levels keep of them. Values beyond the grid count as
/// its outermost bins; the levels have never seen them.
fn divergence(bins: &[(f64, u64)], grid: AffineGrid) -> f64 {
    // Half a step beyond the outermost levels still rounds to them.
    let (low, high) = (grid.lowest - 0.5, grid.highest + 0.5);
    let place = |x: f64| f64::from(grid.scale) * x - f64::from(grid.zero);
    let inside: Vec<&(f64, u64)> = bins
        .iter()
        .filter(|(x, _)| (f64::from(low)..=f64::from(high)).contains(&place(*x)))
        .collect();
    let (Some(first), Some(last)) = (inside.first(), inside.last()) else {
        return f64::INFINITY;
    };
    let beyond = |keep: &dyn Fn(f64) -> bool| -> f64 {
        bins.iter()
            .filter(|(x, _)| keep(*x))
            .map(|(_, n)| *n as f64)
            .sum()
    };
    let (below, above) = (beyond(&|x| x < first.0), beyond(&|x| x > last.0));
    let total: f64 = bins.iter().map(|(_, n)| *n as f64).sum();
    let kept = total - below - above;
    let mut sum = 0.0;
    let mut at = 0;
    while at < inside.len() {
        let level = grid.level(inside[at].0 as f32);
        let end = inside[at..]
            .iter()
            .position(|(x, _)| grid.level(*x as f32) != level);
        let end = end.map_or(inside.len(), |n| at + n);
        let mass: f64 = inside[at..end].iter().map(|(_, n)| *n as f64).sum();
        let q = mass / (end - at) as f64 / kept;
        for (i, (_, n)) in (at..end).zip(&inside[at..end]) {
            let outliers = f64::from(u8::from(i == 0)) * below
                + f64::from(u8::from(i + 1 == inside.len())) * above;
            let p = (*n as f64 + outliers) / total;
            sum += p * (p / q).ln();
        }
        at = end;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(lower: f32, upper: f32, bits: u32) -> AffineGrid {
        AffineGrid::new(Bounds::new(lower, upper), bits).unwrap()
    }

    #[test]
    fn literal_squares_and_divergence() {
        // One bit over [0, 1]: levels 0 and 1; 0.25 rounds to 0, 3 is clipped to 1.
        let bins = [(0.0, 4), (0.25, 2), (1.0, 1), (3.0, 1)];
        let squares = sums(&[grid(0.0, 1.0, 1)], &bins, square_of_bin);
        assert!((squares[0] - (2.0 * 0.0625 + 4.0)).abs() < 1e-9);
        // Inside: 4 and 2 share level 0, so that each keeps 3 of 7; the outlier joins the last bin, 2 of 8.
        let p = [4.0 / 8.0, 2.0 / 8.0, 2.0 / 8.0];
        let q = [3.0 / 7.0, 3.0 / 7.0, 1.0 / 7.0];
        let expected: f64 = p
            .iter()
            .zip(q)
            .map(|(p, q): (&f64, f64)| p * (p / q).ln())
            .sum();
        assert!((divergence(&bins, grid(0.0, 1.0, 1)) - expected).abs() < 1e-12);
    }

    #[test]
    fn a_level_for_each_value_loses_nothing() {
        let bins = [(0.0, 9), (1.0, 3), (2.0, 5), (3.0, 1)];
        assert_eq!(sums(&[grid(0.0, 3.0, 2)], &bins, square_of_bin), [0.0]);
        assert!(divergence(&bins, grid(0.0, 3.0, 2)).abs() < 1e-12);
    }

    #[test]
    fn grids_side_by_side_sum_as_each_alone() {
        let values: Vec<f32> = (0..500).map(|i| ((i * i) as f32).sin()).collect();
        let grids: Vec<AffineGrid> = (1..=2 * LANES + 5)
            .map(|i| grid(-0.03 * i as f32, 0.05 * i as f32, 3))
            .collect();
        let square = |grid: AffineGrid, x: f32| f64::from(grid.quantise(x) - x).powi(2);
        let alone = |grid: &AffineGrid| values.iter().map(|x| square(*grid, *x)).sum::<f64>();
        let expected: Vec<f64> = grids.iter().map(alone).collect();
        // The same order in each lane: the same bits.
        assert_eq!(sums(&grids, &values, square), expected);
        assert!(sums(&[], &values, square).is_empty());
    }

    #[test]
    fn a_lone_outlier_is_cut_off() {
        let mut seen = Histogram::default();
        let values: Vec<f32> = (0..4000)
            .map(|i| ((i * 37 % 4000) as f32 / 4000.0).powi(2))
            .collect();
        seen.add(&values).unwrap();
        seen.add(&[8.0]).unwrap();
        for range in [Range::Mse, Range::Kl] {
            let found = bounds(range, Some(&(seen.clone(), 3))).unwrap();
            assert!(
                found.upper > 0.5 && found.upper < 4.0,
                "{range:?}: {found:?}"
            );
        }
        assert!(bounds(Range::Kl, Some(&(Histogram::default(), 3))).is_err());
    }
}
