//! Large messages go back to the system when they have left.

/// Tells glibc to map every large allocation on its own, and to unmap it when it is freed.
///
/// Text travels in messages of 1 MB. By default glibc takes the first of them that is freed as a sign that such sizes
/// belong on its heaps, of which each thread has one; they come back in another order than they were taken, and a
/// kernel that printed 200 MB keeps 35 MB of holes. Elsewhere there is no such setting, and nothing happens.
pub fn return_large_allocations() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // Allocations from this size on are mappings of their own, in bytes.
        const OWN_MAPPING: libc::c_int = 256 << 10;
        // SAFETY: `mallopt` takes two numbers and may be called at any time.
        let set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING) };
        debug_assert_eq!(set, 1, "M_MMAP_THRESHOLD is refused");
    }
}
