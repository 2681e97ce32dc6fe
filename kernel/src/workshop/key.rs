//! What a build of the library depends on.

use std::collections::{BTreeMap, HashSet};
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
    if let Some(level) = features.level() {
        feed(&[level]);
    }
    for (file, bytes) in inputs(library)? {
        feed(file.as_os_str().as_encoded_bytes());
        feed(&bytes);
    }
    let digest = hash.finalize();
    Ok(digest[..10].iter().map(|b| format!("{b:02x}")).collect())
}

/// The files that the library is built from.
fn inputs(library: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = Vec::new();
    sources(library, &mut files)?;
    for name in ["Cargo.toml", "Cargo.lock"] {
        let path = library.join("..").join(name);
        if path.is_file() {
            files.push(path);
        }
    }
    let read = |file: PathBuf| match fs::read(&file) {
        Ok(bytes) => Ok((file, bytes)),
        Err(error) => Err(Error::io(&file, error)),
    };
    let mut inputs: BTreeMap<PathBuf, Vec<u8>> =
        files.into_iter().map(read).collect::<Result<_>>()?;
    let of_tests: HashSet<PathBuf> = in_sources(&inputs, modules_of_tests).collect();
    inputs.retain(|file, _| !file.ancestors().any(|path| of_tests.contains(path)));
    let elsewhere: Vec<PathBuf> = in_sources(&inputs, included).collect();
    for file in elsewhere {
        let (file, bytes) = read(file)?;
        inputs.insert(file, bytes);
    }
    Ok(inputs)
}

/// What is found in the Rust sources among these files.
fn in_sources(
    files: &BTreeMap<PathBuf, Vec<u8>>,
    find: fn(&Path, &str) -> Vec<PathBuf>,
) -> impl Iterator<Item = PathBuf> {
    let is_source = |file: &Path| file.extension().is_some_and(|extension| extension == "rs");
    let sources = files.iter().filter(move |(file, _)| is_source(file));
    sources.flat_map(move |(file, bytes)| find(file, &String::from_utf8_lossy(bytes)))
}

/// The files and folders of modules that a source has for its tests alone (`#[cfg(test)] mod NAME;`).
fn modules_of_tests(file: &Path, code: &str) -> Vec<PathBuf> {
    let Some((folder, stem)) = file.parent().zip(file.file_stem()) else {
        return Vec::new();
    };
    let folder = match stem.to_str() {
        Some("mod" | "lib") => folder.to_path_buf(),
        _ => folder.join(stem),
    };
    let lines = code.lines().map(str::trim);
    let pairs = lines.clone().zip(lines.skip(1));
    let for_tests = pairs.filter(|(attribute, _)| {
        *attribute == "#[cfg(test)]" || attribute.starts_with("#[cfg(all(test,")
    });
    let names = for_tests.filter_map(|(_, line)| {
        let (seen, name) = line.strip_suffix(';')?.rsplit_once("mod ")?;
        (seen.is_empty() || seen.starts_with("pub")).then_some(name)
    });
    names
        .flat_map(|name| [folder.join(format!("{name}.rs")), folder.join(name)])
        .collect()
}

/// Files beside the source's folder that it takes in.
///
/// Those of the library are read anyway; those of the emulated GPU lie elsewhere.
fn included(file: &Path, code: &str) -> Vec<PathBuf> {
    const MACROS: [&str; 2] = ["include_str!(\"../", "include_bytes!(\"../"];
    let folder = file.parent().unwrap_or(file);
    let paths = MACROS.iter().flat_map(|name| {
        let calls = code.match_indices(name);
        calls.filter_map(|(at, name)| code[at + name.len() - "../".len()..].split('"').next())
    });
    let found = paths.filter_map(|path| folder.join(path).canonicalize().ok());
    found.filter(|path| path.is_file()).collect()
}

/// Files below the library that may take part in its build: no tests beside it, examples or benchmarks.
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

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [(&str, &str); 12] = [
        ("lib/Cargo.toml", "[package]"),
        (
            "lib/src/lib.rs",
            "mod ops;\n#[cfg(test)]\npub(crate) mod testing;\nmod single;",
        ),
        ("lib/src/testing.rs", "fn made() {}"),
        (
            "lib/src/ops/mod.rs",
            "#[cfg(test)]\nmod tests;\nconst A: &str = include_str!(\"../../../other/a.h\");",
        ),
        ("lib/src/ops/tests.rs", "mod more;"),
        ("lib/src/ops/tests/more.rs", "#[test] fn f() {}"),
        (
            "lib/src/single.rs",
            "#[cfg(all(test, feature = \"b\"))]\nmod own;\n#[cfg(feature = \"a\")]\nmod tests;",
        ),
        ("lib/src/single/own.rs", ""),
        // Not for tests, for all its name.
        ("lib/src/single/tests.rs", "fn f() {}"),
        ("lib/tests/outside.rs", ""),
        ("other/a.h", "int a;"),
        ("Cargo.lock", "version = 4"),
    ];
    const LEFT_OUT: [&str; 5] = [
        "lib/src/testing.rs",
        "lib/src/ops/tests.rs",
        "lib/src/ops/tests/more.rs",
        "lib/src/single/own.rs",
        "lib/tests/outside.rs",
    ];

    #[test]
    fn what_only_tests_use_changes_no_build() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (name, text) in FILES {
            write(name, text);
        }
        let library = root.path().join("lib");
        let before = inputs(&library).unwrap();
        assert_eq!(before.len(), FILES.len() - LEFT_OUT.len(), "{before:?}");
        for (name, text) in FILES {
            write(name, &format!("{text}\n"));
            let is_same = inputs(&library).unwrap() == before;
            assert_eq!(is_same, LEFT_OUT.contains(&name), "{name}");
            write(name, text);
        }
    }

    #[test]
    fn the_librarys_own_tests_are_left_out() {
        let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lib");
        let inputs = inputs(&library).unwrap();
        let names: Vec<_> = inputs
            .keys()
            .map(|file| file.display().to_string())
            .collect();
        let has = |end: &str| names.iter().any(|name| name.ends_with(end));
        assert!(!has("/tests.rs"), "{names:?}");
        for end in [
            "/conv2d.cu",
            "/wire/src/lib.rs",
            "/scheduler.cpp",
            "/Cargo.lock",
        ] {
            assert!(has(end), "{end}: {names:?}");
        }
    }
}
