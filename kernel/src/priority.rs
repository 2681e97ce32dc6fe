//! Work that nobody waits for yet.

/// This thread, and those that it starts, run when nobody else wants to.
pub fn yield_to_others() {
    // SAFETY: plain system calls without pointers; on Linux a priority belongs to a thread.
    unsafe {
        let thread = libc::syscall(libc::SYS_gettid) as libc::id_t;
        libc::setpriority(libc::PRIO_PROCESS, thread, 19);
    }
}
