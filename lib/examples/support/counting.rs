//! How much memory a step asks the system's allocator for: buffers that are used again ask for nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Pieces of memory from `from` bytes on, and how many bytes they are together.
struct Counter {
    from: AtomicUsize,
    count: AtomicUsize,
    bytes: AtomicUsize,
}

impl Counter {
    const fn new() -> Counter {
        Counter {
            from: AtomicUsize::new(usize::MAX),
            count: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }
}

static COUNTERS: [Counter; 2] = [const { Counter::new() }; 2];

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        unsafe { System.dealloc(old, layout) }
    }
}

fn count(size: usize) {
    for counter in &COUNTERS {
        if size >= counter.from.load(Relaxed) {
            counter.count.fetch_add(1, Relaxed);
            counter.bytes.fetch_add(size, Relaxed);
        }
    }
}

/// Counts pieces of memory from so many bytes on, twice.
pub fn start(from: [usize; 2]) {
    for (counter, from) in COUNTERS.iter().zip(from) {
        counter.from.store(from, Relaxed);
    }
    taken();
}

/// Number and bytes of either since the last call.
pub fn taken() -> [(usize, usize); 2] {
    let take = |c: &Counter| (c.count.swap(0, Relaxed), c.bytes.swap(0, Relaxed));
    [take(&COUNTERS[0]), take(&COUNTERS[1])]
}
