//! What rustc looks through and calls for each cell, no more than a cell needs.
//!
//! A cell is linked to the library's shared object alone; of all that the library stands on rustc reads metadata. So
//! the folder it searches has that metadata, the macros and the object, and none of the archives beside them, which it
//! would look at for every cell. And where rustc brings a linker along, it is called directly: the C compiler, which
//! is asked otherwise, only calls it in turn.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Tools;
use super::recipe::Recipe;
use crate::error::{Error, Result};

/// The folder of a finished build that rustc searches.
pub const FOLDER: &str = "lean";

/// Fills the folder of a build in `place` with links to what lies in `folders`.
///
/// # Errors
/// When the folder cannot be written.
pub fn fill(place: &Path, folders: &[PathBuf]) -> Result<()> {
    let lean = place.join(FOLDER);
    if lean.exists() {
        fs::remove_dir_all(&lean).map_err(|e| Error::io(&lean, e))?;
    }
    fs::create_dir_all(&lean).map_err(|e| Error::io(&lean, e))?;
    for folder in folders {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !is_searched(&name) {
                continue;
            }
            let (from, to) = (entry.path(), lean.join(&name));
            fs::hard_link(&from, &to)
                .or_else(|_| fs::copy(&from, &to).map(|_| ()))
                .map_err(|e| Error::io(&to, e))?;
        }
    }
    Ok(())
}

/// Metadata, macros (shared objects with a hash in their name) and the library.
fn is_searched(name: &str) -> bool {
    let is_cell = name.starts_with("libctx");
    !is_cell && (name.ends_with(".rmeta") || name.ends_with(".so")) && name != "librebit.rmeta"
}

/// How rustc calls the linker that it brings along without asking a C compiler, if it has one and that links a cell.
pub fn direct_linker(recipe: &Recipe, place: &Path, tools: &Tools) -> Option<Vec<String>> {
    let linker = tools
        .rustc
        .ancestors()
        .nth(2)?
        .join(format!("lib/rustlib/{}/bin/rust-lld", tools.host()));
    if !linker.is_file() {
        return None;
    }
    let mut settings = vec![
        format!("linker={}", linker.display()),
        "linker-flavor=ld.lld".to_string(),
    ];
    settings.extend(
        system_libraries()
            .iter()
            .map(|folder| format!("link-arg=-L{}", folder.display())),
    );
    let out = tempfile::tempdir().ok()?;
    let mut command = Command::new(&tools.rustc);
    let linked = command
        .args(recipe.arguments(place, out.path(), "0", false))
        .args(settings.iter().flat_map(|setting| ["-C", setting]))
        .envs(recipe.env.iter().map(|(name, value)| (name, value)))
        .current_dir(place.join("base"))
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success());
    if !linked {
        log::info!("cells are linked by the C compiler: {linker:?} does not link one by itself");
    }
    linked.then_some(settings)
}

/// Folders where the C compiler finds what every program is linked to.
fn system_libraries() -> Vec<PathBuf> {
    let answer = Command::new("cc").arg("-print-search-dirs").output();
    let text = answer.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let folders = text
        .lines()
        .find_map(|line| line.strip_prefix("libraries: ="));
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in std::env::split_paths(folders.unwrap_or_default()) {
        let needed = ["libc.so", "libgcc_s.so"];
        if needed.iter().any(|name| folder.join(name).exists())
            && let Ok(folder) = folder.canonicalize()
            && !found.contains(&folder)
        {
            found.push(folder);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_sees_metadata_macros_and_the_library() {
        let place = tempfile::tempdir().unwrap();
        let (deps, macros) = (place.path().join("deps"), place.path().join("macros"));
        for folder in [&deps, &macros] {
            fs::create_dir_all(folder).unwrap();
        }
        for name in [
            "libdfdx-1.rlib",
            "libdfdx-1.rmeta",
            "librebit.so",
            "librebit.rlib",
            "libctx.so",
            "dfdx-1.d",
        ] {
            fs::write(deps.join(name), name).unwrap();
        }
        for name in ["libserde_derive-1.so", "libsyn-1.rlib"] {
            fs::write(macros.join(name), name).unwrap();
        }
        let lean = place.path().join(FOLDER);
        fs::create_dir_all(&lean).unwrap();
        fs::write(lean.join("of an earlier build"), "").unwrap();
        fill(place.path(), &[deps.clone(), macros]).unwrap();
        let mut names: Vec<String> = fs::read_dir(&lean)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            ["libdfdx-1.rmeta", "librebit.so", "libserde_derive-1.so"]
        );
    }
}
