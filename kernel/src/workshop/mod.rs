//! The prebuilt library: where it lives, when it is stale, how a session gets it in a moment.
//!
//! The library is compiled once, at optimisation level 3, into `CACHE/KEY/base`, a finished session
//! folder. Beside it stands the *recipe*: the arguments with which cargo called rustc for the cell
//! crate. A session compiles its cells by that recipe against the finished library where it lies, so it
//! neither copies nor compiles anything, and cargo runs only for further dependencies ([`shim`]).

mod answers;
pub mod build;
pub mod shim;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Changes whenever the layout of the cache does.
const FORMAT: &str = "2";
/// How many finished builds are kept.
const KEEP: usize = 2;

/// How far a build of the library is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildProgress {
    /// Crates compiled so far.
    pub done: usize,
    /// Crates in all.
    pub total: usize,
    /// The crate that was started last.
    pub name: String,
}

/// A compiled library, ready for sessions.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The library's source folder.
    pub library: PathBuf,
    /// The finished build that sessions start from; never written to.
    pub master: PathBuf,
    /// The tools it was built with.
    pub tools: Tools,
}

impl Prepared {
    /// Where the cells of a session find their shared libraries, whatever their relative paths say.
    ///
    /// # Errors
    /// When a folder's name contains a colon.
    pub fn search_path(&self, session: &Path) -> Result<std::ffi::OsString> {
        let artefacts = Path::new("target")
            .join(self.tools.host())
            .join("debug/deps");
        let ours = [
            session.join(&artefacts),
            self.master.join("base").join(&artefacts),
            self.tools.library_path(),
        ];
        let inherited = std::env::var_os("LD_LIBRARY_PATH");
        let inherited = inherited.iter().flat_map(std::env::split_paths);
        std::env::join_paths(ours.into_iter().chain(inherited))
            .map_err(|e| Error::Session(format!("LD_LIBRARY_PATH: {e}")))
    }

    /// The line that makes the library a dependency of the cells.
    pub fn dependency(&self) -> String {
        dependency(&self.library)
    }
}

fn dependency(library: &Path) -> String {
    format!("rebit = {{ path = {:?} }}", library.display().to_string())
}

/// The Rust toolchain in use.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Tools {
    /// The real cargo, behind rustup's proxy.
    pub cargo: PathBuf,
    /// The real rustc.
    pub rustc: PathBuf,
    /// What `rustc -vV` says.
    pub version: String,
}

impl Tools {
    /// Finds cargo and rustc as rustup or the search path give them.
    ///
    /// # Errors
    /// [`Error::Tool`] when one is missing or does not run.
    pub fn find() -> Result<Tools> {
        let _environment = environment();
        let cargo = find_tool("cargo")?;
        let rustc = find_tool("rustc")?;
        let version = output_of(Command::new(&rustc).arg("-vV")).ok_or_else(|| Error::Tool {
            what: format!("{} does not run", rustc.display()),
            remedy: "Reinstall the Rust toolchain (https://rustup.rs)".to_string(),
        })?;
        Ok(Tools {
            cargo,
            rustc,
            version,
        })
    }

    /// Whether the sources of the standard library are installed (rustup's component rust-src).
    pub fn has_sources(&self) -> bool {
        self.rustc
            .ancestors()
            .nth(2)
            .is_some_and(|sysroot| sysroot.join("lib/rustlib/src/rust/library/core").is_dir())
    }

    /// The machine that cells are compiled for.
    pub fn host(&self) -> &str {
        self.version
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .unwrap_or("x86_64-unknown-linux-gnu")
    }

    /// The folder of the shared standard library.
    pub fn library_path(&self) -> PathBuf {
        output_of(Command::new(&self.rustc).args(["--print", "target-libdir"]))
            .map(|text| PathBuf::from(text.trim()))
            .unwrap_or_default()
    }
}

/// Held while the process environment is that of a session about to start, and while it must not be.
pub fn environment() -> std::sync::MutexGuard<'static, ()> {
    static ENVIRONMENT: Mutex<()> = Mutex::new(());
    ENVIRONMENT.lock().unwrap_or_else(|e| e.into_inner())
}

fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(std::process::Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn find_tool(name: &str) -> Result<PathBuf> {
    if let Some(path) = output_of(Command::new("rustup").args(["which", name])) {
        return Ok(PathBuf::from(path.trim()));
    }
    std::env::var_os("PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| Error::Tool {
            what: format!("`{name}` was not found"),
            remedy:
                "Install a Rust toolchain (https://rustup.rs) and make sure it is on the search path"
                    .to_string(),
        })
}

/// The source folder of the library: `REBIT_LIBRARY`, else the one this binary was built beside.
pub fn library_folder() -> PathBuf {
    let folder = match std::env::var_os("REBIT_LIBRARY") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../lib"),
    };
    folder.canonicalize().unwrap_or(folder)
}

/// The cache folder: `REBIT_CACHE`, else `$XDG_CACHE_HOME/rebit`, else `~/.cache/rebit`.
pub fn cache_folder() -> PathBuf {
    let under = |name: &str, rest: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(|v| PathBuf::from(v).join(rest))
    };
    let folder = under("REBIT_CACHE", "")
        .or_else(|| under("XDG_CACHE_HOME", "rebit"))
        .or_else(|| under("HOME", ".cache/rebit"))
        .unwrap_or_else(|| std::env::temp_dir().join("rebit"));
    std::path::absolute(&folder).unwrap_or(folder)
}

/// The library, compiled for sessions if it is not yet; `progress` is called for each crate.
///
/// # Errors
/// A missing toolchain or linker, a library that does not compile, a full disk.
pub fn prepare(progress: &mut dyn FnMut(BuildProgress)) -> Result<Prepared> {
    let library = library_folder();
    if !library.join("Cargo.toml").is_file() {
        return Err(Error::Tool {
            what: format!("the library is not in {}", library.display()),
            remedy: "Set REBIT_LIBRARY to the `lib` folder of a rebit checkout".to_string(),
        });
    }
    let tools = Tools::find()?;
    let cache = cache_folder();
    fs::create_dir_all(&cache).map_err(|e| Error::io(&cache, e))?;
    let key = key(&library, &tools)?;
    let master = cache.join(&key);
    let prepared = Prepared {
        library,
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
    if !is_ready(&master, &key) {
        build::build(&prepared, &key, progress)?;
        prune(&cache, &key);
    }
    Ok(prepared)
}

/// Whether a finished build for the present library and toolchain exists.
pub fn is_prepared() -> bool {
    let library = library_folder();
    Tools::find()
        .and_then(|tools| key(&library, &tools))
        .is_ok_and(|key| is_ready(&cache_folder().join(&key), &key))
}

/// A build is finished when its last file says so and what it names is there.
fn is_ready(master: &Path, key: &str) -> bool {
    fs::read_to_string(master.join("ready")).is_ok_and(|text| text == key)
        && shim::Recipe::read(&master.join("recipe.json"))
            .is_some_and(|recipe| recipe.externs_exist(master))
}

fn touch(master: &Path) {
    // Only the order of pruning depends on it.
    if let Ok(file) = fs::File::open(master.join("ready")) {
        let _ = file.set_modified(std::time::SystemTime::now());
    }
}

/// sha256 of everything the build depends on, shortened.
fn key(library: &Path, tools: &Tools) -> Result<String> {
    let mut hash = Sha256::new();
    let mut feed = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    feed(FORMAT.as_bytes());
    feed(tools.version.as_bytes());
    feed(library.as_os_str().as_encoded_bytes());
    let mut files = Vec::new();
    sources(library, &mut files)?;
    for name in ["Cargo.toml", "Cargo.lock"] {
        let path = library.join("..").join(name);
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    for file in files {
        feed(file.as_os_str().as_encoded_bytes());
        feed(&fs::read(&file).map_err(|e| Error::io(&file, e))?);
    }
    let digest = hash.finalize();
    Ok(digest[..10].iter().map(|b| format!("{b:02x}")).collect())
}

/// Files below the library that take part in its build: no tests, examples or benchmarks.
fn sources(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(folder, e))?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() {
            if !matches!(&*name, "target" | "tests" | "examples" | "benches")
                && !name.starts_with('.')
            {
                sources(&path, files)?;
            }
        } else if !name.starts_with('.') {
            files.push(path);
        }
    }
    Ok(())
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
            fs::read_to_string(session.join(shim::SETTINGS)).is_ok_and(|text| text.contains(&name))
        });
        if !in_use {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

fn session_folders(cache: &Path) -> Vec<PathBuf> {
    fs::read_dir(cache.join("sessions"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
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
        for old in session_folders(&cache) {
            if let Ok(file) = fs::File::open(old.join("alive"))
                && file.try_lock().is_ok()
            {
                let _ = fs::remove_dir_all(&old);
            }
        }
        let parent = cache.join("sessions");
        fs::create_dir_all(&parent).map_err(|e| Error::io(&parent, e))?;
        build::write_profile(&cache)?;
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
        shim::install(&path, prepared)?;
        let lock = prepared.master.join("base/Cargo.lock");
        fs::copy(&lock, path.join("Cargo.lock")).map_err(|e| Error::io(&lock, e))?;
        Ok(SessionFolder {
            path,
            _alive: alive,
        })
    }
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
