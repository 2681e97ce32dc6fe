//! What a site saw while it was watched: values, ranges, levels, factors.

use std::collections::BTreeMap;

use crate::ops::bound_quant::BoundQuant;

/// Values kept of each image.
const KEPT: usize = 4000;

/// How often each level of a site was used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LevelUse {
    /// Uses of each level, by its distance from 0 in steps.
    pub counts: BTreeMap<i64, u64>,
}

impl LevelUse {
    /// Levels that were used at all.
    pub fn used(&self) -> usize {
        self.counts.len()
    }

    /// Entropy of the distribution over levels, in bits; `b` would be all `2^b` levels equally often.
    ///
    /// ```
    /// use rebit::papers::ddtb::LevelUse;
    /// let even = LevelUse { counts: [(0, 5), (1, 5), (2, 5), (3, 5)].into() };
    /// assert_eq!(even.entropy(), 2.0);
    /// ```
    pub fn entropy(&self) -> f32 {
        let total = self.counts.values().sum::<u64>() as f64;
        let term = |&n: &u64| {
            let p = n as f64 / total;
            -p * p.log2()
        };
        // The sum of one certain level would be -0.
        (self.counts.values().map(term).sum::<f64>() + 0.0) as f32
    }

    pub(super) fn count(&mut self, x: &[f32], q: BoundQuant) {
        let scale = q.steps as f32 / (q.upper - q.lower);
        for x in x {
            let level = (scale * x.clamp(q.lower, q.upper)).round_ties_even();
            *self.counts.entry(level as i64).or_default() += 1;
        }
    }
}

/// One site over the images it was watched on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SiteRecord {
    /// Name of the site.
    pub name: String,
    /// A few thousand of the values of each image, before the quantiser.
    pub values: Vec<f32>,
    /// Largest value of each image.
    pub highest: Vec<f32>,
    /// Smallest value of each image.
    pub lowest: Vec<f32>,
    /// Factors of the upper and lower bound of each image; empty without a gate in its active phase.
    pub factors: Vec<[f32; 2]>,
    /// Use of the levels; empty while nothing is quantised.
    pub levels: LevelUse,
}

impl SiteRecord {
    /// Largest value over largest magnitude below zero; infinite for values that are never negative.
    pub fn asymmetry(&self) -> f32 {
        let high = self.highest.iter().copied().fold(0.0, f32::max);
        let low = self.lowest.iter().copied().fold(0.0, f32::min);
        high / low.abs()
    }

    pub(super) fn see(&mut self, sample: &[f32]) {
        let (low, high) = super::gate::extremes(sample);
        self.lowest.push(low);
        self.highest.push(high);
        // An odd step does not stay on one channel.
        let step = (sample.len() / KEPT) | 1;
        self.values.extend(sample.iter().step_by(step));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asymmetry_is_infinite_without_negative_values_and_one_for_balanced_ones() {
        let record = |values: &[f32]| {
            let mut record = SiteRecord::default();
            record.see(values);
            record.asymmetry()
        };
        assert_eq!(record(&[0.0, 3.0]), f32::INFINITY);
        assert_eq!(record(&[-2.0, 2.0]), 1.0);
        assert_eq!(record(&[-2.0, 6.0]), 3.0);
    }

    #[test]
    fn levels_are_counted_by_their_distance_from_zero() {
        let q = BoundQuant {
            lower: -1.0,
            upper: 2.0,
            steps: 3,
        };
        let mut levels = LevelUse::default();
        levels.count(&[-7.0, -1.0, 0.2, 0.9, 1.1, 9.0], q);
        assert_eq!(levels.counts, [(-1, 2), (0, 1), (1, 2), (2, 1)].into());
        assert!((levels.entropy() - 1.9183).abs() < 1e-4);
    }
}
