//! Choosing which free weights to freeze.

use rand::seq::index;

use super::Selection;
use crate::Rng;

/// Entries that the method would have frozen at this threshold: those frozen and those near their level.
pub(crate) fn due(distance: &[f32], frozen: &[bool], limit: f32) -> usize {
    distance
        .iter()
        .zip(frozen)
        .filter(|(d, f)| **f || **d <= limit)
        .count()
}

/// Freezes free entries by `rule` until `target` are frozen; calls `freeze` with each.
pub(crate) fn freeze_up_to(
    target: usize,
    rule: Selection,
    distance: &[f32],
    frozen: &mut [bool],
    rng: &mut Rng,
    mut freeze: impl FnMut(usize),
) {
    let mut free: Vec<usize> = (0..frozen.len()).filter(|&i| !frozen[i]).collect();
    let have = frozen.len() - free.len();
    let wanted = target.saturating_sub(have).min(free.len());
    if wanted == 0 {
        return;
    }
    let chosen: Vec<usize> = match rule {
        Selection::Random => index::sample(rng, free.len(), wanted)
            .into_iter()
            .map(|i| free[i])
            .collect(),
        Selection::Nearest | Selection::Farthest => {
            let order = |a: &usize, b: &usize| {
                let ascending = distance[*a].total_cmp(&distance[*b]).then(a.cmp(b));
                if rule == Selection::Nearest {
                    ascending
                } else {
                    ascending.reverse()
                }
            };
            free.select_nth_unstable_by(wanted - 1, order);
            free.truncate(wanted);
            free
        }
    };
    for i in chosen {
        frozen[i] = true;
        freeze(i);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISTANCE: [f32; 5] = [0.1, 0.4, 0.2, 0.3, 0.0];

    fn frozen_by(rule: Selection, target: usize) -> Vec<usize> {
        let mut frozen = [false, false, false, false, true];
        freeze_up_to(
            target,
            rule,
            &DISTANCE,
            &mut frozen,
            &mut crate::rng(1),
            |_| {},
        );
        (0..5).filter(|&i| frozen[i]).collect()
    }

    #[test]
    fn nearest_and_farthest_take_opposite_ends_of_the_free_entries() {
        assert_eq!(frozen_by(Selection::Nearest, 3), [0, 2, 4]);
        assert_eq!(frozen_by(Selection::Farthest, 3), [1, 3, 4]);
    }

    #[test]
    fn every_rule_freezes_the_same_number_and_never_thaws() {
        for rule in [Selection::Nearest, Selection::Random, Selection::Farthest] {
            assert_eq!(frozen_by(rule, 3).len(), 3);
            assert_eq!(frozen_by(rule, 0), [4], "{rule:?} must not thaw");
            assert_eq!(frozen_by(rule, 9).len(), 5);
        }
    }

    #[test]
    fn due_counts_frozen_entries_once() {
        assert_eq!(due(&DISTANCE, &[true, true, false, false, false], 0.2), 4);
    }
}
