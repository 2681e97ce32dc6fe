//! Where things lie on this machine: by our own variables, else by the system's conventions.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A variable of the environment that is set to something.
pub fn set(name: &str) -> Option<PathBuf> {
    let not_empty = |value: &OsString| !value.is_empty();
    std::env::var_os(name).filter(not_empty).map(PathBuf::from)
}

/// The cache of compiled libraries: `REBIT_CACHE`, else `rebit` in the user's cache folder
/// (`$XDG_CACHE_HOME`, `~/.cache`, on macOS `~/Library/Caches`), without a home a folder of this user's under the
/// shared temporary one.
pub fn cache_folder() -> PathBuf {
    let folder = set("REBIT_CACHE")
        .or_else(|| Some(dirs::cache_dir()?.join("rebit")))
        .unwrap_or_else(|| {
            // SAFETY: asks for a number.
            let user = unsafe { libc::geteuid() };
            std::env::temp_dir().join(format!("rebit-{user}"))
        });
    std::path::absolute(&folder).unwrap_or(folder)
}

/// The user's folder of caches.
pub fn user_cache() -> PathBuf {
    dirs::cache_dir().unwrap_or_else(std::env::temp_dir)
}

/// What was run: `REBIT_HISTORY`, else `rebit/history.jsonl` in the user's data folder
/// (`$XDG_DATA_HOME`, `~/.local/share`, on macOS `~/Library/Application Support`).
pub fn history_file() -> Option<PathBuf> {
    set("REBIT_HISTORY").or_else(|| Some(dirs::data_dir()?.join("rebit/history.jsonl")))
}

/// The source folder of the library: `REBIT_LIBRARY`, else the one this binary was built beside.
pub fn library_folder() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../lib");
    let folder = set("REBIT_LIBRARY").unwrap_or_else(beside);
    folder.canonicalize().unwrap_or(folder)
}
