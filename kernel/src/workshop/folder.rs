//! The folder of one session: our cargo, the cell crate, what is compiled there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use super::Prepared;
use super::cargo::write_profile;
use super::session_files::{Settings, session_folders};
use crate::error::{Error, Result};
use crate::folders::cache_folder;

/// The folder of one session, removed with it.
pub struct SessionFolder {
    /// Where it is.
    pub path: PathBuf,
    _alive: fs::File,
}

impl SessionFolder {
    /// A fresh folder with our cargo in it; also removes folders whose sessions are dead.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn new(prepared: &Prepared) -> Result<SessionFolder> {
        let cache = cache_folder();
        for old in session_folders(&cache) {
            if let Ok(file) = fs::File::open(old.join("alive"))
                && file.try_lock().is_ok()
            {
                let _ = fs::remove_dir_all(&old);
            }
        }
        let parent = cache.join("sessions");
        fs::create_dir_all(&parent).map_err(|e| Error::io(&parent, e))?;
        write_profile(&cache)?;
        let path = tempfile::Builder::new()
            .prefix(&format!("{}-", std::process::id()))
            .tempdir_in(&parent)
            .map_err(|e| Error::io(&parent, e))?
            .keep();
        let write = |name: &str, text: &[u8]| {
            let file = path.join(name);
            fs::write(&file, text).map_err(|e| Error::io(&file, e))
        };
        write("alive", b"")?;
        let alive = fs::File::open(path.join("alive")).map_err(|e| Error::io(&path, e))?;
        alive.lock().map_err(|e| Error::io(&path, e))?;
        install(&path, prepared)?;
        let lock = prepared.master.join("base/Cargo.lock");
        fs::copy(&lock, path.join("Cargo.lock")).map_err(|e| Error::io(&lock, e))?;
        Ok(SessionFolder {
            path,
            _alive: alive,
        })
    }
}

/// Puts `bin/cargo` and `bin/rustup` into a session folder.
///
/// # Errors
/// When the folder cannot be written.
fn install(session: &Path, prepared: &Prepared) -> Result<()> {
    Settings::new(prepared).write(session)?;
    let bin = session.join("bin");
    fs::create_dir_all(&bin).map_err(|e| Error::io(&bin, e))?;
    let exe = crate::executable()?;
    for name in ["cargo", "rustup"] {
        let link = bin.join(name);
        std::os::unix::fs::symlink(&exe, &link).map_err(|e| Error::io(&link, e))?;
    }
    // Asked for its version again and again; behind rustup's proxy each answer takes longer.
    let link = bin.join("rustc");
    std::os::unix::fs::symlink(&prepared.tools.rustc, &link).map_err(|e| Error::io(&link, e))
}

/// The folder whose tools all sessions of this process use, there while one of them is.
///
/// evcxr and its analyser find cargo through the process environment, which sessions share: were it the
/// newest session's folder, the others would lose their cargo with it.
///
/// # Errors
/// When the folder cannot be written.
pub fn home(prepared: &Prepared) -> Result<Arc<SessionFolder>> {
    static HOME: Mutex<Weak<SessionFolder>> = Mutex::new(Weak::new());
    let mut home = HOME.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(folder) = home.upgrade() {
        return Ok(folder);
    }
    let folder = Arc::new(SessionFolder::new(prepared)?);
    *home = Arc::downgrade(&folder);
    Ok(folder)
}

impl Drop for SessionFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
