//! Buffers that are used again instead of being freed: a training step allocates only the first time.
//!
//! All networks share what is free. One that has run and is only kept holds nothing but its parameters: of thirty trained
//! networks in a list the buffers are those of the one that ran last.

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex, MutexGuard};

use dfdx::tensor::Storage;

use crate::{Buffer, HostAccess, Result, dev};

/// Free buffers of one length.
#[derive(Default)]
struct Shelf {
    free: Vec<Buffer>,
    /// Networks that have asked for this length.
    users: usize,
    /// Buffers handed out and not yet returned, and their largest count so far. A network is also given buffers that were
    /// made elsewhere, such as the gradient of what it was asked for: of all that come back no more stay than were once
    /// needed at a time, or each step would add one.
    out: usize,
    most: usize,
}

impl Shelf {
    fn take(&mut self) -> Option<Buffer> {
        self.out += 1;
        self.most = self.most.max(self.out);
        self.free.pop()
    }

    /// Returns a buffer that there is no use for.
    fn give(&mut self, buffer: Buffer) -> Option<Buffer> {
        self.out = self.out.saturating_sub(1);
        if self.free.len() + self.out >= self.most {
            return Some(buffer);
        }
        self.free.push(buffer);
        None
    }
}

fn shelves() -> MutexGuard<'static, HashMap<usize, Shelf>> {
    static SHELVES: LazyLock<Mutex<HashMap<usize, Shelf>>> = LazyLock::new(Mutex::default);
    SHELVES.lock().unwrap_or_else(|e| e.into_inner())
}

/// A network's part in the free buffers.
#[derive(Default)]
pub(crate) struct BufferPool {
    /// Lengths that it asks for.
    lengths: HashSet<usize>,
    /// Elements handed out and not yet returned, and their largest count so far.
    live: usize,
    peak: usize,
}

impl BufferPool {
    /// A buffer of `len` elements with arbitrary contents.
    pub fn take(&mut self, len: usize) -> Result<Buffer> {
        self.live += len;
        self.peak = self.peak.max(self.live);
        let found = self.on_shelf(len, Shelf::take);
        match found {
            Some(buffer) => Ok(buffer),
            None => Ok(<crate::Dev as Storage<f32>>::try_alloc_len(&dev(), len)?),
        }
    }

    /// Gives a buffer back.
    pub fn give(&mut self, buffer: Buffer) {
        let len = buffer.elements();
        self.live = self.live.saturating_sub(len);
        let unused = self.on_shelf(len, |shelf| shelf.give(buffer));
        // Memory is given back to the system while others go on.
        drop(unused);
    }

    fn on_shelf<R>(&mut self, len: usize, act: impl FnOnce(&mut Shelf) -> R) -> R {
        let mut shelves = shelves();
        let shelf = shelves.entry(len).or_default();
        shelf.users += usize::from(self.lengths.insert(len));
        act(shelf)
    }

    /// Frees what is not in use and no other network asks for, before buffers of other sizes are asked for.
    pub fn clear(&mut self) {
        let mut unused = Vec::new();
        let mut shelves = shelves();
        for len in self.lengths.drain() {
            if let Some(shelf) = shelves.get_mut(&len) {
                shelf.users -= 1;
                if shelf.users == 0 {
                    unused.extend(shelves.remove(&len));
                }
            }
        }
        // Memory is given back to the system while others go on.
        drop(shelves);
        drop(unused);
    }

    /// Largest number of bytes in use at one time.
    pub fn peak_bytes(&self) -> usize {
        self.peak * size_of::<f32>()
    }
}

impl Drop for BufferPool {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Free buffers of a length that no other test asks for.
    fn free(len: usize) -> Option<usize> {
        shelves().get(&len).map(|shelf| shelf.free.len())
    }

    #[test]
    fn networks_share_what_is_free() -> Result<()> {
        const LEN: usize = 1_234_567;
        let (mut one, mut other) = (BufferPool::default(), BufferPool::default());
        let (a, b) = (one.take(LEN)?, one.take(LEN)?);
        one.give(a);
        one.give(b);
        assert_eq!(one.peak_bytes(), 8 * LEN);
        let c = other.take(LEN)?;
        assert_eq!((free(LEN), other.peak_bytes()), (Some(1), 4 * LEN));
        one.clear();
        other.give(c);
        assert_eq!(free(LEN), Some(2));
        drop(other);
        assert_eq!(free(LEN), None);
        Ok(())
    }

    #[test]
    fn what_comes_back_late_does_not_stay() -> Result<()> {
        const LEN: usize = 1_234_568;
        let mut one = BufferPool::default();
        let a = one.take(LEN)?;
        one.clear();
        assert_eq!(free(LEN), None);
        one.give(a);
        assert_eq!(free(LEN), Some(0));
        drop(one);
        assert_eq!(free(LEN), None);
        Ok(())
    }

    #[test]
    fn buffers_from_elsewhere_do_not_pile_up() -> Result<()> {
        const LEN: usize = 1_234_569;
        let mut one = BufferPool::default();
        for _ in 0..5 {
            let (a, b) = (one.take(LEN)?, one.take(LEN)?);
            // A gradient that a tape brought.
            one.give(crate::buffer(&vec![0.0; LEN])?);
            one.give(a);
            one.give(b);
        }
        assert_eq!(free(LEN), Some(2));
        Ok(())
    }
}
