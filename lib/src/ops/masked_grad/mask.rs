//! Which entries of a weight are frozen: one bit each.

use crate::error::{Error, Result};

/// A bit for each entry of a weight, set once it is frozen, and how many are set.
///
/// ```
/// use rebit::ops::masked_grad::FreezeMask;
/// let mut mask = FreezeMask::from_bools(&[true, false, false]);
/// mask.freeze(2);
/// assert_eq!((mask.frozen(), mask.free()), (2, 1));
/// assert!(mask.is_frozen(0) && !mask.is_frozen(1));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FreezeMask {
    words: Vec<u64>,
    len: usize,
    frozen: usize,
}

impl FreezeMask {
    /// A mask of `len` free entries.
    pub fn new(len: usize) -> Self {
        FreezeMask {
            words: vec![0; len.div_ceil(64)],
            len,
            frozen: 0,
        }
    }

    /// A mask that is frozen where `frozen` is true.
    pub fn from_bools(frozen: &[bool]) -> Self {
        let mut mask = FreezeMask::new(frozen.len());
        mask.set(frozen);
        mask
    }

    /// Makes the mask equal to `frozen`, keeping its memory.
    ///
    /// # Errors
    /// [`Error::Shape`] when the lengths differ; the mask is unchanged then.
    pub fn update(&mut self, frozen: &[bool]) -> Result<()> {
        if frozen.len() != self.len {
            return Err(Error::shape(
                "freeze mask",
                format!("{} entries", self.len),
                format!("{} entries", frozen.len()),
            ));
        }
        self.set(frozen);
        Ok(())
    }

    fn set(&mut self, frozen: &[bool]) {
        self.frozen = 0;
        for (word, bits) in self.words.iter_mut().zip(frozen.chunks(64)) {
            *word = (bits.iter().enumerate()).fold(0, |w, (k, &b)| w | u64::from(b) << k);
            self.frozen += word.count_ones() as usize;
        }
    }

    /// Freezes one entry; false when it was frozen already.
    ///
    /// # Panics
    /// When `entry` is not below [`Self::len`].
    pub fn freeze(&mut self, entry: usize) -> bool {
        assert!(
            entry < self.len,
            "freeze mask: entry {entry} of {}",
            self.len
        );
        let new = !self.is_frozen(entry);
        self.words[entry / 64] |= 1 << (entry % 64);
        self.frozen += usize::from(new);
        new
    }

    /// Whether an entry is frozen.
    ///
    /// # Panics
    /// When `entry` is not below [`Self::len`].
    pub fn is_frozen(&self, entry: usize) -> bool {
        assert!(
            entry < self.len,
            "freeze mask: entry {entry} of {}",
            self.len
        );
        self.words[entry / 64] >> (entry % 64) & 1 == 1
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Frozen entries.
    pub fn frozen(&self) -> usize {
        self.frozen
    }

    /// Entries that are not frozen.
    pub fn free(&self) -> usize {
        self.len - self.frozen
    }

    /// Calls `f` with each entry that is not frozen, in order.
    pub(crate) fn for_each_free(&self, mut f: impl FnMut(usize)) {
        for (k, &word) in self.words.iter().enumerate() {
            let rest = (self.len - 64 * k).min(64);
            let mut free = !word & (u64::MAX >> (64 - rest));
            while free != 0 {
                f(64 * k + free.trailing_zeros() as usize);
                free &= free - 1;
            }
        }
    }

    /// Sets the frozen entries of `values` to zero.
    pub(crate) fn clear_frozen(&self, values: &mut [f32]) {
        for (&word, values) in self.words.iter().zip(values.chunks_mut(64)) {
            if word != 0 {
                for (k, v) in values.iter_mut().enumerate() {
                    // All bits of a free entry and none of a frozen one: a branch would be guessed wrong half of the time.
                    let free = ((word >> k & 1) as u32).wrapping_sub(1);
                    *v = f32::from_bits(v.to_bits() & free);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_counts_agree() {
        let bools: Vec<bool> = (0..131).map(|k| k % 3 == 0).collect();
        let mut mask = FreezeMask::from_bools(&bools);
        assert_eq!((mask.len(), mask.frozen(), mask.free()), (131, 44, 87));
        let mut free = Vec::new();
        mask.for_each_free(|k| free.push(k));
        let expected: Vec<usize> = (0..131).filter(|k| k % 3 != 0).collect();
        assert_eq!(free, expected);
        assert!(mask.freeze(130));
        assert!(!mask.freeze(0));
        assert_eq!(mask.frozen(), 45);
        let mut values = vec![1.0; 131];
        mask.clear_frozen(&mut values);
        assert_eq!(values.iter().sum::<f32>(), 86.0);
        assert!(mask.update(&bools[1..]).is_err());
        mask.update(&bools).unwrap();
        assert_eq!(mask, FreezeMask::from_bools(&bools));
    }
}
