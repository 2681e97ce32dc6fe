//! Where in a cell something happened that is reported from elsewhere.

use std::ffi::{CStr, c_void};
use std::path::Path;

use serde_json::{Value, json};

/// What the libraries of compiled cells are called.
const CELL: &str = "libcode_";
/// So many calls are looked through.
const DEEP: usize = 4096;
/// So many of them are told.
const MANY: usize = 64;

/// Only this C library can look at the stack.
#[cfg(not(target_env = "gnu"))]
pub fn calls_of_cells() -> Vec<Value> {
    Vec::new()
}

/// The calls on the stack that are of cells, innermost first: the library's file, and the address there.
#[cfg(target_env = "gnu")]
pub fn calls_of_cells() -> Vec<Value> {
    let mut calls = vec![std::ptr::null_mut::<c_void>(); DEEP];
    // SAFETY: the pointer and the number describe `calls`.
    let count = unsafe { libc::backtrace(calls.as_mut_ptr(), DEEP as libc::c_int) };
    calls.truncate(count.max(0) as usize);
    let of_cells = calls.into_iter().filter_map(|behind| {
        // A return address is behind the call.
        let call = (behind as usize).wrapping_sub(1);
        // SAFETY: `Dl_info` is a plain structure of pointers that the call fills in; any address may be asked about.
        let (found, info) = unsafe {
            let mut info: libc::Dl_info = std::mem::zeroed();
            (libc::dladdr(call as *const c_void, &mut info), info)
        };
        if found == 0 || info.dli_fname.is_null() {
            return None;
        }
        // SAFETY: the loader's own string, of a library that stays loaded.
        let file = unsafe { CStr::from_ptr(info.dli_fname) }.to_str().ok()?;
        let name = Path::new(file).file_name()?.to_str()?;
        let address = call.wrapping_sub(info.dli_fbase as usize);
        name.starts_with(CELL)
            .then(|| json!({ "file": file, "address": address }))
    });
    of_cells.take(MANY).collect()
}
