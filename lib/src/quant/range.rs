//! Bounds read off data: the first guess of a trainable quantiser, the whole answer of a fixed one.

use super::ema::EmaRule;
use super::ends::{check_finite, ends};
use super::histogram::Histogram;
use super::search;
use crate::error::{Error, Result};
use crate::quant::{Bounds, FakeQuant, levels};

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
/// | `Kl` | `a` times the smallest | `a` times the largest | `a` whose levels keep the distribution best; Migacz, "8-bit inference with TensorRT", 2017 |
///
/// `Mse` and `Kl` try about a hundred `a` and need the bits of the quantiser: those of the slot they stand in,
/// [`Range::bounds_for`] or [`RangeObserver::of_bits`]. The error of `Mse` is that of evenly spaced levels from bound to
/// bound in the first two, that of [`AffineGrid`](crate::ops::affine_quant::AffineGrid) in the observer. `Kl` compares, in
/// the bins of a [`Histogram`], the values clipped to the bounds with what is left when each level's share is spread evenly
/// over the level's bins: `sum p ln(p / q)`.
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
    /// What keeps the distribution when it is quantised.
    Kl,
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
    /// In every training pass, and every one of [`crate::nn::Net::observe_ranges`]: a moving average.
    Ema {
        /// Share of the old range.
        momentum: f32,
        /// How it begins.
        rule: EmaRule,
    },
}

impl RangeFrom {
    /// Whether a range can come from this.
    ///
    /// # Errors
    /// As [`Range::check`]; [`Error::Invalid`] for a momentum that is no share.
    pub fn check(self) -> Result<()> {
        self.range.check()?;
        match self.update {
            RangeUpdate::Ema { momentum, .. } if !(0.0..1.0).contains(&momentum) => {
                Err(Error::invalid(
                    format!("a moving average of momentum {momentum}"),
                    "is the share of the old range, from 0 to below 1",
                ))
            }
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
        self.ema_by(momentum, EmaRule::FirstBatch)
    }

    /// [`ema`](Self::ema) that begins otherwise.
    pub fn ema_by(self, momentum: f32, rule: EmaRule) -> RangeFrom {
        RangeFrom {
            range: self,
            update: RangeUpdate::Ema { momentum, rule },
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

    /// Whether its bounds leave out nothing that was seen: [`MinMax`](Self::MinMax) and [`MaxAbs`](Self::MaxAbs).
    ///
    /// ```
    /// use rebit::quant::Range;
    /// assert!(Range::MinMax.covers_all() && !Range::Percentile(0.99).covers_all());
    /// ```
    pub fn covers_all(self) -> bool {
        matches!(self, Range::MinMax | Range::MaxAbs)
    }

    /// Whether it follows from more than the ends and a histogram.
    fn needs_moments(self) -> bool {
        !matches!(
            self,
            Range::MinMax
                | Range::MaxAbs
                | Range::Percentile(_)
                | Range::Mse
                | Range::Kl
                | Range::Constant(_)
        )
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
        if self == Range::Kl {
            let mut observer = RangeObserver::of_bits(self, bits)?;
            observer.observe(values)?;
            return observer.found();
        }
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

    /// Bounds of one tensor for an [`AffineGrid`](crate::ops::affine_quant::AffineGrid) of so many bits, with 0 between
    /// them. What `Mse` and `Kl` search for is searched for on that grid, `Mse` with every value.
    ///
    /// ```
    /// use rebit::quant::{Bounds, Range};
    /// assert_eq!(Range::MinMax.affine_bounds(4, &[0.5, 1.0])?, Bounds::new(0.0, 1.0));
    /// # Ok::<(), rebit::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`bounds_for`](Self::bounds_for).
    pub fn affine_bounds(self, bits: u32, values: &[f32]) -> Result<Bounds> {
        if self == Range::Mse {
            let all = Range::MinMax.affine_bounds(bits, values)?;
            return search::least_squares(all, bits, values);
        }
        let mut observer = match self.covers_all() {
            true => RangeObserver::new(self)?,
            false => RangeObserver::of_bits(self, bits)?,
        };
        levels(bits)?;
        observer.observe(values)?;
        Ok(observer.found()?.with_zero())
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
/// Smallest, largest and deviation come out as if all batches were one. Percentiles are the mean of the
/// batches' percentiles, weighted by their sizes, since exact ones would need all values at once; an observer
/// [of so many bits](Self::of_bits) counts values in a [`Histogram`] and gives the percentiles of all of them, to
/// within a 2048th of what was seen.
///
/// ```
/// use rebit::quant::{Range, RangeObserver};
/// let mut seen = RangeObserver::of_bits(Range::Mse, 2)?;
/// seen.observe(&[0.0, 0.5, 1.0, 1.0, 1.5])?;
/// seen.freeze();
/// seen.observe(&[1000.0])?;
/// seen.thaw();
/// seen.observe(&[0.5, 1.0])?;
/// assert!(seen.bounds()?.upper <= 1.5);
/// # Ok::<(), rebit::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RangeObserver {
    /// Where values are counted, and for how many bits.
    counted: Option<(Histogram, u32)>,
    frozen: bool,
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
        if matches!(range, Range::Mse | Range::Kl) {
            return Err(Error::invalid(
                format!("Range::{range:?}"),
                "needs the bits of a quantiser: take Range::bounds_for, RangeObserver::of_bits, or put it in a slot",
            ));
        }
        Ok(RangeObserver::empty(range, None))
    }

    /// An observer for the levels of [`AffineGrid`](crate::ops::affine_quant::AffineGrid) of so many bits, in constant
    /// memory: any range, what is searched for included.
    ///
    /// # Errors
    /// As [`Range::check`]; [`Error::Invalid`] for bits outside 1 to 16.
    pub fn of_bits(range: Range, bits: u32) -> Result<Self> {
        range.check()?;
        levels(bits)?;
        let counted = Some((Histogram::default(), bits));
        Ok(RangeObserver::empty(range, counted))
    }

    fn empty(range: Range, counted: Option<(Histogram, u32)>) -> Self {
        RangeObserver {
            counted,
            frozen: false,
            range,
            count: 0.0,
            smallest: f32::INFINITY,
            largest: f32::NEG_INFINITY,
            mean: 0.0,
            deviation: 0.0,
            quantiles: [0.0; 2],
            maxima: (0.0, 0.0),
        }
    }

    /// From here on batches change nothing.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// From here on batches count again.
    pub fn thaw(&mut self) {
        self.frozen = false;
    }

    /// What was counted, by an observer [of so many bits](Self::of_bits).
    pub fn histogram(&self) -> Option<&Histogram> {
        self.counted.as_ref().map(|(seen, _)| seen)
    }

    /// Takes a batch in; an empty one changes nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] for values that are not finite; the observer is then as before.
    pub fn observe(&mut self, values: &[f32]) -> Result<()> {
        if values.is_empty() || self.frozen {
            return Ok(());
        }
        if !self.range.needs_moments() {
            let sorts = matches!(self.range, Range::Percentile(_));
            let seen = match &mut self.counted {
                Some((seen, _)) => {
                    seen.add(values)?;
                    Some((seen.smallest(), seen.largest()))
                }
                None if sorts => None,
                None => ends(values)?,
            };
            if let Some((smallest, largest)) = seen {
                self.count += values.len() as f64;
                self.smallest = self.smallest.min(smallest);
                self.largest = self.largest.max(largest);
                return Ok(());
            }
        }
        check_finite(values)?;
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
        if let Some((seen, _)) = &mut self.counted {
            seen.add(values)?;
        } else if let Range::Percentile(p) = self.range {
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
    ///
    /// # Errors
    /// [`Error::Invalid`] before the first value.
    pub fn found(&self) -> Result<Bounds> {
        if self.count == 0.0 {
            return Err(Error::invalid(
                "bounds of no values",
                "observe at least one batch first",
            ));
        }
        let std = (self.deviation / (self.count - 1.0).max(1.0)).sqrt() as f32;
        let half_normal = (1.0 - std::f32::consts::FRAC_2_PI).sqrt();
        let bounds = match self.range {
            Range::Mse | Range::Kl | Range::Percentile(_) if self.counted.is_some() => {
                return search::bounds(self.range, self.counted.as_ref());
            }
            Range::MinMax | Range::Mse | Range::Kl => Bounds::new(self.smallest, self.largest),
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
        for range in [
            Range::MinMax,
            Range::Mse,
            Range::Kl,
            Range::Percentile(0.75),
        ] {
            let mut parts = RangeObserver::of_bits(range, 1).unwrap();
            values
                .chunks(7)
                .for_each(|part| parts.observe(part).unwrap());
            let mut whole = RangeObserver::of_bits(range, 1).unwrap();
            whole.observe(&values).unwrap();
            assert_close(
                &pair(parts.found().unwrap()),
                &pair(whole.found().unwrap()),
                2e-3,
            );
        }
        let error = Range::Mse.bounds(&values).unwrap_err().to_string();
        assert!(error.contains("Range::bounds_for"), "{error}");
    }

    #[test]
    fn what_leaves_nothing_out_needs_no_counts() {
        let values = wave(3000);
        for range in [Range::MinMax, Range::MaxAbs] {
            let mut counted = RangeObserver::of_bits(range, 8).unwrap();
            let mut alone = RangeObserver::new(range).unwrap();
            for part in values.chunks(700) {
                counted.observe(part).unwrap();
                alone.observe(part).unwrap();
            }
            assert!(range.covers_all() && alone.histogram().is_none());
            let found = alone.found().unwrap();
            assert_eq!(pair(found), pair(counted.found().unwrap()));
            let seen = counted.histogram().unwrap();
            assert_eq!(seen.outside(found.lower, found.upper), 0.0);
            let whole = range.affine_bounds(8, &values).unwrap();
            assert_eq!(pair(whole), pair(found.with_zero()));
        }
        assert!(Range::MinMax.affine_bounds(0, &values).is_err());
        assert!(!Range::Percentile(1.0).covers_all() && !Range::Constant(9.0).covers_all());
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
