//! Compiles the library once, in a temporary place that is renamed when it is complete.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use super::cargo::{cargo, manifest, write_profile};
use super::crates::LibraryCrates;
use super::externs::of_interface;
use super::features::LEVEL;
use super::lean;
use super::link::link_tree;
use super::recipe::{CAPTURE, Capture, Recipe};
use super::seal::{Seal, State};
use super::{BuildProgress, Prepared};
use crate::error::{Error, Result};
use crate::files::write;

/// Builds `prepared.master`; the caller holds the lock of the cache.
///
/// Begins from what an earlier build left (or from the `newest` finished one), so that a change of the
/// library compiles the library and not its hundred dependencies. A build that is there and damaged is mended where it
/// lies: cargo makes anew what is missing.
pub fn build(
    prepared: &Prepared,
    key: &str,
    newest: Option<&Path>,
    progress: &mut dyn FnMut(BuildProgress),
) -> Result<()> {
    let master = &prepared.master;
    if let State::Damaged(files) = Seal::check(master, key) {
        log::warn!("the compiled library is damaged and is mended: {files:?}");
        for file in files {
            // What cannot be removed shows when it is built.
            let _ = fs::remove_file(master.join(file));
        }
        match build_in(master, prepared, key, progress) {
            Err(Error::Session(_) | Error::Io { .. }) => {}
            done => return done,
        }
    }
    let cache = master.parent().unwrap_or(Path::new("/"));
    let place = cache.join("building");
    if master.exists() {
        fs::remove_dir_all(master).map_err(|e| Error::io(master, e))?;
    }
    let target = place.join("base/target");
    if !target.exists()
        && let Some(newest) = newest
        && link_tree(&newest.join("base/target"), &target).is_err()
    {
        fs::remove_dir_all(&place).map_err(|e| Error::io(&place, e))?;
    }
    if let Some(newest) = newest
        && let Some(sealed_as) = newest.file_name().and_then(|name| name.to_str())
        && let State::Damaged(files) = Seal::check(newest, sealed_as)
    {
        // They may be linked.
        for file in files {
            let _ = fs::remove_file(place.join(file));
        }
    }
    forget_library(&target).map_err(|e| Error::io(&target, e))?;
    match build_in(&place, prepared, key, progress) {
        // Its dependencies are compiled; the next attempt needs them.
        Err(error @ Error::Library { .. }) => Err(error),
        Err(error) => {
            let _ = fs::remove_dir_all(&place);
            Err(error)
        }
        Ok(()) => fs::rename(&place, master).map_err(|e| Error::io(master, e)),
    }
}

/// Removes the library itself from a folder of artefacts. Its file has no hash in its name: cargo would take that of
/// another checkout for the one that it once compiled here.
fn forget_library(target: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(target) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let is_library = entry.file_name().to_string_lossy().starts_with("librebit.");
        match entry.file_type()?.is_dir() {
            true => forget_library(&entry.path())?,
            false if is_library => fs::remove_file(entry.path())?,
            false => {}
        }
    }
    Ok(())
}

fn build_in(
    place: &Path,
    prepared: &Prepared,
    key: &str,
    progress: &mut dyn FnMut(BuildProgress),
) -> Result<()> {
    let base = place.join("base");
    for folder in ["base/src", "skeleton/core/src"] {
        let folder = place.join(folder);
        fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    }
    write_profile(place)?;
    // All that evcxr's analyser needs to believe that it has seen a standard library.
    write(
        &place.join("skeleton/core/src/lib.rs"),
        b"#![feature(no_core)]\n#![no_core]\n",
    )?;
    let dependency = prepared.dependency();
    let text = manifest("ctx", "cdylib", &dependency);
    write(&base.join("Cargo.toml"), text.as_bytes())?;
    write(
        &base.join("src/lib.rs"),
        format!("// {key}\npub use rebit::prelude::*;\n").as_bytes(),
    )?;
    let lock = prepared.library.join("../Cargo.lock");
    if lock.is_file() {
        fs::copy(&lock, base.join("Cargo.lock")).map_err(|e| Error::io(&lock, e))?;
    }
    let capture = place.join("capture.json");
    // cargo must compile the cell crate again, or it would not show how.
    for name in ["capture.json", "ready", "recipe.json"] {
        let _ = fs::remove_file(place.join(name));
    }
    cargo_build(&base, prepared, &capture, progress)?;
    let captured = Capture::read(&capture)
        .ok_or_else(|| Error::Session("cargo did not show how it compiles a cell".to_string()))?;
    let interface = of_interface(&base, &prepared.tools)?;
    let recipe = Recipe::new(captured, &dependency, place).with_interface(&interface, place);
    lean::fill(place, &recipe.searched(place))?;
    let recipe = recipe.searching_only(&place.join(lean::FOLDER), place);
    let linker = lean::direct_linker(&recipe, place, &prepared.tools).unwrap_or_default();
    let recipe = recipe.with_linker(linker);
    recipe.write(&place.join("recipe.json"))?;
    LibraryCrates::record(place, prepared)?;
    Seal::put(place, key)?;
    write(&place.join("ready"), key.as_bytes())
}

fn cargo_build(
    base: &Path,
    prepared: &Prepared,
    capture: &Path,
    progress: &mut dyn FnMut(BuildProgress),
) -> Result<()> {
    let tools = &prepared.tools;
    let total = count_crates(prepared, base);
    let run =
        |offline: bool, progress: &mut dyn FnMut(BuildProgress)| -> Result<(bool, Vec<String>)> {
            let mut command = cargo(tools, base);
            if offline {
                command.arg("--offline");
            }
            let exe = crate::executable()?;
            // cargo does not hear of it: crates of `:dep` lines are built beside the library as it expects it to be.
            command.env_remove(LEVEL);
            if let Some(level) = prepared.features.level() {
                command.env(LEVEL, level.to_string());
            }
            let mut child = command
                .args(["build", "--target", tools.host()])
                .env("RUSTC_WRAPPER", exe)
                .env(CAPTURE, capture)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .map_err(|e| Error::io(&tools.cargo, e))?;
            let mut lines = Vec::new();
            let mut done = 0;
            let stderr = BufReader::new(child.stderr.take().expect("piped"));
            for line in stderr.lines().map_while(std::io::Result::ok) {
                if let Some(name) = line.trim_start().strip_prefix("Compiling ") {
                    done += 1;
                    progress(BuildProgress {
                        done,
                        total: total.max(done),
                        name: name.to_string(),
                    });
                } else {
                    lines.push(line);
                }
            }
            let status = child.wait().map_err(|e| Error::io(&tools.cargo, e))?;
            Ok((status.success(), lines))
        };
    // What this binary was built from is usually on the machine; the network is the second choice.
    let (ok, lines) = run(true, progress)?;
    if ok {
        return Ok(());
    }
    let lines = if lines.iter().any(|line| line.contains("--offline")) {
        let (ok, lines) = run(false, progress)?;
        if ok {
            return Ok(());
        }
        lines
    } else {
        lines
    };
    Err(explain(&lines, prepared))
}

/// How many crates a build from nothing compiles, nearly (one may be built twice, with other features).
fn count_crates(prepared: &Prepared, base: &Path) -> usize {
    let tree = cargo(&prepared.tools, base)
        .args(["tree", "--offline", "--prefix=none", "--edges=normal,build"])
        .output();
    let text = tree.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .collect::<HashSet<_>>()
        .len()
}

/// Turns cargo's report into an error that says what to do.
fn explain(lines: &[String], prepared: &Prepared) -> Error {
    let text = lines.join("\n");
    let tool = |what: &str, remedy: &str| Error::Tool {
        what: what.to_string(),
        remedy: remedy.to_string(),
    };
    if text.contains("No space left on device") {
        tool(
            "the disk is full: the library could not be compiled",
            "Free about 1 GB, or set REBIT_CACHE to a folder on another disk",
        )
    } else if text.contains("linker `") && text.contains("not found") {
        tool(
            "rustc found no linker",
            "Install a C compiler (Debian: apt install gcc)",
        )
    } else if ["`include/cuda.h`", "`nvidia-smi` failed", "`nvcc` failed"]
        .iter()
        .any(|said| text.contains(said))
    {
        tool(
            "the feature cuda needs NVIDIA's driver and the CUDA toolkit (nvidia-smi and nvcc in PATH)",
            "Install them, or unset REBIT_FEATURES: cells run on the CPU then",
        )
    } else if text.contains("failed to get `") || text.contains("failed to download") {
        tool(
            "the library's dependencies are not on this machine and could not be fetched",
            "Run `cargo fetch` in the rebit checkout once while connected",
        )
    } else {
        Error::Library {
            library: prepared.library.clone(),
            report: lines[lines.len().saturating_sub(40)..].join("\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_library_itself_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let deps = folder.path().join("host/debug/deps");
        fs::create_dir_all(&deps).unwrap();
        let names = [
            "librebit.so",
            "librebit.rlib",
            "librebit_wire-1.rlib",
            "libdfdx-1.rlib",
        ];
        for name in names {
            fs::write(deps.join(name), name).unwrap();
        }
        forget_library(folder.path()).unwrap();
        assert_eq!(
            names.map(|name| deps.join(name).exists()),
            [false, false, true, true]
        );
        forget_library(&folder.path().join("nowhere")).unwrap();
    }
}
