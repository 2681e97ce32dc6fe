//! The free entries in the order in which they are computed.

use super::super::FreezeMask;
use crate::ops::conv2d::cpu::plan::Plan;

/// The free entries: fours that read the same run of the input, then twos, then the rest one by one.
pub(crate) struct Entries {
    /// `(channel, tap)` of each four.
    pub four_runs: Vec<u32>,
    /// `(channel, tap)` of each two.
    pub two_runs: Vec<u32>,
    /// `(channel, tap)` of each of the rest.
    pub one_runs: Vec<u32>,
    /// Output channel of each entry.
    pub out: Vec<u32>,
    /// Place of each entry in the weight.
    pub at: Vec<u32>,
}

impl Entries {
    pub fn new(plan: &Plan, frozen: &FreezeMask) -> Self {
        let filter = plan.src_per_group * plan.passes[0].taps.len();
        let run_of = |out: usize, within: usize| out / plan.out_per_group * filter + within;
        let mut counts = vec![0u32; plan.groups * filter];
        let mut find = Split::new(filter);
        frozen.for_each_free(|k| {
            let (out, within) = find.split(k);
            counts[run_of(out, within)] += 1;
        });
        let (mut four_runs, mut two_runs, mut one_runs) = (Vec::new(), Vec::new(), Vec::new());
        // For each run how many entries go to the fours and the twos, and where the next one of each size goes.
        let mut left = Vec::with_capacity(counts.len());
        for (run, &count) in counts.iter().enumerate() {
            let starts = [4 * four_runs.len(), 2 * two_runs.len(), one_runs.len()];
            left.push(([count / 4 * 4, count % 4 / 2 * 2], starts));
            four_runs.extend((0..count / 4).map(|_| run as u32));
            two_runs.extend((0..count % 4 / 2).map(|_| run as u32));
            one_runs.extend((0..count % 2).map(|_| run as u32));
        }
        let twos = 4 * four_runs.len();
        let offsets = [0, twos, twos + 2 * two_runs.len()];
        let (mut out_of, mut at) = (vec![0; frozen.free()], vec![0; frozen.free()]);
        let mut find = Split::new(filter);
        frozen.for_each_free(|k| {
            let (out, within) = find.split(k);
            let (left, next) = &mut left[run_of(out, within)];
            let size = left.iter().position(|&n| n > 0).unwrap_or(2);
            if let Some(n) = left.get_mut(size) {
                *n -= 1;
            }
            let place = offsets[size] + next[size];
            next[size] += 1;
            out_of[place] = out as u32;
            at[place] = k as u32;
        });
        Entries {
            four_runs,
            two_runs,
            one_runs,
            out: out_of,
            at,
        }
    }
}

/// Division by a fixed number of ascending values, without dividing.
struct Split {
    by: usize,
    quotient: usize,
    base: usize,
}

impl Split {
    fn new(by: usize) -> Self {
        Split {
            by,
            quotient: 0,
            base: 0,
        }
    }

    fn split(&mut self, value: usize) -> (usize, usize) {
        while value >= self.base + self.by {
            self.base += self.by;
            self.quotient += 1;
        }
        (self.quotient, value - self.base)
    }
}
