//! Files that are whole or absent.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Writes a file under a temporary name in the same folder and renames it.
///
/// A file that is there keeps its mode and its owner, and a symbolic link goes on pointing to it.
///
/// # Errors
/// [`Error::Io`] with the folder or file that could not be written.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let path = behind_links(path);
    let old = std::fs::metadata(&path).ok();
    let mode = old.as_ref().map_or(0o644, |old| old.mode() & 0o7777);
    let file = written(&path, bytes, if old.is_some() { 0o600 } else { mode })?;
    if let Some(old) = old {
        let file = file.as_file();
        // Only root may give files away.
        let _ = fchown(file, Some(old.uid()), Some(old.gid()));
        file.set_permissions(Permissions::from_mode(mode))
            .map_err(|e| Error::io(&path, e))?;
    }
    file.persist(&path).map_err(|e| Error::io(&path, e.error))?;
    Ok(())
}

/// As [`write`], for what nobody else may read.
///
/// # Errors
/// As [`write`].
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = written(path, bytes, 0o600)?;
    file.persist(path).map_err(|e| Error::io(path, e.error))?;
    Ok(())
}

fn written(path: &Path, bytes: &[u8], mode: u32) -> Result<tempfile::NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)
        .map_err(|e| Error::io(folder, e))?;
    file.write_all(bytes).map_err(|e| Error::io(path, e))?;
    Ok(file)
}

/// The file that a path means in the end, whether it exists yet or not.
fn behind_links(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match path.read_link() {
        Ok(target) => path.parent().unwrap_or(Path::new("")).join(target),
        Err(_) => path.to_path_buf(),
    }
}

/// Makes a folder that nobody else may enter, with those above it.
///
/// # Errors
/// [`Error::Io`] that names the folder.
pub fn private_folder(folder: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| Error::io(folder, e))
}

/// Makes sure that a folder, where programs are kept that we run, is there and this user's own.
///
/// # Errors
/// A folder of another user, one that cannot be looked at.
pub fn own_folder(folder: &Path) -> Result<()> {
    private_folder(folder)?;
    let owner = std::fs::metadata(folder)
        .map_err(|e| Error::io(folder, e))?
        .uid();
    // SAFETY: asks for a number.
    let us = unsafe { libc::geteuid() };
    if owner == us {
        return Ok(());
    }
    Err(Error::Tool {
        what: format!(
            "{} belongs to the user {owner} and not to us ({us}): what lies there is not run",
            folder.display()
        ),
        remedy: "Change its owner, or set REBIT_CACHE to a folder of your own".to_string(),
    })
}

/// Makes sure that a folder exists and that files can be made in it.
///
/// # Errors
/// [`Error::Io`] that names the folder.
pub fn writable_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    tempfile::tempfile_in(folder)
        .map(|_| ())
        .map_err(|e| Error::io(folder, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_file_keeps_its_mode_and_the_links_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::os::unix::fs::symlink("file", &link).unwrap();
        write(&link, b"one").unwrap();
        for wanted in [0o640, 0o755, 0o600] {
            std::fs::set_permissions(&file, Permissions::from_mode(wanted)).unwrap();
            write(&link, b"two").unwrap();
            assert_eq!(std::fs::read(&file).unwrap(), b"two");
            assert_eq!(mode(&file), wanted);
            assert!(link.is_symlink());
        }
    }

    #[test]
    fn private_things_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        own_folder(&inner).unwrap();
        assert_eq!(
            (mode(&inner), mode(inner.parent().unwrap())),
            (0o700, 0o700)
        );
        let file = inner.join("file");
        std::fs::write(&file, "").unwrap();
        write_private(&file, b"x").unwrap();
        assert_eq!(mode(&file), 0o600);
    }

    #[test]
    fn a_folder_of_another_user_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("theirs");
        std::fs::create_dir(&path).unwrap();
        if std::os::unix::fs::chown(&path, Some(4711), None).is_ok() {
            let error = own_folder(&path).unwrap_err().to_string();
            assert!(error.contains("user 4711"), "{error}");
        } else {
            // Without root's rights: root's own folders are another user's.
            assert!(own_folder(Path::new("/")).is_err());
        }
    }

    #[test]
    fn a_file_in_place_of_a_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, b"").unwrap();
        let error = writable_folder(&path.join("b")).unwrap_err();
        assert!(error.to_string().contains("/a/b"), "{error}");
    }
}
