//! Folders of artefacts: links for what is never rewritten, copies of the rest.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};

/// Links and copies a folder of artefacts, but not those of the cell crate.
pub fn link_tree(from: &Path, to: &Path) -> Result<()> {
    link_tree_of(from, to, &|_| true)
}

/// Of a folder of artefacts those whose name is `wanted`.
pub fn link_tree_of(from: &Path, to: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
    fs::create_dir_all(to).map_err(|e| Error::io(to, e))?;
    for entry in fs::read_dir(from).map_err(|e| Error::io(from, e))? {
        let entry = entry.map_err(|e| Error::io(from, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let (source, target) = (entry.path(), to.join(&name));
        if !wanted(&name) {
            continue;
        }
        if source.is_dir() {
            if name != "incremental" && !name.starts_with("ctx-") {
                link_tree_of(&source, &target, wanted)?;
            }
            continue;
        }
        if name.contains("ctx") {
            continue;
        }
        // A seeding that was interrupted left links: a copy through one would empty the master's file.
        match fs::remove_file(&target) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(&target, e));
            }
            _ => {}
        }
        // Names without a hash (the library itself) are written again when it is compiled differently.
        let fixed = [".rlib", ".rmeta", ".so"];
        let linked = name.contains('-')
            && fixed.iter().any(|end| name.ends_with(end))
            && fs::hard_link(&source, &target).is_ok();
        if !linked {
            copy_with_time(&source, &target).map_err(|e| Error::io(&target, e))?;
        }
    }
    Ok(())
}

/// cargo compares times, so a copy keeps its own.
fn copy_with_time(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::copy(from, to)?;
    let time = fs::metadata(from)?.modified()?;
    fs::File::options().write(true).open(to)?.set_modified(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_seed_links_libraries_and_copies_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        for name in ["deps", "incremental", ".fingerprint/rand-1"] {
            fs::create_dir_all(from.join(name)).unwrap();
        }
        for name in [
            "deps/librand-1.rlib",
            "deps/rand.d",
            "deps/libctx.so",
            "deps/librebit.so",
            "incremental/x",
        ] {
            fs::write(from.join(name), name).unwrap();
        }
        link_tree(&from, &to).unwrap();
        use std::os::unix::fs::MetadataExt;
        let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
        assert_eq!(
            inode(from.join("deps/librand-1.rlib")),
            inode(to.join("deps/librand-1.rlib"))
        );
        assert_ne!(
            inode(from.join("deps/rand.d")),
            inode(to.join("deps/rand.d"))
        );
        assert!(!to.join("deps/libctx.so").exists() && !to.join("incremental").exists());
        // Seeding again, after an interruption, leaves the master as it is.
        link_tree(&from, &to).unwrap();
        for name in ["deps/librand-1.rlib", "deps/librebit.so"] {
            assert_eq!(fs::read_to_string(from.join(name)).unwrap(), name);
        }
        assert_ne!(
            inode(from.join("deps/librebit.so")),
            inode(to.join("deps/librebit.so"))
        );
    }
}
