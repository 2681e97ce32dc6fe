//! The child between evcxr and the running cells.
//!
//! evcxr starts this process in place of its runtime. It starts the real runtime behind pipes of its
//! own, gives evcxr only evcxr's protocol, and sends everything else to the kernel at once. It also
//! passes signals on, and takes the runtime with it when the kernel is gone. All that is meant for the kernel stands
//! behind a secret of the session on the runtime's standard output, so that nothing a cell prints is taken for it.
//!
//! ```text
//! kernel --stdin--> supervisor ==stdin==> runtime (cells, library)
//! kernel <-stdout-- supervisor <-stdout/stderr-- runtime
//! kernel <==frames== supervisor; kernel ==commands==> supervisor
//! ```

mod descriptors;
pub mod frame;
mod heard;
mod input;
mod order;
mod relay;
mod runtime;
pub mod socket;
mod splitter;
mod waiting;

use relay::Supervisor;

use crate::orphans;

/// First argument of our own binary that makes it a supervisor.
pub const SUPERVISOR: &str = "__supervisor";
/// First argument of our own binary that makes it the runtime.
const RUNTIME: &str = "__runtime";
/// Environment of the runtime until the library has read it: what stands before its messages.
const WIRE: &str = "REBIT_WIRE";
/// Environment of the supervisor: the folder of the kernel's socket, which is the session's own.
pub const SOCKET: &str = "REBIT_SOCKET";

/// Stands for a colon inside a prompt.
pub const COLON: u8 = 0x1f;

/// Commands of the kernel, one byte each.
pub mod command {
    /// Send the runtime SIGINT.
    pub const INTERRUPT: u8 = b'I';
    /// Kill the runtime and everything it started.
    pub const KILL: u8 = b'K';
    /// Answer with a `Sync` frame; one byte follows.
    pub const SYNC: u8 = b'Y';
}

/// Runs the role that the first argument names; returns only when it names none.
pub fn roles() {
    match std::env::args().nth(1).as_deref() {
        Some(SUPERVISOR) => {
            let status = Supervisor::start().and_then(Supervisor::run);
            match status {
                Ok(status) => std::process::exit(status),
                Err(error) => {
                    eprintln!("supervisor: {error}");
                    std::process::exit(98)
                }
            }
        }
        Some(RUNTIME) => {
            begin_runtime();
            match runtime::run() {
                Ok(()) => std::process::exit(0),
                Err(error) => {
                    eprintln!("runtime: {error}");
                    std::process::exit(99)
                }
            }
        }
        _ => {}
    }
}

fn begin_runtime() {
    orphans::die_with_parent();
    // SAFETY: the handler does nothing.
    unsafe {
        // An interrupt must not end the process before the library has its own handler.
        libc::signal(libc::SIGINT, ignore as *const () as libc::sighandler_t);
    }
    // When memory runs out, the cells go and the kernel stays. Without it chance decides.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
}

extern "C" fn ignore(_: libc::c_int) {}
