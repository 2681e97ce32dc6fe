//! The folder of one session: our cargo, the cell crate, what is compiled there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::Prepared;
use super::cargo::write_profile;
use super::session_files::{Settings, session_folders};
use crate::error::{Error, Result};
use crate::files;
use crate::folders::cache_folder;

/// A folder without a sign of life is left alone for so long: its session may be making it.
const UNBORN: Duration = Duration::from_secs(600);

/// Removes folders whose sessions are dead, and what their analysers left elsewhere.
fn sweep(cache: &Path) {
    for old in session_folders(cache) {
        let dead = match fs::File::open(old.join(ALIVE)) {
            Ok(file) => file.try_lock().is_ok(),
            Err(_) => fs::metadata(&old)
                .and_then(|folder| folder.modified())
                .is_ok_and(|time| time.elapsed().is_ok_and(|age| age > UNBORN)),
        };
        if dead {
            let _ = fs::remove_dir_all(&old);
        }
    }
    // evcxr's analyser makes them in the system's temporary folder, named after its process.
    for left in fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = left.file_name().to_string_lossy().into_owned();
        let process = name
            .strip_prefix("rust-analyzer")
            .and_then(|rest| u32::from_str_radix(rest.split_once('-')?.0, 16).ok());
        if process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            // Of another user it stays.
            let _ = fs::remove_dir_all(left.path());
        }
    }
}

/// The file that a living session holds locked.
const ALIVE: &str = "alive";

/// Says that the session in `folder` lives, as long as the file is open. It is locked before it has its name, so that
/// nobody finds it without its lock.
fn stay_alive(folder: &Path) -> std::io::Result<fs::File> {
    let unborn = folder.join("unborn");
    let file = fs::File::create(&unborn)?;
    file.lock()?;
    fs::rename(&unborn, folder.join(ALIVE))?;
    Ok(file)
}

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
        sweep(&cache);
        let parent = cache.join("sessions");
        files::own_folder(&parent)?;
        write_profile(&cache)?;
        let path = tempfile::Builder::new()
            .prefix(&format!("{}-", std::process::id()))
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(&parent)
            .map_err(|e| Error::io(&parent, e))?
            .keep();
        let alive = stay_alive(&path).map_err(|e| Error::io(&path, e))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sweep_takes_the_dead_and_leaves_the_living_and_the_unborn() {
        let cache = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let folder = cache.path().join("sessions").join(name);
            fs::create_dir_all(&folder).unwrap();
            folder
        };
        let (living, dead, unborn, stillborn) = (
            make("living"),
            make("dead"),
            make("unborn"),
            make("stillborn"),
        );
        let _alive = stay_alive(&living).unwrap();
        drop(stay_alive(&dead).unwrap());
        let old = std::time::SystemTime::now() - 2 * UNBORN;
        fs::File::open(&stillborn)
            .unwrap()
            .set_modified(old)
            .unwrap();
        sweep(cache.path());
        let left = [living, dead, unborn, stillborn].map(|folder| folder.exists());
        assert_eq!(left, [true, false, true, false]);
    }

    #[test]
    fn many_first_starts_leave_each_other_alone() {
        let cache = tempfile::tempdir().unwrap();
        let sessions = cache.path().join("sessions");
        fs::create_dir(&sessions).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (cache, sessions) = (cache.path(), &sessions);
                scope.spawn(move || {
                    for round in 0..200 {
                        sweep(cache);
                        let folder = sessions.join(format!("{thread}-{round}"));
                        fs::create_dir(&folder).unwrap();
                        let alive = stay_alive(&folder).unwrap();
                        sweep(cache);
                        assert!(folder.join(ALIVE).exists());
                        drop(alive);
                    }
                });
            }
        });
    }
}
