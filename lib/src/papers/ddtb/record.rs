//! What a site saw while it was watched: values, ranges, levels, factors.

use crate::quant::LevelUse;

/// Values kept of each image.
const KEPT: usize = 4000;

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
        let (low, high) = extremes(sample);
        self.lowest.push(low);
        self.highest.push(high);
        // An odd step does not stay on one channel.
        let step = (sample.len() / KEPT) | 1;
        self.values.extend(sample.iter().step_by(step));
    }
}

/// Smallest and largest of `values`, whatever else is among them.
pub(super) fn extremes(values: &[f32]) -> (f32, f32) {
    let start = (f32::INFINITY, f32::NEG_INFINITY);
    values.iter().fold(start, |(l, h), &v| (l.min(v), h.max(v)))
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
}
