//! Counts of values in bins that grow with what is seen.

use super::ends::ends;
use crate::error::Result;
use crate::ops::parallel::wide;

/// Bins for the widest range: between this and half of it are in use.
const BINS: i64 = 4096;
/// What a bin's place fits.
const MASK: u16 = BINS as u16 - 1;
/// Values whose bins are computed at a time.
const BLOCK: usize = 1024;
/// Tables that are counted into in turn: most activations are 0, and a count would wait for the one before it.
const TABLES: usize = 4;

/// How often values fall into bins `[i w, (i + 1) w)` of a width `w` that is a power of two.
///
/// The width doubles when a value would need more than 4096 bins; neighbours are then added, so that the counts are the
/// same whatever the order and size of the batches that come in. Counting takes one pass and no memory that grows
/// with the number of values.
///
/// ```
/// use rebit::quant::Histogram;
/// let mut seen = Histogram::default();
/// seen.add(&[0.0, 1.0, 2.0, 3.0])?;
/// seen.add(&[-1000.0])?;
/// assert_eq!((seen.count(), seen.smallest(), seen.largest()), (5, -1000.0, 3.0));
/// # Ok::<(), rebit::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// `w = 2^exponent`; none before two different values have come.
    exponent: Option<i32>,
    /// Index `i` of the first bin.
    first: i64,
    bins: Vec<u64>,
    count: u64,
    smallest: f32,
    largest: f32,
}

impl Histogram {
    /// Counts values in.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for values that are not finite; none of them is then counted.
    pub fn add(&mut self, values: &[f32]) -> Result<()> {
        let Some((smallest, largest)) = ends(values)? else {
            return Ok(());
        };
        // All that came before, if it was one value: it has no bin yet.
        let alike = (self.exponent.is_none()).then_some((self.smallest, self.count));
        (self.smallest, self.largest) = match self.count {
            0 => (smallest, largest),
            _ => (self.smallest.min(smallest), self.largest.max(largest)),
        };
        self.count += values.len() as u64;
        if self.smallest == self.largest {
            return Ok(());
        }
        self.fit();
        let Some(exponent) = self.exponent else {
            return Ok(());
        };
        let places = Places {
            scale: 2f64.powi(-exponent),
            first: self.first as f64,
        };
        if let Some((value, count @ 1..)) = alike {
            self.bins[usize::from(places.of(value))] += count;
        }
        // A table's counts fit 32 bits.
        for most in values.chunks(1 << 30) {
            places.count(most, &mut self.bins);
        }
        Ok(())
    }

    /// Bins for everything between smallest and largest.
    fn fit(&mut self) {
        let width = f64::from(self.largest) - f64::from(self.smallest);
        let finest = (width / (BINS as f64 / 2.0)).log2().floor() as i32;
        let mut exponent = self.exponent.unwrap_or(finest).max(finest);
        let span = |exponent: i32| {
            let at = |v: f32| (f64::from(v) * 2f64.powi(-exponent)).floor() as i64;
            (at(self.smallest), at(self.largest))
        };
        while span(exponent).1 - span(exponent).0 >= BINS {
            exponent += 1;
        }
        let (low, high) = span(exponent);
        let mut bins = vec![0; (high - low + 1) as usize];
        if let Some(old) = self.exponent {
            for (i, count) in self.bins.iter().enumerate().filter(|(_, c)| **c > 0) {
                let index = (self.first + i as i64) >> (exponent - old).min(62);
                bins[(index - low) as usize] += count;
            }
        }
        (self.exponent, self.first, self.bins) = (Some(exponent), low, bins);
    }

    /// Values counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The smallest value; 0 before the first.
    pub fn smallest(&self) -> f32 {
        self.smallest
    }

    /// The largest value; 0 before the first.
    pub fn largest(&self) -> f32 {
        self.largest
    }

    /// Middle and count of each bin that holds something.
    pub fn bins(&self) -> Vec<(f64, u64)> {
        let Some(exponent) = self.exponent else {
            return match self.count {
                0 => Vec::new(),
                n => vec![(f64::from(self.smallest), n)],
            };
        };
        let width = 2f64.powi(exponent);
        let at = |i: usize| ((self.first + i as i64) as f64 + 0.5) * width;
        let held = self.bins.iter().enumerate().filter(|(_, c)| **c > 0);
        held.map(|(i, c)| (at(i), *c)).collect()
    }

    /// Width of a bin; 0 while all values are alike.
    pub fn width(&self) -> f64 {
        self.exponent.map_or(0.0, |e| 2f64.powi(e))
    }

    /// The value below which a share `p` of the values lies, to within a bin.
    pub fn quantile(&self, p: f64) -> f32 {
        let wanted = p.clamp(0.0, 1.0) * self.count as f64;
        let mut below = 0.0;
        for (middle, count) in self.bins() {
            let count = count as f64;
            if below + count >= wanted {
                let inside = ((wanted - below) / count).clamp(0.0, 1.0);
                let value = middle + (inside - 0.5) * self.width();
                return (value as f32).clamp(self.smallest, self.largest);
            }
            below += count;
        }
        self.largest
    }

    /// Share of the values below `lower` or above `upper`, to within a bin.
    pub fn outside(&self, lower: f32, upper: f32) -> f64 {
        let (lower, upper) = (f64::from(lower), f64::from(upper));
        let half = self.width() / 2.0;
        let out = |middle: f64| {
            if self.width() == 0.0 {
                return f64::from(u8::from(middle < lower || middle > upper));
            }
            let below = (lower - (middle - half)).clamp(0.0, self.width());
            let above = ((middle + half) - upper).clamp(0.0, self.width());
            // The ends of what was seen lie inside their bins.
            let below = if f64::from(self.smallest) >= lower {
                0.0
            } else {
                below
            };
            let above = if f64::from(self.largest) <= upper {
                0.0
            } else {
                above
            };
            ((below + above) / self.width()).min(1.0)
        };
        let bins = self.bins();
        let outside: f64 = bins.iter().map(|(m, c)| out(*m) * *c as f64).sum();
        outside / (self.count as f64).max(1.0)
    }
}

/// Which bin a value falls into.
#[derive(Clone, Copy)]
struct Places {
    /// `1 / w`, a power of two.
    scale: f64,
    /// Index of the first bin.
    first: f64,
}

impl Places {
    /// Exact: a product with a power of two, and whole numbers below 2^53.
    #[inline(always)]
    fn of(self, v: f32) -> u16 {
        // Added to 2^52, a whole number stands in the lowest bits; every register's conversion is as quick.
        const WHOLE: f64 = (1u64 << 52) as f64;
        let place = (f64::from(v) * self.scale).floor() - self.first;
        (place + WHOLE).to_bits() as u16 & MASK
    }

    /// The bins of at most as many values as there are places.
    fn fill<'a>(self, values: &[f32], places: &'a mut [u16; BLOCK]) -> &'a [u16] {
        let places = &mut places[..values.len()];
        wide(
            #[inline(always)]
            || {
                let pairs = places.iter_mut().zip(values);
                pairs.for_each(|(place, v)| *place = self.of(*v));
            },
        );
        places
    }

    /// Adds to the bin of each value.
    fn count(self, values: &[f32], bins: &mut [u64]) {
        let mut places = [0u16; BLOCK];
        if values.len() <= BLOCK {
            let places = self.fill(values, &mut places);
            return places.iter().for_each(|p| bins[usize::from(*p)] += 1);
        }
        let mut tables = Box::new([[0u32; BINS as usize]; TABLES]);
        let mut add = |table: usize, place: u16| tables[table][usize::from(place & MASK)] += 1;
        for part in values.chunks(BLOCK) {
            let (places, rest) = self.fill(part, &mut places).as_chunks::<TABLES>();
            for [a, b, c, d] in places {
                add(0, *a);
                add(1, *b);
                add(2, *c);
                add(3, *d);
            }
            rest.iter().for_each(|p| add(0, *p));
        }
        for table in tables.iter() {
            let counts = bins.iter_mut().zip(table);
            counts.for_each(|(bin, n)| *bin += u64::from(*n));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::wave;

    #[test]
    fn many_values_fall_into_the_bins_of_single_ones() {
        // More than one block, an incomplete one, negative numbers, a value at each end of its bin.
        let mut values = wave(5 * BLOCK + 3);
        values.extend([-0.0, 0.0, -1e-30, 0.25, -0.25, 0.75]);
        let mut whole = Histogram::default();
        whole.add(&values).unwrap();
        let index = |v: f32| (f64::from(v) / whole.width()).floor();
        let mut counts = std::collections::BTreeMap::new();
        for v in &values {
            *counts.entry(index(*v) as i64).or_insert(0u64) += 1;
        }
        let expected = counts
            .into_iter()
            .map(|(i, n)| ((i as f64 + 0.5) * whole.width(), n));
        assert_eq!(whole.bins(), expected.collect::<Vec<_>>());
        // Far from 0, where an index takes more bits than there are bins.
        let mut far = Histogram::default();
        let values: Vec<f32> = (0..3000).map(|i| -1e6 + (i % 3) as f32 / 16.0).collect();
        far.add(&values).unwrap();
        let counts: Vec<u64> = far.bins().iter().map(|b| b.1).collect();
        assert_eq!(counts, [1000, 1000, 1000]);
    }

    #[test]
    fn counts_do_not_depend_on_order_or_batches() {
        let mut values = wave(3000);
        values.extend([17.0, -40.0, 1e-6]);
        let mut whole = Histogram::default();
        whole.add(&values).unwrap();
        assert!(whole.bins().len() > 100);
        for size in [1, 7, 1000] {
            let mut parts = Histogram::default();
            for part in values.chunks(size) {
                parts.add(part).unwrap();
            }
            // Growing may stop at a width once more than the whole would have taken, never at finer bins.
            assert!(parts.width() == whole.width() || parts.width() == 2.0 * whole.width());
            assert_eq!(parts.count(), whole.count());
            let total = |h: &Histogram| h.bins().iter().map(|b| b.1).sum::<u64>();
            assert_eq!(total(&parts), 3003, "chunks of {size}");
            assert!((parts.quantile(0.5) - whole.quantile(0.5)).abs() < 0.1);
        }
    }

    #[test]
    fn literal_quantiles_and_shares() {
        let mut h = Histogram::default();
        let values: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        h.add(&values).unwrap();
        // 999 / 2048, rounded down to a power of two.
        assert_eq!(h.width(), 0.25);
        for p in [0.0, 0.1, 0.5, 0.999, 1.0] {
            assert!(
                (f64::from(h.quantile(p)) - 1000.0 * p).abs() <= 1.0,
                "{p}: {}",
                h.quantile(p)
            );
        }
        assert_eq!(h.outside(0.0, 999.0), 0.0);
        assert!(
            (h.outside(100.0, 899.5) - 0.2).abs() < 1e-3,
            "{}",
            h.outside(100.0, 899.5)
        );
    }

    #[test]
    fn one_value_and_then_others() {
        let mut h = Histogram::default();
        h.add(&[3.0, 3.0]).unwrap();
        assert_eq!(
            (h.bins(), h.width(), h.quantile(0.5)),
            (vec![(3.0, 2)], 0.0, 3.0)
        );
        assert_eq!((h.outside(0.0, 3.0), h.outside(0.0, 2.0)), (0.0, 1.0));
        h.add(&[]).unwrap();
        h.add(&[1.0, 5.0, 5.0]).unwrap();
        let counts: Vec<u64> = h.bins().iter().map(|b| b.1).collect();
        assert_eq!(counts, [1, 2, 2]);
        let error = h.add(&[0.0, f32::INFINITY]).unwrap_err().to_string();
        assert!(error.contains("1 of 2"), "{error}");
        assert_eq!(h.count(), 5);
    }
}
