//! Children that end with their parent, also when it was killed and could not end them.

use std::io;
use std::os::unix::process::{CommandExt, parent_id};
use std::process::{Child, Command};
use std::time::Duration;

/// How often a watched parent is looked for.
const LOOK: Duration = Duration::from_millis(200);

/// This process is killed when the thread that started it has ended.
pub fn die_with_parent() {
    // SAFETY: a plain system call without pointers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// What `command` starts is killed when the thread that starts it has ended.
pub fn let_die_with_us(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only a plain system call is made.
    unsafe {
        command.pre_exec(|| {
            die_with_parent();
            Ok(())
        })
    }
}

/// Starts `command` with a process group of its own, which is killed when the parent of this process is gone: what it
/// starts in turn ends with it.
///
/// # Errors
/// When it cannot be started.
pub fn spawn_group(command: &mut Command) -> io::Result<Child> {
    let parent = parent_id();
    let child = let_die_with_us(command.process_group(0)).spawn()?;
    let group = child.id() as i32;
    std::thread::spawn(move || {
        while parent_id() == parent {
            std::thread::sleep(LOOK);
        }
        // SAFETY: a signal to a group that this process has made and not waited for.
        unsafe { libc::kill(-group, libc::SIGKILL) };
        std::process::exit(1)
    });
    Ok(child)
}

/// Kills this process and its group, which it leads, when its parent is gone.
pub fn end_group_with_parent() {
    let parent = parent_id();
    std::thread::spawn(move || {
        while parent_id() == parent {
            std::thread::sleep(LOOK);
        }
        // SAFETY: a signal to our own group.
        unsafe { libc::kill(0, libc::SIGKILL) };
    });
}
