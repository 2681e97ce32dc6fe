//! Files that are whole or absent.

use std::io::{Result, Write};
use std::path::Path;

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
