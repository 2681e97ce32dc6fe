//! Bounds read off data: the first guess of a trainable quantiser, the whole answer of a fixed one.

use crate::error::{Error, Result};
use crate::quant::{Bounds, FakeQuant};

/// How bounds follow from values. `s` is the unbiased standard deviation.
///
/// | | lower | upper | source |
/// |---|---|---|---|
/// | `MinMax` | smallest | largest | |
/// | `LtsWeight` | `-3 s` | `3 s` | arXiv:2211.08544, authors' code |
/// | `LtsActivation` | smallest | `3 s / sqrt(1 - 2/pi)` | the same |
/// | `MaxAbs` | `-` the other | largest magnitude | PAMS, arXiv:2011.04212 |
/// | `MeanMaxAbs` | `-` the other | mean over what was observed at a time of the largest magnitude | the same |
/// | `Constant(c)` | `-c` | `c` | |
/// | `Percentile(p)` | quantile `1 - p` | quantile `p` | |
/// | `Mse` | `a` times the smallest | `a` times the largest | `0 < a <= 1` with the least squared error |
///
/// `Mse` tries a hundred `a` and needs the bits of the quantiser: those of the slot it stands in, or [`Range::bounds_for`].
/// Its error is that of evenly spaced levels from bound to bound.
///
/// Where the upper bound of `LtsActivation` does not lie above the smallest value (a narrow distribution far from 0,
/// as behind the pooling of an untrained network), it is the largest value: the authors' rule would cross its bounds.
///
/// The factor `1 / sqrt(1 - 2/pi)` turns the deviation of a half-normal variable (a rectified one) into that
/// of the normal variable behind it; the upper bound is then `4.977 s`. Quantiles lie on straight lines
/// between the sorted values.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Range {
    /// Everything seen.
    MinMax,
    /// The largest magnitude on either side of 0.
    MaxAbs,
    /// The mean of the largest magnitudes of what is observed at a time: of samples, when each is observed alone.
    MeanMaxAbs,
    /// The same bound on either side of 0, whatever the values.
    Constant(f32),
    /// Three standard deviations around 0.
    LtsWeight,
    /// Three standard deviations of the normal variable behind a rectified one.
    LtsActivation,
    /// All but a share `1 - p` of outliers on either side, `0.5 < p <= 1`.
    Percentile(f32),
    /// What loses least when it is quantised.
    Mse,
}

/// Where the range of a quantiser comes from while a network runs.
///
/// A [`Range`] alone is read off the first training batch (or [`crate::nn::Net::calibrate`]) and then stays.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RangeFrom {
    /// How bounds follow from values.
    pub range: Range,
    /// When they do.
    pub update: RangeUpdate,
}

/// When a range follows from the values.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum RangeUpdate {
    /// Once; then it stays.
    Once,
    /// Once; then it is trained.
    Trained,
    /// In every pass anew.
    EachPass,
    /// In every training pass: `momentum` times the old range and the rest from the batch.
    Ema(f32),
}

impl RangeFrom {
    /// Whether a range can come from this.
    ///
    /// # Errors
    /// As [`Range::check`]; [`Error::Invalid`] for a momentum that is no share.
    pub fn check(self) -> Result<()> {
        self.range.check()?;
        match self.update {
            RangeUpdate::Ema(momentum) if !(0.0..1.0).contains(&momentum) => Err(Error::invalid(
                format!("a moving average of momentum {momentum}"),
                "is the share of the old range, from 0 to below 1",
            )),
            _ => Ok(()),
        }
    }
}

impl From<Range> for RangeFrom {
    fn from(range: Range) -> Self {
        RangeFrom {
            range,
            update: RangeUpdate::Once,
        }
    }
}

impl Range {
    /// Read once, then trained.
    pub fn trained(self) -> RangeFrom {
        RangeFrom {
            range: self,
            update: RangeUpdate::Trained,
        }
    }

    /// Read in every pass anew: the range of weights that follows them.
    pub fn each_pass(self) -> RangeFrom {
        RangeFrom {
            range: self,
            update: RangeUpdate::EachPass,
        }
    }

    /// A moving average over the training passes, `r = momentum r + (1 - momentum) batch`, that begins with the first
    /// batch's: the range of inputs that drift while a network trains.
    pub fn ema(self, momentum: f32) -> RangeFrom {
        RangeFrom {
            range: self,
            update: RangeUpdate::Ema(momentum),
        }
    }

    /// Whether the range can be read off anything.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a percentile outside `0.5 < p <= 1` and for a constant that is not positive and finite.
    pub fn check(self) -> Result<()> {
        match self {
            Range::Percentile(p) if !(p > 0.5 && p <= 1.0) => Err(Error::invalid(
                format!("percentile {p}"),
                "it is a share with 0.5 < p <= 1; 0.999 leaves out a thousandth on either side",
            )),
            Range::Constant(c) if !(c.is_finite() && c > 0.0) => Err(Error::invalid(
                format!("bounds of ±{c}"),
                "must be positive and finite",
            )),
            _ => Ok(()),
        }
    }

    /// Bounds of one tensor's values.
    ///
    /// # Errors
    /// [`Error::Invalid`] without values, for values that are not finite, for a percentile outside its range,
    /// and where [`Bounds::check`] refuses the result (all values alike, say).
    ///
    /// ```
    /// use rebit::quant::{Bounds, Range};
    /// let bounds = Range::MinMax.bounds(&[0.5, -1.0, 2.0])?;
    /// assert_eq!(bounds, Bounds::new(-1.0, 2.0));
    /// # Ok::<(), rebit::Error>(())
    /// ```
    pub fn bounds(self, values: &[f32]) -> Result<Bounds> {
        let mut observer = RangeObserver::new(self)?;
        observer.observe(values)?;
        observer.bounds()
    }

    /// [`bounds`](Self::bounds) for a quantiser of so many bits; values that are all alike have bounds too, of no width.
    ///
    /// # Errors
    /// [`Error::Invalid`] without values, for values that are not finite and for bits outside 1 to 16.
    ///
    /// ```
    /// use rebit::quant::Range;
    /// // One outlier among a thousand values: two bits are better spent on the others.
    /// let values: Vec<f32> = (0..1000).map(|i| if i == 0 { 5.0 } else { i as f32 / 1000.0 }).collect();
    /// assert!(Range::Mse.bounds_for(2, &values)?.upper < 2.0);
    /// # Ok::<(), rebit::Error>(())
    /// ```
    pub fn bounds_for(self, bits: u32, values: &[f32]) -> Result<Bounds> {
        let read = match self {
            Range::Mse => Range::MinMax,
            other => other,
        };
        let mut observer = RangeObserver::new(read)?;
        observer.observe(values)?;
        let found = observer.found()?;
        match self {
            Range::Mse if found.width() > 0.0 => search(found, bits, values),
            _ => Ok(found),
        }
    }
}

/// Candidates of a search.
const CANDIDATES: u32 = 100;

/// The share of `all` with the least squared error.
fn search(all: Bounds, bits: u32, values: &[f32]) -> Result<Bounds> {
    let mut best = (f64::INFINITY, all);
    for step in (1..=CANDIDATES).rev() {
        let share = step as f32 / CANDIDATES as f32;
        let bounds = Bounds::new(share * all.lower, share * all.upper);
        // So small that its width is no number: smaller ones are none either.
        let Ok(bounds) = bounds.check() else { break };
        let f = FakeQuant::dequantising(bounds, bits)?;
        let squares = values.iter().map(|x| f64::from(f.quantise(*x) - x).powi(2));
        let error = squares.sum::<f64>();
        if error < best.0 {
            best = (error, bounds);
        }
    }
    Ok(best.1)
}

/// Bounds from many batches.
///
/// Smallest, largest and deviation come out as if all batches were one; percentiles are the mean of the
/// batches' percentiles, weighted by their sizes, since exact ones would need all values at once.
#[derive(Clone, Debug)]
pub struct RangeObserver {
    range: Range,
    count: f64,
    smallest: f32,
    largest: f32,
    mean: f64,
    /// Summed squared deviation from `mean`.
    deviation: f64,
    quantiles: [f64; 2],
    /// Sum of the largest magnitudes, and how many there were.
    maxima: (f32, f32),
}

impl RangeObserver {
    /// An observer that has seen nothing.
    ///
    /// # Errors
    /// As [`Range::check`]; [`Error::Invalid`] for [`Range::Mse`], which needs bits and all values at once.
    pub fn new(range: Range) -> Result<Self> {
        range.check()?;
        if range == Range::Mse {
            return Err(Error::invalid(
                "Range::Mse",
                "needs the bits of a quantiser: take Range::bounds_for, or put it in a slot",
            ));
        }
        Ok(RangeObserver {
            range,
            count: 0.0,
            smallest: f32::INFINITY,
            largest: f32::NEG_INFINITY,
            mean: 0.0,
            deviation: 0.0,
            quantiles: [0.0; 2],
            maxima: (0.0, 0.0),
        })
    }

    /// Takes a batch in; an empty one changes nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] for values that are not finite; the observer is then as before.
    pub fn observe(&mut self, values: &[f32]) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        let broken = values.iter().filter(|v| !v.is_finite()).count();
        if broken > 0 {
            return Err(Error::invalid(
                format!(
                    "{broken} of {} observed values are not finite",
                    values.len()
                ),
                "no range covers them; look for a diverged layer or an unnormalised input",
            ));
        }
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| v as f64).sum::<f64>() / n;
        let squares: f64 = values.iter().map(|&v| (v as f64 - mean).powi(2)).sum();
        let total = self.count + n;
        let gap = mean - self.mean;
        self.mean += gap * n / total;
        self.deviation += squares + gap * gap * self.count * n / total;
        self.smallest = values.iter().copied().fold(self.smallest, f32::min);
        self.largest = values.iter().copied().fold(self.largest, f32::max);
        let largest = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        self.maxima = (self.maxima.0 + largest, self.maxima.1 + 1.0);
        if let Range::Percentile(p) = self.range {
            let mut sorted = values.to_vec();
            let quantiles = [1.0 - p as f64, p as f64].map(|p| quantile(&mut sorted, p));
            for (mean, new) in self.quantiles.iter_mut().zip(quantiles) {
                *mean += (new - *mean) * n / total;
            }
        }
        self.count = total;
        Ok(())
    }

    /// Bounds for what was seen so far.
    ///
    /// # Errors
    /// [`Error::Invalid`] before the first value, and where [`Bounds::check`] refuses the result.
    pub fn bounds(&self) -> Result<Bounds> {
        self.found()?.check()
    }

    /// [`bounds`](Self::bounds) that may have no width.
    fn found(&self) -> Result<Bounds> {
        if self.count == 0.0 {
            return Err(Error::invalid(
                "bounds of no values",
                "observe at least one batch first",
            ));
        }
        let std = (self.deviation / (self.count - 1.0).max(1.0)).sqrt() as f32;
        let half_normal = (1.0 - std::f32::consts::FRAC_2_PI).sqrt();
        let bounds = match self.range {
            Range::MinMax | Range::Mse => Bounds::new(self.smallest, self.largest),
            Range::MaxAbs => {
                let largest = self.largest.max(-self.smallest);
                Bounds::new(-largest, largest)
            }
            Range::MeanMaxAbs => {
                let mean = self.maxima.0 / self.maxima.1;
                Bounds::new(-mean, mean)
            }
            Range::Constant(c) => Bounds::new(-c, c),
            Range::LtsWeight => Bounds::new(-3.0 * std, 3.0 * std),
            Range::LtsActivation => {
                let upper = 3.0 * std / half_normal;
                // The rule takes the values for rectified ones that begin at 0; far from 0 it would cross.
                let upper = if upper > self.smallest {
                    upper
                } else {
                    self.largest
                };
                Bounds::new(self.smallest, upper)
            }
            Range::Percentile(_) => Bounds::new(self.quantiles[0] as f32, self.quantiles[1] as f32),
        };
        Ok(bounds)
    }
}

/// The value below which a share `p` of the values lies, interpolated between its neighbours; reorders them.
fn quantile(values: &mut [f32], p: f64) -> f64 {
    let place = p * (values.len() - 1) as f64;
    let (index, share) = (place.floor() as usize, place.fract());
    let (_, &mut low, above) = values.select_nth_unstable_by(index, f32::total_cmp);
    match above.iter().copied().min_by(f32::total_cmp) {
        Some(high) if share > 0.0 => low as f64 + share * (high as f64 - low as f64),
        _ => low as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{assert_close, wave};

    fn pair(bounds: Bounds) -> [f32; 2] {
        [bounds.lower, bounds.upper]
    }

    #[test]
    fn three_sigma_uses_the_unbiased_deviation() {
        // Deviations of 1, 3, 5 from 3: sum of squares 8, unbiased variance 4.
        let bounds = Range::LtsWeight.bounds(&[1.0, 3.0, 5.0]).unwrap();
        assert_eq!(pair(bounds), [-6.0, 6.0]);
        let bounds = Range::LtsActivation.bounds(&[1.0, 3.0, 5.0]).unwrap();
        assert_close(&pair(bounds), &[1.0, 2.0 * 4.976_677], 1e-5);
        // A deviation of 1: 4.98 lies below the smallest value.
        let bounds = Range::LtsActivation.bounds(&[9.0, 10.0, 11.0]).unwrap();
        assert_eq!(pair(bounds), [9.0, 11.0]);
    }

    #[test]
    fn the_largest_magnitude_may_be_on_either_side() {
        assert_eq!(
            pair(Range::MaxAbs.bounds(&[-3.0, 1.0]).unwrap()),
            [-3.0, 3.0]
        );
        assert_eq!(
            pair(Range::MaxAbs.bounds(&[-1.0, 2.0]).unwrap()),
            [-2.0, 2.0]
        );
    }

    #[test]
    fn quantiles_lie_between_sorted_neighbours() {
        let values: Vec<f32> = [40.0, 0.0, 10.0, 30.0, 20.0].to_vec();
        let bounds = |p| pair(Range::Percentile(p).bounds(&values).unwrap());
        assert_eq!(bounds(1.0), [0.0, 40.0]);
        assert_eq!(bounds(0.75), [10.0, 30.0]);
        assert_close(&bounds(0.9), &[4.0, 36.0], 1e-6);
    }

    #[test]
    fn batches_count_as_one_where_the_statistic_allows() {
        let values = wave(1000);
        for range in [Range::MinMax, Range::LtsWeight, Range::LtsActivation] {
            let mut observer = RangeObserver::new(range).unwrap();
            for batch in [
                &values[..10],
                &values[10..10],
                &values[10..700],
                &values[700..],
            ] {
                observer.observe(batch).unwrap();
            }
            let whole = range.bounds(&values).unwrap();
            assert_close(&pair(observer.bounds().unwrap()), &pair(whole), 1e-6);
        }
        let mut observer = RangeObserver::new(Range::Percentile(1.0)).unwrap();
        observer.observe(&[0.0, 4.0]).unwrap();
        observer.observe(&[0.0, 1.0, 1.0, 1.0, 1.0, 1.0]).unwrap();
        assert_eq!(pair(observer.bounds().unwrap()), [0.0, 1.75]);
    }

    #[test]
    fn a_search_finds_the_share_with_the_least_error() {
        // One bit for values at 0 and 1, and one at 4: 0 and 1 exactly cost 9, 0 and 4 cost 100.
        let values = [vec![0.0; 100], vec![1.0; 100], vec![4.0]].concat();
        let bounds = pair(Range::Mse.bounds_for(1, &values).unwrap());
        assert_close(&bounds, &[0.0, 1.0], 0.05);
        let mse = |b: Bounds| {
            let f = FakeQuant::dequantising(b, 1).unwrap();
            let squares = values.iter().map(|x| (f.quantise(*x) - x).powi(2));
            squares.sum::<f32>()
        };
        let found = mse(Bounds::new(bounds[0], bounds[1]));
        for i in 1..=100 {
            assert!(
                found <= mse(Bounds::new(0.0, 4.0 * i as f32 / 100.0)) + 1e-4,
                "{i}"
            );
        }
        assert_eq!(
            pair(Range::Mse.bounds_for(4, &[3.0, 3.0]).unwrap()),
            [3.0, 3.0]
        );
        let error = Range::Mse.bounds(&values).unwrap_err().to_string();
        assert!(error.contains("Range::bounds_for"), "{error}");
    }

    #[test]
    fn what_gives_no_range_is_refused() {
        let refuse = |range: Range, values: &[f32]| range.bounds(values).unwrap_err().to_string();
        assert!(refuse(Range::MinMax, &[]).contains("no values"));
        assert!(refuse(Range::MinMax, &[0.0, f32::NAN]).contains("1 of 2"));
        assert!(refuse(Range::MinMax, &[3.0, 3.0]).contains("lower = 3, upper = 3"));
        assert!(refuse(Range::Percentile(0.5), &[1.0]).contains("percentile 0.5"));
    }
}
