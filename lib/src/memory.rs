//! Freed memory that the process keeps, so that a step finds the pages of the step before.
//!
//! What an operation on a tape returns is a tensor of its own, taken from the system's allocator and freed when the step
//! ends. glibc gives the free end of its heap back to the system as soon as it is twice as long as the longest buffer that
//! was freed, and the next step asks for the same pages again: each is a fault, and is filled with zeros by the system.
//! Half of an operation's time can be that. So glibc is told once to keep more; what is kept has a bound.

/// Buffers from this size on are mappings of their own, which go back to the system when they are freed: the largest size
/// that glibc takes on its heaps.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_MAPPING: libc::c_int = 32 << 20;
/// What stays of the free end of a heap, in bytes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: libc::c_int = 256 << 20;

/// Tells glibc to keep up to 256 MB of what is freed at the end of a heap. Who has set glibc's own variables
/// (`MALLOC_TRIM_THRESHOLD_`, `MALLOC_MMAP_THRESHOLD_`) keeps these; elsewhere there is no such setting, and nothing
/// happens.
pub(crate) fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let set = |name: &str, what, bytes| {
            if std::env::var_os(name).is_none() {
                // SAFETY: `mallopt` takes two numbers and may be called at any time.
                let set = unsafe { libc::mallopt(what, bytes) };
                debug_assert_eq!(set, 1, "glibc refuses {name}");
            }
        };
        set(
            "MALLOC_MMAP_THRESHOLD_",
            libc::M_MMAP_THRESHOLD,
            OWN_MAPPING,
        );
        set("MALLOC_TRIM_THRESHOLD_", libc::M_TRIM_THRESHOLD, KEPT);
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    /// Pages that this thread has had to ask for.
    fn faults() -> i64 {
        // SAFETY: all zeros is a `rusage`, and the call writes to the one that it is lent.
        let (failed, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::getrusage(libc::RUSAGE_THREAD, &mut usage), usage)
        };
        assert_eq!(failed, 0);
        usage.ru_minflt
    }

    #[test]
    fn a_round_finds_the_pages_of_the_round_before() {
        const PIECE: usize = 8 << 20;
        let _ = crate::dev();
        // Left to itself, glibc keeps twice the longest of them.
        let round = || {
            let all: Vec<Vec<u8>> = (0..4).map(|_| vec![1; PIECE]).collect();
            std::hint::black_box(&all);
        };
        round();
        let before = faults();
        (0..5).for_each(|_| round());
        let found = faults() - before;
        assert!(found < 4 * PIECE as i64 / 4096, "{found} pages");
    }
}
