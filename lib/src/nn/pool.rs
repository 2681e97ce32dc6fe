//! Buffers that are used again instead of being freed: a training step allocates only the first time.

use std::collections::HashMap;

use dfdx::tensor::Storage;

use crate::{Buffer, HostAccess, Result, dev};

/// Free buffers by length.
#[derive(Default)]
pub(crate) struct BufferPool {
    free: HashMap<usize, Vec<Buffer>>,
    /// Elements handed out and not yet returned, and their largest count so far.
    live: usize,
    peak: usize,
}

impl BufferPool {
    /// A buffer of `len` elements with arbitrary contents.
    pub fn take(&mut self, len: usize) -> Result<Buffer> {
        self.live += len;
        self.peak = self.peak.max(self.live);
        match self.free.get_mut(&len).and_then(Vec::pop) {
            Some(buffer) => Ok(buffer),
            None => Ok(<crate::Dev as Storage<f32>>::try_alloc_len(&dev(), len)?),
        }
    }

    /// Gives a buffer back.
    pub fn give(&mut self, buffer: Buffer) {
        let len = buffer.elements();
        self.live = self.live.saturating_sub(len);
        self.free.entry(len).or_default().push(buffer);
    }

    /// Frees what is not in use, before buffers of other sizes are asked for.
    pub fn clear(&mut self) {
        self.free.clear();
    }

    /// Largest number of bytes in use at one time.
    pub fn peak_bytes(&self) -> usize {
        self.peak * size_of::<f32>()
    }
}
