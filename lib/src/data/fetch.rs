//! Getting a data set once: the cache folder, the package clients, checksums, and a place to work that
//! leaves nothing behind.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::error::{Error, Result};
use crate::files::user_cache;
use crate::show::{Progress, check_interrupt};

/// Where data sets live: `REBIT_DATA`, or `rebit/data` in the platform's cache folder
/// (`$XDG_CACHE_HOME`, `~/.cache`, on macOS `~/Library/Caches`).
///
/// # Errors
/// [`Error::Invalid`] when neither `REBIT_DATA` nor a home folder is known.
pub fn data_folder() -> Result<PathBuf> {
    data_folder_from(|name| {
        let value = std::env::var_os(name)?;
        (!value.is_empty()).then(|| PathBuf::from(value))
    })
}

fn data_folder_from(env: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf> {
    if let Some(folder) = env("REBIT_DATA") {
        return Ok(folder);
    }
    let cache = user_cache(env).ok_or_else(|| {
        Error::invalid(
            "data folder",
            "neither REBIT_DATA nor HOME is set; set REBIT_DATA to a folder for data sets",
        )
    })?;
    Ok(cache.join("rebit").join("data"))
}

/// Makes `target` (a folder below `root`) exactly once, however many processes want it.
///
/// `make` fills a temporary folder beside `target`, which is then renamed; on an error or a crash
/// nothing is left under the final name. Does nothing when `target` is there already.
pub(super) fn make_folder_once(
    target: &Path,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    if target.exists() {
        return Ok(());
    }
    let (Some(root), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(Error::invalid("data folder", "it has no parent folder"));
    };
    let name = name.to_string_lossy();
    fs::create_dir_all(root).map_err(|e| Error::io(root, e))?;
    let lock_path = root.join(format!(".{name}.lock"));
    let lock = File::create(&lock_path).map_err(|e| Error::io(&lock_path, e))?;
    let locked = match lock.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => {
            let _waiting =
                Progress::new(format!("waiting for another process to make {name}"), None);
            lock.lock().is_ok()
        }
        // A file system without locks: the rename below still decides who is first.
        Err(TryLockError::Error(_)) => false,
    };
    if target.exists() {
        return Ok(());
    }
    let prefix = format!(".{name}.tmp-");
    if locked {
        remove_leftovers(root, &prefix);
    }
    let work = tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(root)
        .map_err(|e| Error::io(root, e))?;
    let finished = work.path().join("finished");
    fs::create_dir(&finished).map_err(|e| Error::io(&finished, e))?;
    make(&finished)?;
    match fs::rename(&finished, target) {
        // Somebody else was first: theirs is as good.
        Err(_) if target.exists() => Ok(()),
        other => other.map_err(|e| Error::io(target, e)),
    }
}

/// What a killed process left behind; only called while holding the lock.
fn remove_leftovers(root: &Path, prefix: &str) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A temporary folder beside `finished`, on the same file system, removed when dropped.
pub(super) fn scratch_beside(finished: &Path) -> Result<TempDir> {
    let parent = finished.parent().unwrap_or(Path::new("."));
    TempDir::new_in(parent).map_err(|e| Error::io(parent, e))
}

/// Runs a package client in `folder` and waits, with a spinner on a terminal.
///
/// `instead` says what the user can do without this client.
pub(super) fn run_client(
    program: &str,
    arguments: &[&str],
    folder: &Path,
    what: &str,
    instead: &str,
) -> Result<()> {
    let log_path = folder.join(".client.log");
    let log = File::create(&log_path).map_err(|e| Error::io(&log_path, e))?;
    let log_too = log.try_clone().map_err(|e| Error::io(&log_path, e))?;
    let started = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_too)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let why = format!("`{program}` is not installed, and it fetches {what}. {instead}");
            return Err(Error::invalid(program, why));
        }
        Err(e) => return Err(Error::io(program, e)),
    };
    let mut progress = Progress::new(format!("fetching {what} with {program}"), None);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => std::thread::sleep(Duration::from_millis(50)),
            Err(e) => return Err(Error::io(program, e)),
        }
        progress.tick();
        if let Err(interrupted) = check_interrupt() {
            let _ = child.kill().and_then(|()| child.wait());
            return Err(interrupted);
        }
    };
    drop(progress);
    if status.success() {
        return Ok(());
    }
    let said = fs::read_to_string(&log_path).unwrap_or_default();
    let said: Vec<&str> = said.lines().filter(|l| !l.trim().is_empty()).collect();
    let tail = said[said.len().saturating_sub(6)..].join("\n  ");
    Err(Error::invalid(
        format!("{program} {}", arguments.join(" ")),
        format!(
            "ended with {status}; its last words:\n  {tail}\nCheck the network and the free space, then try again. {instead}"
        ),
    ))
}

/// The SHA-256 of a file, as lower-case hexadecimal.
pub(super) fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(|e| Error::io(path, e))? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect())
}

/// Compares a fetched file with the checksum that the library was tested with.
pub(super) fn check_sha256(path: &Path, expected: &str, remedy: &str) -> Result<()> {
    let found = sha256(path)?;
    if found == expected {
        return Ok(());
    }
    let why = format!("its SHA-256 is {found} instead of {expected}");
    Err(Error::data(path, why, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_data_folder_is_the_users_choice_or_the_platforms_cache() {
        let with = |pairs: &[(&str, &str)]| {
            data_folder_from(|name| {
                let pair = pairs.iter().find(|(n, _)| *n == name);
                pair.map(|(_, value)| PathBuf::from(value))
            })
        };
        let all = [
            ("REBIT_DATA", "/d"),
            ("XDG_CACHE_HOME", "/x"),
            ("HOME", "/h"),
        ];
        let folder = |n: usize| with(&all[n..]).unwrap();
        assert_eq!(folder(0), Path::new("/d"));
        assert_eq!(folder(1), Path::new("/x/rebit/data"));
        assert!(folder(2).starts_with("/h") && folder(2).ends_with("rebit/data"));
        let relative = with(&[("XDG_CACHE_HOME", "x"), ("HOME", "/h")]).unwrap();
        assert_eq!(relative, folder(2));
        assert!(
            with(&[])
                .unwrap_err()
                .to_string()
                .contains("set REBIT_DATA")
        );
    }

    #[test]
    fn a_folder_wanted_by_many_is_made_once_and_seen_only_complete() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("deep").join("data");
        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    make_folder_once(&target, |folder| {
                        made.fetch_add(1, Ordering::SeqCst);
                        fs::write(folder.join("a"), "1").unwrap();
                        std::thread::sleep(Duration::from_millis(20));
                        fs::write(folder.join("b"), "2").unwrap();
                        Ok(())
                    })
                    .unwrap();
                    assert_eq!(names(&target), ["a", "b"]);
                });
            }
        });
        assert_eq!(made.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn an_error_leaves_nothing_and_what_a_killed_process_left_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("data");
        let killed = root.path().join(".data.tmp-killed");
        fs::create_dir(&killed).unwrap();
        fs::write(killed.join("half"), "written").unwrap();
        let failed = make_folder_once(&target, |folder| {
            fs::write(folder.join("half"), "written").unwrap();
            Err(Error::Interrupted)
        });
        assert!(matches!(failed, Err(Error::Interrupted)));
        assert_eq!(names(root.path()), [".data.lock"]);
    }

    #[test]
    #[cfg(unix)]
    fn a_client_that_fails_or_is_missing_is_reported_with_its_words_and_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let run = |program: &str, arguments: &[&str]| {
            run_client(
                program,
                arguments,
                folder.path(),
                "things",
                "Or bring them yourself",
            )
        };
        run("sh", &["-c", "exit 0"]).unwrap();
        let message = run("sh", &["-c", "echo no route >&2; exit 7"]).unwrap_err();
        let message = message.to_string();
        for part in ["exit status: 7", "no route", "Or bring them yourself"] {
            assert!(message.contains(part), "{message}");
        }
        let message = run("no-such-client", &[]).unwrap_err().to_string();
        assert!(
            message.contains("`no-such-client` is not installed"),
            "{message}"
        );
        assert!(message.contains("Or bring them yourself"), "{message}");
    }

    #[test]
    fn a_file_with_another_checksum_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        fs::write(&path, "abc").unwrap();
        // The example of FIPS 180-2.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check_sha256(&path, abc, "again").unwrap();
        fs::write(&path, "abd").unwrap();
        let message = check_sha256(&path, abc, "Try again")
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("instead of ba7816bf") && message.contains("Try again"),
            "{message}"
        );
    }
}
