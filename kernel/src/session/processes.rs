//! Finds and ends the compilers that evcxr started for a session.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::orphans::name_and_parent;

/// Asks every cargo, rustc and linker that works for the session in `folder` to end, wherever below this process it is.
/// Other sessions of the process keep theirs.
pub fn end_compilers(folder: &Path) {
    let mut children: HashMap<i32, Vec<(i32, String)>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some((name, parent)) = name_and_parent(&stat) {
            children.entry(parent).or_default().push((id, name));
        }
    }
    let ours = children.remove(&(std::process::id() as i32));
    // Our own supervisor is a child as well, and bears our name.
    let is_compiler = |name: &str| matches!(name, "cargo" | "rustc");
    let mut left: Vec<i32> = ours
        .into_iter()
        .flatten()
        .filter(|(id, name)| is_compiler(name) && works_for(*id, folder))
        .map(|(id, _)| id)
        .collect();
    while let Some(id) = left.pop() {
        // SAFETY: a signal to a process below ours; a wrong id would be an error, not memory.
        unsafe { libc::kill(id, libc::SIGTERM) };
        // Those below it work for the same session, wherever they do so.
        left.extend(children.remove(&id).into_iter().flatten().map(|(id, _)| id));
    }
}

/// Whether a process works in a session's folder, or is told of it.
fn works_for(id: i32, folder: &Path) -> bool {
    let process = Path::new("/proc").join(id.to_string());
    if fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder)) {
        return true;
    }
    let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
    let folder = folder.as_os_str().as_bytes();
    memchr::memmem::find(&arguments, folder).is_some()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A shell named cargo with one more below it, in `here` and with these words; and the id of the inner one.
    fn compiler(tools: &Path, here: &Path, word: &str) -> (Child, i32) {
        // The inner one works elsewhere, as rustc does below cargo for a crate of a registry.
        let script = "cd / && sh -c 'echo $$; exec sleep 60' & wait";
        let mut child = Command::new(tools.join("cargo"))
            .args(["-c", script, word])
            .current_dir(here)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        (child, line.trim().parse().unwrap())
    }

    #[test]
    fn only_the_compilers_of_one_session_end() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let place = |name: &str| {
            let place = folder.join(name);
            fs::create_dir(&place).unwrap();
            place
        };
        let (tools, one, other) = (place("tools"), place("one"), place("other"));
        std::os::unix::fs::symlink("/bin/sh", tools.join("cargo")).unwrap();
        let told = one.join("Cargo.toml").display().to_string();
        let ended = [
            compiler(&tools, &one, ""),
            compiler(&tools, Path::new("/"), &told),
        ];
        let mut going_on = compiler(&tools, &other, "");
        end_compilers(&one);
        let is_there = |id: i32| {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| !rest.trim().is_empty() && !rest.starts_with(" Z"))
        };
        for (mut outer, inner) in ended {
            outer.wait().unwrap();
            let begin = std::time::Instant::now();
            while is_there(inner) && begin.elapsed().as_secs() < 10 {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            assert!(!is_there(inner));
        }
        assert!(going_on.0.try_wait().unwrap().is_none() && is_there(going_on.1));
        end_compilers(&other);
        going_on.0.wait().unwrap();
    }
}
