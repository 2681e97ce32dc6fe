//! Buffers that an operation needs for a while: they are not filled with zeros first, and are used again.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{LazyLock, Mutex, MutexGuard};

use super::zeros;
use crate::buffer::HostAccess;
use crate::error::Result;
use crate::tensors::Buffer;

/// Free buffers are kept up to so many numbers, 64 MB, and up to so many buffers, on a CPU; the one that was given back first
/// goes first.
const MOST_NUMBERS: usize = 16 << 20;
const MOST_BUFFERS: usize = 256;
/// Shorter ones cost less than looking for them.
const FEWEST_NUMBERS: usize = 1024;

#[derive(Default)]
struct Shelf {
    free: VecDeque<Buffer>,
    numbers: usize,
}

impl Shelf {
    fn take(&mut self, len: usize) -> Option<Buffer> {
        let at = self.free.iter().rposition(|b| b.elements() == len)?;
        self.numbers -= len;
        self.free.remove(at)
    }

    /// Takes a buffer back, and returns those that there is no room for any more.
    fn give(&mut self, buffer: Buffer) -> Vec<Buffer> {
        if buffer.elements() > MOST_NUMBERS {
            return vec![buffer];
        }
        self.numbers += buffer.elements();
        self.free.push_back(buffer);
        let mut gone = Vec::new();
        while self.numbers > MOST_NUMBERS || self.free.len() > MOST_BUFFERS {
            let Some(first) = self.free.pop_front() else {
                break;
            };
            self.numbers -= first.elements();
            gone.push(first);
        }
        gone
    }
}

fn shelf() -> MutexGuard<'static, Shelf> {
    static SHELF: LazyLock<Mutex<Shelf>> = LazyLock::new(Mutex::default);
    SHELF.lock().unwrap_or_else(|e| e.into_inner())
}

/// Only `keep` and the drop take the buffer out, and both end with it.
const THERE: &str = "a scratch buffer has its buffer until it is dropped";

/// A buffer with arbitrary contents that goes back to the free ones when it is dropped.
pub(crate) struct Scratch(Option<Buffer>);

/// A buffer of `len` numbers, whatever they are.
pub(crate) fn scratch(len: usize) -> Result<Scratch> {
    let found = match len {
        0..FEWEST_NUMBERS => None,
        _ => shelf().take(len),
    };
    #[allow(unused_mut, reason = "tests change it")]
    let mut buffer = found.map_or_else(|| zeros(len), Ok)?;
    // Who reads what it has not written is found out.
    #[cfg(test)]
    buffer.edit(|b| b.fill(f32::NAN))?;
    Ok(Scratch(Some(buffer)))
}

impl Scratch {
    /// The buffer, which then does not come back.
    pub fn keep(mut self) -> Buffer {
        self.0.take().expect(THERE)
    }
}

impl Deref for Scratch {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        self.0.as_ref().expect(THERE)
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Buffer {
        self.0.as_mut().expect(THERE)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // On a GPU the driver has a pool of what was freed, and memory is too scarce for two.
        let long = |b: &Buffer| b.elements() >= FEWEST_NUMBERS && cfg!(not(feature = "cuda"));
        if let Some(buffer) = self.0.take().filter(long) {
            let gone = shelf().give(buffer);
            // Memory is given back to the system while others go on.
            drop(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf_of(lengths: &[usize]) -> Result<Shelf> {
        let mut shelf = Shelf::default();
        for &len in lengths {
            shelf.give(zeros(len)?);
        }
        Ok(shelf)
    }

    fn lengths(shelf: &Shelf) -> Vec<usize> {
        shelf.free.iter().map(HostAccess::elements).collect()
    }

    #[test]
    fn what_is_given_back_is_taken_again_the_last_first() -> Result<()> {
        let mut shelf = shelf_of(&[5, 7])?;
        // The last one may still lie in a cache.
        shelf.give(crate::buffer(&[1.0; 5])?);
        assert_eq!((lengths(&shelf), shelf.numbers), (vec![5, 7, 5], 17));
        let taken = [shelf.take(5), shelf.take(5), shelf.take(5), shelf.take(6)];
        let sums = taken.map(|b| b.map(|b| b.view().map_or(-1.0, |b| b.iter().sum::<f32>())));
        assert_eq!(sums, [Some(5.0), Some(0.0), None, None]);
        assert_eq!((lengths(&shelf), shelf.numbers), (vec![7], 7));
        Ok(())
    }

    #[test]
    fn a_shelf_has_room_for_so_much_and_loses_what_lay_longest() -> Result<()> {
        let mut shelf = shelf_of(&[5, 7, 9])?;
        let gone = shelf.give(zeros(MOST_NUMBERS - 10)?);
        assert_eq!(gone.iter().map(HostAccess::elements).sum::<usize>(), 12);
        assert_eq!(lengths(&shelf), [9, MOST_NUMBERS - 10]);
        // What is larger than the shelf does not stay, and drives nothing out.
        assert_eq!(shelf.give(zeros(MOST_NUMBERS + 1)?).len(), 1);
        assert_eq!(lengths(&shelf), [9, MOST_NUMBERS - 10]);
        let many = shelf_of(&[3; MOST_BUFFERS + 5])?;
        let expected = (MOST_BUFFERS, 3 * MOST_BUFFERS);
        assert_eq!((many.free.len(), many.numbers), expected);
        Ok(())
    }

    #[test]
    fn a_scratch_buffer_has_the_length_that_was_asked_for() -> Result<()> {
        for len in [0, 1, FEWEST_NUMBERS, 3 * FEWEST_NUMBERS] {
            for _ in 0..2 {
                assert_eq!(scratch(len)?.elements(), len);
            }
            assert_eq!(scratch(len)?.keep().elements(), len);
        }
        Ok(())
    }
}
