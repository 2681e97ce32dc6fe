//! Finished builds: made once, found again, removed when newer ones replace them.

use std::fs;
use std::path::{Path, PathBuf};

use super::build::build;
use super::key::key;
use super::recipe::Recipe;
use super::seal::{Seal, State};
use super::session_files::{SETTINGS, session_folders};
use super::{BuildProgress, Features, Prepared, Tools};
use crate::error::{Error, Result};
use crate::files;
use crate::folders::{cache_folder, library_folder};

/// How many finished builds are kept.
const KEEP: usize = 2;

/// The library, compiled for sessions if it is not yet; `progress` is called for each crate.
///
/// # Errors
/// A missing toolchain or linker, features that have no such name, a library that does not compile, a full disk.
pub fn prepare(progress: &mut dyn FnMut(BuildProgress)) -> Result<Prepared> {
    let library = library_folder();
    if !library.join("Cargo.toml").is_file() {
        return Err(Error::Tool {
            what: format!("the library is not in {}", library.display()),
            remedy: "Set REBIT_LIBRARY to the `lib` folder of a rebit checkout".to_string(),
        });
    }
    let features = Features::wanted()?;
    let tools = Tools::find()?;
    let cache = cache_folder();
    let key = key(&library, &features, &tools)?;
    let master = cache.join(&key);
    files::own_folder(&cache)?;
    for inner in [&master, &cache.join("building")] {
        if inner.exists() {
            files::own_folder(inner)?;
        }
    }
    let prepared = Prepared {
        library,
        features,
        master: master.clone(),
        tools,
    };
    if is_ready(&master, &key) {
        touch(&master);
        return Ok(prepared);
    }
    // One builds, everybody else waits for it.
    let lock_path = cache.join("build.lock");
    let lock = fs::File::create(&lock_path).map_err(|e| Error::io(&lock_path, e))?;
    lock.lock().map_err(|e| Error::io(&lock_path, e))?;
    if Seal::check(&master, &key) == State::Whole {
        // Only the mark was missing or wrong.
        files::write(&master.join("ready"), key.as_bytes())?;
    }
    if !is_ready(&master, &key) {
        let newest = finished(&cache).into_iter().next();
        build(&prepared, &key, newest.as_deref(), progress)?;
        prune(&cache, &key);
    }
    Ok(prepared)
}

/// Whether a finished build for the present library and toolchain exists.
pub fn is_prepared() -> bool {
    let library = library_folder();
    let key = || key(&library, &Features::wanted()?, &Tools::find()?);
    key().is_ok_and(|key| is_ready(&cache_folder().join(&key), &key))
}

/// A build is finished when its last file says so and what it names is there, as it was.
fn is_ready(master: &Path, key: &str) -> bool {
    fs::read_to_string(master.join("ready")).is_ok_and(|text| text == key)
        && Seal::check(master, key) == State::Whole
        && Recipe::read(&master.join("recipe.json"))
            .is_some_and(|recipe| recipe.externs_exist(master))
}

fn touch(master: &Path) {
    // Only the order of pruning depends on it.
    if let Ok(file) = fs::File::open(master.join("ready")) {
        let _ = file.set_modified(std::time::SystemTime::now());
    }
}

/// Finished builds, newest first.
fn finished(cache: &Path) -> Vec<PathBuf> {
    let mut found: Vec<(std::time::SystemTime, PathBuf)> = fs::read_dir(cache)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter_map(|path| {
            let ready = fs::metadata(path.join("ready")).ok()?;
            (path.file_name()? != "building").then_some((ready.modified().ok()?, path))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

/// Removes all but the newest builds, except where a session still uses one.
fn prune(cache: &Path, current: &str) {
    let others = finished(cache)
        .into_iter()
        .filter(|path| !path.ends_with(current));
    for path in others.skip(KEEP - 1) {
        let name = format!("{:?}", path.display().to_string());
        let in_use = session_folders(cache).iter().any(|session| {
            fs::read_to_string(session.join(SETTINGS)).is_ok_and(|text| text.contains(&name))
        });
        if !in_use {
            let _ = fs::remove_dir_all(&path);
        }
    }
}
