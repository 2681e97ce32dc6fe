//! Memory that a thread keeps from call to call, so that a step does not fault in new pages.

use std::cell::RefCell;

/// Floats in a cache line; scratch memory starts on one.
const LINE: usize = 16;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with `len` floats that start on a cache line; their values are whatever the last user left.
pub(crate) fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    // The largest buffer is last; a nested call takes the next one.
    let mut buffer = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < len + LINE {
        buffer = vec![0.0; len + LINE];
    }
    let start = buffer.as_ptr().align_offset(4 * LINE).min(LINE);
    let result = f(&mut buffer[start..start + len]);
    FREE.with_borrow_mut(|free| {
        free.push(buffer);
        free.sort_by_key(Vec::len);
    });
    result
}
