//! What a build of the library depends on.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Features, Tools};
use crate::error::{Error, Result};

/// Changes whenever the layout of the cache does.
const FORMAT: &str = "6";

/// sha256 of everything the build depends on, shortened.
pub fn key(library: &Path, features: &Features, tools: &Tools) -> Result<String> {
    let mut hash = Sha256::new();
    let mut feed = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    feed(FORMAT.as_bytes());
    feed(tools.version.as_bytes());
    feed(library.as_os_str().as_encoded_bytes());
    for name in features.names() {
        feed(name.as_bytes());
    }
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
