//! What sessions compiled for further dependencies, kept beside the finished library for the sessions after them.
//!
//! Cargo names a crate's artefacts by a hash of everything they depend on, so artefacts of different sessions lie side
//! by side, and a session that starts from all of them compiles only what none has compiled before. The library itself
//! is left out: its dylib has no hash, and is compiled anew where further dependencies change its features.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::workshop::link::{link_tree, link_tree_of};

/// One session writes or reads at a time.
fn locked(master: &Path) -> Result<(fs::File, PathBuf)> {
    let pool = master.join("pool");
    fs::create_dir_all(&pool).map_err(|e| Error::io(&pool, e))?;
    let path = pool.join("lock");
    let lock = fs::File::create(&path).map_err(|e| Error::io(&path, e))?;
    lock.lock().map_err(|e| Error::io(&path, e))?;
    Ok((lock, pool.join("target")))
}

/// Puts what a session has compiled into the pool.
///
/// # Errors
/// When the cache cannot be written.
pub fn put(session: &Path, master: &Path) -> Result<()> {
    let (_lock, pool) = locked(master)?;
    link_tree_of(&session.join("target"), &pool, &|name| {
        let name = name.strip_prefix("lib").unwrap_or(name);
        !name.starts_with("rebit")
    })
}

/// Gives a session what others have compiled.
///
/// # Errors
/// When the session's folder cannot be written.
pub fn take(session: &Path, master: &Path) -> Result<()> {
    let (_lock, pool) = locked(master)?;
    if !pool.exists() {
        return Ok(());
    }
    link_tree(&pool, &session.join("target"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_finds_what_another_compiled_but_not_its_library() {
        let folder = tempfile::tempdir().unwrap();
        let (master, first, second) = (
            folder.path().join("master"),
            folder.path().join("first"),
            folder.path().join("second"),
        );
        let files = [
            "debug/deps/libregex-1.rlib",
            "debug/.fingerprint/regex-1/lib-regex",
            "debug/deps/librebit.so",
            "debug/.fingerprint/rebit-2/lib-rebit",
            "debug/deps/libctx.so",
        ];
        for name in files {
            let path = first.join("target").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        // Without a pool there is nothing to take.
        take(&second, &master).unwrap();
        assert!(!second.join("target").exists());
        put(&first, &master).unwrap();
        take(&second, &master).unwrap();
        let found: Vec<bool> = files
            .iter()
            .map(|name| second.join("target").join(name).exists())
            .collect();
        assert_eq!(found, [true, true, false, false, false]);
    }
}
