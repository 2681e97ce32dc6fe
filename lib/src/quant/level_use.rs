//! How evenly a quantiser uses its levels.

use std::collections::BTreeMap;

use crate::ops::bound_quant::BoundQuant;

/// How often each level of a quantiser was used.
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
    /// use rebit::quant::LevelUse;
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

    /// Counts the levels that `q` puts these numbers on.
    pub fn count(&mut self, x: &[f32], q: BoundQuant) {
        let scale = q.steps as f32 / (q.upper - q.lower);
        for x in x {
            let level = (scale * x.clamp(q.lower, q.upper)).round_ties_even();
            *self.counts.entry(level as i64).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
