//! Files that are whole or absent.

use std::io::{Result, Write};
use std::path::{Path, PathBuf};

/// The folder a file lies in; the current one for a bare name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Writes a file under a temporary name in its folder and renames it: an older one stays until then.
pub(crate) fn write_whole(path: &Path, data: &[u8]) -> Result<()> {
    let mut builder = tempfile::Builder::new();
    // Readable for whom the folder is, not for its owner alone as temporary files are.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder_of(path))?;
    file.write_all(data)?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// What the library keeps for later processes: `REBIT_CACHE`, else `rebit` in the platform's cache folder
/// (`$XDG_CACHE_HOME`, `~/.cache`, on macOS `~/Library/Caches`); none without a home.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    set("REBIT_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(user_cache(|name| set(name).map(PathBuf::from))?.join("rebit")))
}

/// The user's folder of caches, by an environment.
pub(crate) fn user_cache(env: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let home_cache = if cfg!(target_os = "macos") {
        "Library/Caches"
    } else {
        ".cache"
    };
    // The XDG specification: a relative path is to be ignored.
    env("XDG_CACHE_HOME")
        .filter(|p| p.is_absolute())
        .or_else(|| Some(env("HOME")?.join(home_cache)))
}
