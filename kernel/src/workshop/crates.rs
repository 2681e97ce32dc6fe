//! Which crates the finished library consists of, and where their artefacts lie.
//!
//! Crates of `:dep` lines stand on these wherever they can, so that types which cross between a cell's own crates and
//! the library are the same types, and nothing that the library stands on is compiled a second time.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use super::Prepared;
use super::cargo::cargo;
use crate::error::{Error, Result};
use crate::files;

/// The list of a finished build, in its folder.
const FILE: &str = "crates.json";

/// One crate that the library stands on, compiled.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LibraryCrate {
    /// Folder of its manifest: says package, version and source at once.
    pub source: PathBuf,
    /// Its name in Rust.
    pub name: String,
    /// The features that it was compiled with.
    pub features: HashSet<String>,
    /// Its artefacts, relative to the finished build.
    pub files: Vec<PathBuf>,
}

impl LibraryCrate {
    /// Its artefact with the given ending.
    pub fn file(&self, ending: &str) -> Option<&Path> {
        let of_kind = |file: &&PathBuf| file.extension().is_some_and(|found| found == ending);
        self.files.iter().find(of_kind).map(PathBuf::as_path)
    }

    /// What other crates are given: the shared library where there is one, as for cells.
    fn linked(&self, ending: &str) -> Option<&Path> {
        self.file("so").or_else(|| self.file(ending))
    }
}

/// The crates of a finished build.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct LibraryCrates {
    crates: Vec<LibraryCrate>,
}

impl LibraryCrates {
    /// Those of a finished build.
    ///
    /// # Errors
    /// When its list cannot be read.
    pub fn read(master: &Path) -> std::io::Result<LibraryCrates> {
        let text = fs::read(master.join(FILE))?;
        serde_json::from_slice(&text).map_err(std::io::Error::other)
    }

    /// Asks cargo for what it has compiled in `place/base` and writes the list into `place`.
    ///
    /// # Errors
    /// When cargo does not run or the list cannot be written.
    pub fn record(place: &Path, prepared: &Prepared) -> Result<()> {
        let base = place.join("base");
        let output = cargo(&prepared.tools, &base)
            .args(["build", "--offline", "--message-format=json", "--target"])
            .arg(prepared.tools.host())
            .stderr(Stdio::null())
            .output()
            .map_err(|e| Error::io(&prepared.tools.cargo, e))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let artefacts = base.join("target").join(prepared.tools.host());
        let crates = LibraryCrates {
            crates: text
                .lines()
                .filter_map(|line| from_message(&serde_json::from_str(line).ok()?, place))
                // Those for this machine's compilers (macros, build scripts) lie elsewhere.
                .filter(|found| {
                    found.name != "ctx"
                        && found
                            .files
                            .iter()
                            .all(|file| place.join(file).starts_with(&artefacts))
                })
                .collect(),
        };
        if !crates.crates.iter().any(|found| found.name == "rebit") {
            return Err(Error::Session(
                "cargo did not say what the library consists of".to_string(),
            ));
        }
        let text = serde_json::to_vec(&crates).expect("plain data");
        files::write(&place.join(FILE), &text)
    }

    /// The library's copy of a crate, if it has one with all of these features.
    pub fn find(
        &self,
        source: &Path,
        name: &str,
        features: &HashSet<String>,
    ) -> Option<&LibraryCrate> {
        self.crates.iter().find(|found| {
            found.source == source && found.name == name && features.is_subset(&found.features)
        })
    }

    /// The artefact that a file name stands for, if it is one of the library's.
    pub fn named(&self, master: &Path, file_name: &str) -> Option<PathBuf> {
        let is_it = |file: &&PathBuf| file.file_name().is_some_and(|name| name == file_name);
        self.crates.iter().find_map(|found| {
            let file = found.files.iter().find(is_it)?;
            let ending = file.extension()?.to_str()?;
            Some(master.join(found.linked(ending)?))
        })
    }

    /// The package and the version of the library's copy of a crate, by its name in Rust.
    fn version(&self, name: &str) -> Option<(String, String)> {
        let found = self.crates.iter().find(|found| found.name == name)?;
        // A registry calls the folder by both.
        let folder = found.source.file_name()?.to_str()?;
        let digits =
            |(at, _): &(usize, &str)| folder[at + 1..].starts_with(|c: char| c.is_ascii_digit());
        let (at, _) = folder.match_indices('-').find(digits)?;
        Some((folder[..at].to_string(), folder[at + 1..].to_string()))
    }

    /// The folder of the library's artefacts.
    pub fn folder(&self, master: &Path) -> Option<PathBuf> {
        let file = self.crates.first()?.files.first()?;
        Some(master.join(file.parent()?))
    }
}

/// The package and the version of a finished library's copy of a crate, by the crate's name in Rust.
pub fn version_in_library(master: &Path, name: &str) -> Option<(String, String)> {
    LibraryCrates::read(master).ok()?.version(name)
}

/// What stands in for an artefact of the library in the folder of a session's crates.
const STAND_IN: &str = "rebit: the library's own artefact: ";

/// The text of a file that stands in for an artefact.
pub fn stand_in(master: &Path, found: &LibraryCrate, ending: &str) -> Option<String> {
    let file = master.join(found.linked(ending)?);
    Some(format!("{STAND_IN}{}", file.display()))
}

/// The artefact that a file stands in for.
pub fn behind(file: &Path) -> Option<PathBuf> {
    use std::io::Read;
    let mut start = String::new();
    // An artefact of the compiler is no text, and long.
    let open = fs::File::open(file).ok()?;
    open.take(4096).read_to_string(&mut start).ok()?;
    start.strip_prefix(STAND_IN).map(PathBuf::from)
}

/// A library crate from one of cargo's messages.
fn from_message(message: &Value, place: &Path) -> Option<LibraryCrate> {
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let target = &message["target"];
    let kinds = target["kind"].as_array()?;
    let is_library = |kind: &Value| ["lib", "rlib", "dylib"].iter().any(|name| kind == name);
    if !kinds.iter().any(is_library) {
        return None;
    }
    let texts = |list: &Value| -> Vec<String> {
        let list = list.as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_string).collect()
    };
    let files: Option<Vec<PathBuf>> = texts(&message["filenames"])
        .iter()
        .map(|file| Path::new(file).strip_prefix(place).ok().map(PathBuf::from))
        .collect();
    let manifest = Path::new(message["manifest_path"].as_str()?);
    Some(LibraryCrate {
        source: manifest.parent()?.to_path_buf(),
        name: target["name"].as_str()?.replace('-', "_"),
        features: texts(&message["features"]).into_iter().collect(),
        files: files?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(kind: &str, file: &str) -> Value {
        json!({
            "reason": "compiler-artifact",
            "manifest_path": "/r/either-1.15.0/Cargo.toml",
            "target": {"kind": [kind], "name": "either"},
            "features": ["std", "use_std"],
            "filenames": [format!("/p/{file}.rlib"), format!("/p/{file}.rmeta")],
        })
    }

    #[test]
    fn a_copy_with_fewer_features_is_not_enough() {
        let found = from_message(&message("lib", "deps/libeither-1"), Path::new("/p")).unwrap();
        let crates = LibraryCrates {
            crates: vec![found],
        };
        let find = |source: &str, features: &[&str]| {
            let features = features.iter().map(|f| f.to_string()).collect();
            crates
                .find(Path::new(source), "either", &features)
                .is_some()
        };
        assert!(find("/r/either-1.15.0", &["std"]));
        let version = crates.version("either").unwrap();
        assert_eq!(version, ("either".to_string(), "1.15.0".to_string()));
        assert_eq!(crates.version("other"), None);
        assert!(find("/r/either-1.15.0", &[]));
        assert!(!find("/r/either-1.15.0", &["serde"]));
        assert!(!find("/r/either-1.14.0", &["std"]));
    }

    #[test]
    fn macros_and_build_scripts_are_not_part_of_it() {
        for kind in ["proc-macro", "custom-build", "bin"] {
            assert_eq!(from_message(&message(kind, "x"), Path::new("/p")), None);
        }
        assert_eq!(from_message(&message("lib", "x"), Path::new("/q")), None);
    }

    #[test]
    fn a_stand_in_names_what_is_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let found = from_message(&message("lib", "deps/libeither-1"), Path::new("/p")).unwrap();
        let file = folder.path().join("libeither-2.rmeta");
        fs::write(&file, stand_in(Path::new("/m"), &found, "rmeta").unwrap()).unwrap();
        assert_eq!(
            behind(&file),
            Some(PathBuf::from("/m/deps/libeither-1.rmeta"))
        );
        fs::write(&file, b"rust\0\x01").unwrap();
        assert_eq!(behind(&file), None);
        let crates = LibraryCrates {
            crates: vec![found],
        };
        let of = |name: &str| crates.named(Path::new("/m"), name);
        assert_eq!(
            of("libeither-1.rlib"),
            Some("/m/deps/libeither-1.rlib".into())
        );
        assert_eq!(of("libeither-2.rlib"), None);
    }
}
