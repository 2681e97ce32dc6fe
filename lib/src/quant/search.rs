//! Ranges that are searched for in a histogram, on the affine grid.

use super::histogram::Histogram;
use super::{Bounds, Range};
use crate::error::{Error, Result};
use crate::ops::affine_quant::AffineGrid;

/// Shares of the whole range that are tried.
const CANDIDATES: u32 = 128;

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
            let loss: &dyn Fn(AffineGrid) -> f64 = match range {
                Range::Mse => &|grid| squares(&bins, grid),
                _ => &|grid| divergence(&bins, grid),
            };
            least(whole, *bits, loss)
        }
        _ => Ok(all),
    }
}

/// The share of `all`, which holds 0, with the least squared error of these values.
pub(super) fn least_squares(all: Bounds, bits: u32, values: &[f32]) -> Result<Bounds> {
    if all.width() == 0.0 {
        return Ok(all);
    }
    least(all, bits, &|grid| {
        let square = |x: &f32| f64::from(grid.quantise(*x) - x).powi(2);
        values.iter().map(square).sum()
    })
}

/// The share of `all` with the least loss; the widest of equal ones.
fn least(all: Bounds, bits: u32, loss: &dyn Fn(AffineGrid) -> f64) -> Result<Bounds> {
    let mut best = (f64::INFINITY, all);
    for step in (1..=CANDIDATES).rev() {
        let share = step as f32 / CANDIDATES as f32;
        let bounds = Bounds::new(share * all.lower, share * all.upper);
        if bounds.check().is_err() {
            break;
        }
        let found = loss(AffineGrid::new(bounds, bits)?);
        if found < best.0 {
            best = (found, bounds);
        }
    }
    Ok(best.1)
}

/// Summed squared error of the bins' middles.
fn squares(bins: &[(f64, u64)], grid: AffineGrid) -> f64 {
    let square =
        |(x, n): &(f64, u64)| *n as f64 * (f64::from(grid.quantise(*x as f32)) - x).powi(2);
    bins.iter().map(square).sum()
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
        assert!((squares(&bins, grid(0.0, 1.0, 1)) - (2.0 * 0.0625 + 4.0)).abs() < 1e-9);
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
        assert_eq!(squares(&bins, grid(0.0, 3.0, 2)), 0.0);
        assert!(divergence(&bins, grid(0.0, 3.0, 2)).abs() < 1e-12);
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
