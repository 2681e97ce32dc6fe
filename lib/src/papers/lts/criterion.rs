//! Which weights freeze: the method's rule, its controls, and criteria of one's own.

use rand::seq::index;

use super::Selection;
use crate::data::epoch_rng;
use crate::{Result, Rng};

/// One layer after a training forward, as a [`Criterion`] sees it. Slices have an entry for each weight, in the order
/// `(output channels, input channels, height, width)`.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Steps done before this one.
    pub iteration: u64,
    /// Output channels of the layer.
    pub channels: usize,
    /// The latent weights that this forward used.
    pub value: &'a [f32],
    /// Smoothed distance `D` to the level, in units of `n`.
    pub distance: &'a [f32],
    /// Level `q` of this forward, in `0..=1`.
    pub level: &'a [f32],
    /// Level of the forward before; NaN in the first.
    pub before: &'a [f32],
    /// What is frozen so far.
    pub frozen: &'a [bool],
}

impl Seen<'_> {
    /// Weights of the layer.
    pub fn len(&self) -> usize {
        self.frozen.len()
    }

    /// Whether the layer has no weights.
    pub fn is_empty(&self) -> bool {
        self.frozen.is_empty()
    }

    /// The `wanted` free entries of the lowest score; equal scores follow each other in an order that has nothing to do
    /// with their place.
    pub fn lowest(&self, wanted: usize, score: impl Fn(usize) -> f32) -> Vec<usize> {
        let mut free: Vec<usize> = (0..self.len()).filter(|&i| !self.frozen[i]).collect();
        let wanted = wanted.min(free.len());
        if wanted == 0 {
            return Vec::new();
        }
        let order = |a: &usize, b: &usize| {
            let by_score = score(*a).total_cmp(&score(*b));
            by_score.then_with(|| scattered(*a).cmp(&scattered(*b)))
        };
        free.select_nth_unstable_by(wanted - 1, order);
        free.truncate(wanted);
        free
    }
}

/// A bijection of the numbers in which neighbours lie far apart.
fn scattered(i: usize) -> u64 {
    (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A rule of one's own for which weights of a layer freeze. How many do is the schedule's: as many as LTS would have
/// frozen on the same run, so that rules are compared at equal savings.
///
/// ```
/// use rebit::papers::lts::{self, Criterion, LtsConfig, Seen};
/// use rebit::prelude::*;
///
/// /// The largest weights first.
/// struct Largest;
///
/// impl Criterion for Largest {
///     fn name(&self) -> String {
///         "largest".into()
///     }
///     fn choose(&mut self, seen: &Seen, wanted: usize) -> Vec<usize> {
///         seen.lowest(wanted, |i| -seen.value[i].abs())
///     }
/// }
///
/// let net = rebit::nn::cifar_resnet(3, 8, [4, 8, 8], 1, 10, rng(0))?;
/// let observer = lts::quantise_by(&net, LtsConfig::default(), |_| Box::new(Largest))?;
/// assert_eq!(observer.frozen_share(), 0.0);
/// # Ok::<(), Error>(())
/// ```
pub trait Criterion: Send + 'static {
    /// Name of the rule in reports.
    fn name(&self) -> String;

    /// Entries to freeze after a training forward; of what is returned the first `wanted` that are free freeze. Called
    /// after every training forward, also while nothing is wanted, so that a criterion can keep averages.
    fn choose(&mut self, seen: &Seen, wanted: usize) -> Vec<usize>;

    /// State that a checkpoint must hold, made by [`crate::train::to_bytes`]; empty for none.
    ///
    /// # Errors
    /// When the state cannot be written.
    fn save(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    /// Takes the state of a checkpoint back.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for the state of another criterion.
    fn restore(&mut self, _state: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// A built-in rule as a criterion.
pub(crate) struct BuiltIn {
    pub rule: Selection,
    /// Seed of random selection.
    pub seed: u64,
}

impl Criterion for BuiltIn {
    fn name(&self) -> String {
        self.rule.to_string()
    }

    fn choose(&mut self, seen: &Seen, wanted: usize) -> Vec<usize> {
        match self.rule {
            Selection::Nearest => seen.lowest(wanted, |i| seen.distance[i]),
            Selection::Farthest => seen.lowest(wanted, |i| -seen.distance[i]),
            Selection::Random => random(seen, wanted, &mut epoch_rng(self.seed, seen.iteration)),
        }
    }
}

fn random(seen: &Seen, wanted: usize, rng: &mut Rng) -> Vec<usize> {
    let free: Vec<usize> = (0..seen.len()).filter(|&i| !seen.frozen[i]).collect();
    let chosen = index::sample(rng, free.len(), wanted.min(free.len()));
    chosen.into_iter().map(|i| free[i]).collect()
}

/// The entries of [`Criterion::choose`] that may freeze: free ones, each once, at most `wanted`.
pub(crate) fn chosen(criterion: &mut dyn Criterion, seen: &Seen, wanted: usize) -> Vec<usize> {
    let mut taken = vec![false; seen.len()];
    let mut found = criterion.choose(seen, wanted);
    found
        .retain(|&i| i < taken.len() && !seen.frozen[i] && !std::mem::replace(&mut taken[i], true));
    found.truncate(wanted);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISTANCE: [f32; 5] = [0.1, 0.4, 0.2, 0.3, 0.0];
    const FROZEN: [bool; 5] = [false, false, false, false, true];

    fn seen() -> Seen<'static> {
        Seen {
            iteration: 3,
            channels: 1,
            value: &DISTANCE,
            distance: &DISTANCE,
            level: &DISTANCE,
            before: &DISTANCE,
            frozen: &FROZEN,
        }
    }

    fn by(rule: Selection, wanted: usize) -> Vec<usize> {
        let mut found = chosen(&mut BuiltIn { rule, seed: 1 }, &seen(), wanted);
        found.sort_unstable();
        found
    }

    #[test]
    fn nearest_and_farthest_take_opposite_ends_of_the_free_entries() {
        assert_eq!(by(Selection::Nearest, 2), [0, 2]);
        assert_eq!(by(Selection::Farthest, 2), [1, 3]);
    }

    #[test]
    fn every_rule_takes_as_many_as_are_wanted_and_free() {
        for rule in [Selection::Nearest, Selection::Random, Selection::Farthest] {
            assert_eq!(by(rule, 3).len(), 3);
            assert_eq!(by(rule, 0), [0; 0]);
            assert_eq!(by(rule, 9), [0, 1, 2, 3]);
        }
    }

    #[test]
    fn equal_scores_are_not_taken_in_the_order_of_their_places() {
        let (value, frozen) = ([0.0; 100], [false; 100]);
        let same = Seen {
            value: &value,
            distance: &value,
            level: &value,
            before: &value,
            frozen: &frozen,
            ..seen()
        };
        let first_half = same.lowest(50, |_| 0.0).into_iter().filter(|i| *i < 50);
        assert!((15..35).contains(&first_half.count()));
    }

    /// Wants what is frozen, what there is not, and the same twice.
    struct Greedy;
    impl Criterion for Greedy {
        fn name(&self) -> String {
            "greedy".into()
        }
        fn choose(&mut self, _: &Seen, _: usize) -> Vec<usize> {
            vec![4, 99, 1, 1, 0, 2]
        }
    }

    #[test]
    fn only_free_entries_freeze_each_once_and_no_more_than_wanted() {
        assert_eq!(chosen(&mut Greedy, &seen(), 2), [1, 0]);
        assert_eq!(chosen(&mut Greedy, &seen(), 9), [1, 0, 2]);
    }
}
