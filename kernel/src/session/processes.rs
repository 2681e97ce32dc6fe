//! Finds and ends the compilers that evcxr started for us.

use std::collections::HashMap;
use std::fs;

/// Asks every cargo, rustc and linker below this process to end.
pub fn end_compilers() {
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
    let mut left = vec![std::process::id() as i32];
    let mut is_first = true;
    while let Some(parent) = left.pop() {
        for (id, name) in children.remove(&parent).unwrap_or_default() {
            // Our own supervisor is a child as well, and bears our name.
            if is_first && !matches!(name.as_str(), "cargo" | "rustc") {
                continue;
            }
            // SAFETY: a signal to a process below ours; a wrong id would be an error, not memory.
            unsafe { libc::kill(id, libc::SIGTERM) };
            left.push(id);
        }
        is_first = false;
    }
}

/// The command's name and the parent's id from `/proc/ID/stat`.
fn name_and_parent(stat: &str) -> Option<(String, i32)> {
    let (head, rest) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_string();
    let parent = rest.split_whitespace().nth(1)?.parse().ok()?;
    Some((name, parent))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_stat_line_is_read_from_behind() {
        assert_eq!(
            super::name_and_parent("12 (a) b) S 7 12 12 0"),
            Some(("a) b".to_string(), 7))
        );
        assert_eq!(super::name_and_parent("garbage"), None);
    }
}
