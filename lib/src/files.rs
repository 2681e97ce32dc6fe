//! Files that are whole or absent.

use std::io::{Result, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::Error;

/// Bytes of a checksum.
const HASH: usize = 32;

/// Why a sealed file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It begins otherwise: another kind of file, or another version.
    Foreign,
    /// Its checksum is another one.
    Damaged,
}

/// A file of this beginning, with a checksum of what it holds.
pub(crate) fn sealed(head: &[u8], data: &[u8]) -> Vec<u8> {
    [head, &Sha256::digest(data), data].concat()
}

/// What a file holds that [`sealed`] made with this beginning.
pub(crate) fn unsealed<'a>(head: &[u8], file: &'a [u8]) -> std::result::Result<&'a [u8], Broken> {
    let rest = file.strip_prefix(head);
    let (hash, data) = rest
        .and_then(|rest| rest.split_at_checked(HASH))
        .ok_or(Broken::Foreign)?;
    match Sha256::digest(data).as_slice() == hash {
        true => Ok(data),
        false => Err(Broken::Damaged),
    }
}

/// The folder a file lies in; the current one for a bare name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Writes a file that the user names, and the folders above it: whole or not at all, an older one stays until then. What is
/// there keeps its mode, and a link goes on pointing to it; what is no regular file (a device, a pipe) is written into.
///
/// # Errors
/// [`Error::Io`] that names the file, or the folder that cannot be made.
pub(crate) fn save(path: &Path, data: &[u8]) -> crate::Result<()> {
    let path = behind_links(path);
    let folder = folder_of(&path);
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let is_special = path.metadata().is_ok_and(|found| !found.is_file());
    let written = match is_special {
        true => std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(data)),
        false => write_whole(&path, data),
    };
    written.map_err(|e| Error::io(path, e))
}

/// The file that a path means in the end, whether it exists yet or not.
fn behind_links(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match path.read_link() {
        Ok(target) => folder_of(path).join(target),
        Err(_) => path.to_path_buf(),
    }
}

/// Writes a file of ours under a temporary name in its folder and renames it: an older one stays until then.
pub(crate) fn write_whole(path: &Path, data: &[u8]) -> Result<()> {
    let mut builder = tempfile::Builder::new();
    // Readable for whom the folder is, not for its owner alone as temporary files are.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    // Without the temporary name, which means nothing to anybody.
    let file = builder.tempfile_in(folder_of(path));
    let mut file = file.map_err(|e| std::io::Error::from(e.kind()))?;
    if let Ok(old) = path.metadata() {
        file.as_file().set_permissions(old.permissions())?;
        // Only root may give files away.
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let _ = std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()));
        }
    }
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

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_file_keeps_its_mode_and_the_links_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("a/file"), folder.path().join("link"));
        symlink("a/file", &link).unwrap();
        // The folder and the file that the link means are not there yet.
        save(&link, b"one").unwrap();
        for wanted in [0o640, 0o755, 0o600] {
            std::fs::set_permissions(&file, PermissionsExt::from_mode(wanted)).unwrap();
            save(&link, b"two").unwrap();
            assert_eq!(
                (std::fs::read(&file).unwrap(), mode(&file)),
                (b"two".to_vec(), wanted)
            );
            assert!(link.is_symlink());
        }
        assert_eq!(
            std::fs::read_dir(folder.path().join("a")).unwrap().count(),
            1
        );
    }

    #[test]
    fn what_is_no_regular_file_stays_what_it_is() {
        use std::os::unix::fs::FileTypeExt;
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(save(&socket, b"x").is_err());
        assert!(socket.metadata().unwrap().file_type().is_socket());
        save(Path::new("/dev/null"), b"x").unwrap();
        let null = Path::new("/dev/null").metadata().unwrap();
        assert!(null.file_type().is_char_device());
    }

    #[test]
    fn a_failure_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "").unwrap();
        let error = save(&folder.path().join("a/b/file"), b"x")
            .unwrap_err()
            .to_string();
        assert!(error.contains("a/b"), "{error}");
        let error = save(folder.path(), b"x").unwrap_err().to_string();
        assert!(
            error.contains(&folder.path().display().to_string()),
            "{error}"
        );
        assert!(folder.path().is_dir());
    }
}
