//! What sessions compiled for further dependencies, kept beside the finished library for the sessions after them.
//!
//! Cargo names a crate's artefacts by a hash of everything they depend on, so artefacts of different sessions lie side
//! by side, and a session that starts from all of them compiles only what none has compiled before. The library itself
//! is left out. What lies there is sealed: a file that is not as it was put there is not given to a session, where cargo
//! then finds it missing and compiles its crate again.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::workshop::link::link_tree_of;
use crate::workshop::seal::{self, Seal, State};

/// What the seal is for.
const KEY: &str = "pool";

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
    })?;
    Seal::renew(&pool, KEY)
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
    let damaged = match Seal::check(&pool, KEY) {
        State::Whole => Vec::new(),
        State::Damaged(files) => files,
        State::Unsealed => {
            // Nobody knows what it was.
            return fs::remove_dir_all(&pool).map_err(|e| Error::io(&pool, e));
        }
    };
    // A session that was killed may have put files there and not sealed them.
    for file in damaged.into_iter().chain(Seal::unsealed(&pool, KEY)) {
        let file = pool.join(file);
        match fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(&file, e)),
            _ => {}
        }
    }
    link_tree_of(&pool, &session.join("target"), &|name| name != seal::NAME)
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

    #[test]
    fn what_is_damaged_is_not_given_to_a_session() {
        let folder = tempfile::tempdir().unwrap();
        let master = folder.path().join("master");
        let place = |name: &str| folder.path().join(name);
        let write = |path: &Path, text: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let names = [
            "debug/deps/liba-1.rlib",
            "debug/deps/a-1.d",
            "debug/deps/libb-1.rlib",
        ];
        for name in names {
            write(&place("first").join("target").join(name), name);
        }
        put(&place("first"), &master).unwrap();
        let taken = |session: &str| {
            take(&place(session), &master).unwrap();
            names.map(|name| place(session).join("target").join(name).exists())
        };
        assert_eq!(taken("second"), [true; 3]);
        let pool = master.join("pool/target");
        write(&pool.join(names[0]), "debug/deps/libX-1.rlib");
        write(&pool.join(names[1]), "");
        write(&pool.join("debug/deps/libc-1.rlib"), "not sealed");
        assert_eq!(taken("third"), [false, false, true]);
        assert!(
            !place("third")
                .join("target/debug/deps/libc-1.rlib")
                .exists()
        );
        // What is compiled again comes back.
        for name in names {
            write(&place("third").join("target").join(name), name);
        }
        put(&place("third"), &master).unwrap();
        assert_eq!(taken("fourth"), [true; 3]);
        // Without its seal nobody can tell, and it begins anew.
        fs::write(pool.join("seal.json"), "{").unwrap();
        assert_eq!(taken("fifth"), [false; 3]);
        assert!(!pool.exists());
    }
}
