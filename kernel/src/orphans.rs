//! Children that end with their parent, also when it was killed and could not end them.

use std::io;
use std::os::unix::process::{CommandExt, parent_id};
use std::process::{Child, Command};
use std::time::Duration;

/// How often a watched parent is looked for.
const LOOK: Duration = Duration::from_millis(200);

/// Environment: the process for which compilers work. Whoever does not descend from it any more has lost its parent
/// before it could ask to die with it.
pub const OWNER: &str = "REBIT_OWNER";

/// This process is killed when the thread that started it has ended, at once when that was before this call.
pub fn die_with_parent() {
    ask_to_die_with_parent();
    end_if_orphan();
}

fn ask_to_die_with_parent() {
    // SAFETY: a plain system call without pointers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Ends this process when its [`OWNER`] is no longer above it.
fn end_if_orphan() {
    let owner = std::env::var(OWNER).ok().and_then(|id| id.parse().ok());
    if owner.is_some_and(|owner: u32| !is_below(owner)) {
        std::process::exit(1);
    }
}

/// Whether `ancestor` is above this process.
fn is_below(ancestor: u32) -> bool {
    let mut id = parent_id();
    while id != ancestor {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        match name_and_parent(&stat) {
            Some((_, parent)) if parent > 0 => id = parent as u32,
            _ => return false,
        }
    }
    true
}

/// The command's name and the parent's id from `/proc/ID/stat`; the name, in brackets, may hold anything.
pub fn name_and_parent(stat: &str) -> Option<(String, i32)> {
    let (head, rest) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_string();
    let parent = rest.split_whitespace().nth(1)?.parse().ok()?;
    Some((name, parent))
}

/// What `command` starts is killed when the thread that starts it has ended.
pub fn let_die_with_us(command: &mut Command) -> &mut Command {
    let parent = std::process::id();
    // SAFETY: between fork and exec only plain system calls are made.
    unsafe {
        command.pre_exec(move || {
            ask_to_die_with_parent();
            match parent_id() == parent {
                true => Ok(()),
                false => Err(io::Error::from_raw_os_error(libc::ESRCH)),
            }
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
    end_if_orphan();
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
    end_if_orphan();
    std::thread::spawn(move || {
        while parent_id() == parent {
            std::thread::sleep(LOOK);
        }
        // SAFETY: a signal to our own group.
        unsafe { libc::kill(0, libc::SIGKILL) };
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_who_is_above_it() {
        assert!(is_below(parent_id()));
        assert!(!is_below(std::process::id()));
    }

    #[test]
    fn a_stat_line_is_read_from_behind() {
        assert_eq!(
            name_and_parent("12 (a) b) S 7 12 12 0"),
            Some(("a) b".to_string(), 7))
        );
        assert_eq!(name_and_parent("garbage"), None);
    }
}
