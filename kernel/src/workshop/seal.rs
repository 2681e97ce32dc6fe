//! What a finished build consists of, so that damage is noticed before cells are compiled against it.
//!
//! Hashing hundreds of megabytes would take longer than a session's start, so a file whose size and time of change are
//! those of the seal is taken for whole; any other is hashed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::lean;
use crate::error::{Error, Result};
use crate::files;

/// The seal's file in a folder.
pub const NAME: &str = "seal.json";

/// What a finished build consists of.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Seal {
    /// What the build was made from.
    key: String,
    files: BTreeMap<PathBuf, Entry>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Entry {
    size: u64,
    /// Nanoseconds since 1970.
    modified: i128,
    sha256: String,
}

/// In what state a build is.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    /// As it was sealed.
    Whole,
    /// These files are not (or not there).
    Damaged(Vec<PathBuf>),
    /// There is no seal for this key.
    Unsealed,
}

impl Seal {
    /// Seals the build in `master`.
    ///
    /// # Errors
    /// When a file cannot be read, or the seal cannot be written.
    pub fn put(master: &Path, key: &str) -> Result<()> {
        let mut seal = Seal {
            key: key.to_string(),
            files: BTreeMap::new(),
        };
        for path in parts(master) {
            let entry = Entry::of(&master.join(&path)).map_err(|e| Error::io(&path, e))?;
            seal.files.insert(path, entry);
        }
        seal.write(master)
    }

    /// Seals all files in `folder`, those anew that do not look as they did.
    ///
    /// # Errors
    /// As [`Seal::put`].
    pub fn renew(folder: &Path, key: &str) -> Result<()> {
        let before = Seal::read(folder, key).unwrap_or_default();
        let mut seal = Seal {
            key: key.to_string(),
            files: BTreeMap::new(),
        };
        for path in all(folder) {
            let file = folder.join(&path);
            let known = before
                .files
                .get(&path)
                .filter(|entry| entry.looks_like(&file));
            let entry = match known {
                Some(entry) => entry.clone(),
                None => Entry::of(&file).map_err(|e| Error::io(&file, e))?,
            };
            seal.files.insert(path, entry);
        }
        seal.write(folder)
    }

    /// The files in `folder` that are not sealed.
    pub fn unsealed(folder: &Path, key: &str) -> Vec<PathBuf> {
        let seal = Seal::read(folder, key).unwrap_or_default();
        let files = all(folder).into_iter();
        files
            .filter(|path| !seal.files.contains_key(path))
            .collect()
    }

    fn read(folder: &Path, key: &str) -> Option<Seal> {
        let text = fs::read(folder.join(NAME)).ok()?;
        let seal: Seal = serde_json::from_slice(&text).ok()?;
        (seal.key == key && !seal.files.is_empty()).then_some(seal)
    }

    /// Compares the build in `master` with its seal.
    pub fn check(master: &Path, key: &str) -> State {
        let Some(mut seal) = Seal::read(master, key) else {
            return State::Unsealed;
        };
        let mut damaged = Vec::new();
        let mut touched = false;
        for (path, entry) in &mut seal.files {
            let file = master.join(path);
            if entry.looks_like(&file) {
                continue;
            }
            match Entry::of(&file) {
                Ok(found) if found.sha256 == entry.sha256 => {
                    *entry = found;
                    touched = true;
                }
                _ => damaged.push(path.clone()),
            }
        }
        if touched && damaged.is_empty() {
            // Otherwise they are hashed each time.
            let _ = seal.write(master);
        }
        match damaged.is_empty() {
            true => State::Whole,
            false => State::Damaged(damaged),
        }
    }

    fn write(&self, master: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).expect("plain data");
        files::write(&master.join(NAME), &text)
    }
}

impl Entry {
    fn of(path: &Path) -> std::io::Result<Entry> {
        let mut file = fs::File::open(path)?;
        let metadata = file.metadata()?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => hash.update(&buffer[..n]),
            }
        }
        Ok(Entry {
            size: metadata.len(),
            modified: modified(&metadata),
            sha256: hash.finalize().iter().map(|b| format!("{b:02x}")).collect(),
        })
    }

    fn looks_like(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|metadata| {
            metadata.len() == self.size && modified(&metadata) == self.modified
        })
    }
}

fn modified(metadata: &fs::Metadata) -> i128 {
    i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec())
}

/// All files in a folder but its seal, relative to it.
fn all(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inner) = folders.pop() {
        let entries = fs::read_dir(folder.join(&inner)).into_iter().flatten();
        for entry in entries.flatten() {
            let path = inner.join(entry.file_name());
            match entry.path().is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found.retain(|path| path != Path::new(NAME));
    found
}

/// The files of a build that cells are compiled with and run on, relative to it.
fn parts(master: &Path) -> Vec<PathBuf> {
    let named = [
        "recipe.json",
        "crates.json",
        "base/Cargo.lock",
        "skeleton/core/src/lib.rs",
    ];
    let mut found: Vec<PathBuf> = named.map(PathBuf::from).to_vec();
    let mut folders = vec![PathBuf::from("base/target"), PathBuf::from(lean::FOLDER)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(master.join(&folder))
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = folder.join(&name);
            if entry.path().is_dir() {
                if name != "incremental" {
                    folders.push(path);
                }
            } else if (folder.ends_with("deps") || folder.ends_with(lean::FOLDER))
                && !name.contains("ctx")
                && [".so", ".rlib", ".rmeta"]
                    .iter()
                    .any(|end| name.ends_with(end))
            {
                found.push(path);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let deps = folder.path().join("base/target/host/debug/deps");
        fs::create_dir_all(&deps).unwrap();
        fs::create_dir_all(folder.path().join("skeleton/core/src")).unwrap();
        for name in [
            "recipe.json",
            "crates.json",
            "base/Cargo.lock",
            "skeleton/core/src/lib.rs",
        ] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let library = deps.join("librebit.so");
        fs::write(&library, [7; 1000]).unwrap();
        fs::write(deps.join("libctx.so"), "").unwrap();
        Seal::put(folder.path(), "key").unwrap();
        (folder, library)
    }

    #[test]
    fn truncated_flipped_and_missing_files_are_noticed() {
        type Damage = fn(&Path);
        let damages: [(&str, Damage); 3] = [
            ("truncated", |path| fs::write(path, [7; 999]).unwrap()),
            ("flipped", |path| {
                let mut bytes = vec![7; 1000];
                bytes[500] = 6;
                fs::write(path, bytes).unwrap();
            }),
            ("missing", |path| fs::remove_file(path).unwrap()),
        ];
        for (what, damage) in damages {
            for name in [
                "base/target/host/debug/deps/librebit.so",
                "recipe.json",
                "crates.json",
            ] {
                let (folder, _) = sealed();
                assert_eq!(Seal::check(folder.path(), "key"), State::Whole);
                damage(&folder.path().join(name));
                let damaged = State::Damaged(vec![name.into()]);
                assert_eq!(Seal::check(folder.path(), "key"), damaged, "{what}");
            }
        }
    }

    #[test]
    fn what_was_only_touched_is_whole() {
        let (folder, library) = sealed();
        fs::write(&library, [7; 1000]).unwrap();
        fs::write(
            folder.path().join("base/target/host/debug/deps/libctx.so"),
            "x",
        )
        .unwrap();
        assert_eq!(Seal::check(folder.path(), "key"), State::Whole);
        assert_eq!(Seal::check(folder.path(), "other"), State::Unsealed);
        fs::write(folder.path().join(NAME), "{").unwrap();
        assert_eq!(Seal::check(folder.path(), "key"), State::Unsealed);
    }
}
