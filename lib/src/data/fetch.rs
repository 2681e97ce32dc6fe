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
    let home_cache = if cfg!(target_os = "macos") {
        "Library/Caches"
    } else {
        ".cache"
    };
    // The XDG specification: a relative path is to be ignored.
    let cache = env("XDG_CACHE_HOME")
        .filter(|p| p.is_absolute())
        .or_else(|| Some(env("HOME")?.join(home_cache)))
        .ok_or_else(|| {
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
