//! `cargo build` and `cargo check` of a session: one call of rustc, or the real cargo for more dependencies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cell::{self, Surroundings};
use super::further;
use super::questions::read_manifest;
use super::recipe::Recipe;
use super::timed::become_rustc;
use super::{FULL_TYPES, NO_CHECK, SO_PATH, Settings, failed};

fn out_folder(session: &Path, settings: &Settings) -> PathBuf {
    let host = settings.tools.host();
    session.join("target").join(host).join("debug/deps")
}

/// Compiles the cell crate of a session, or only checks it; returns the exit status.
pub fn compile(session: &Path, settings: &Settings, args: &[String], check: bool) -> i32 {
    if check && session.join(NO_CHECK).exists() {
        return 0;
    }
    let (dependencies, opt_level) = read_manifest(session);
    let Some(of_library) = Recipe::read(&settings.master.join("recipe.json")) else {
        eprintln!("error: {}: the recipe cannot be read", settings.master.display());
        return 1;
    };
    let recipe = [Recipe::read(&session.join("recipe.json")), Some(of_library.clone())]
        .into_iter()
        .flatten()
        // Before the library is loaded nothing is: any recipe will do.
        .find(|recipe| dependencies.is_empty() || recipe.dependencies == dependencies)
        .map_or_else(
            || further::build(session, settings, args, &dependencies, &of_library),
            Ok,
        );
    let recipe = match recipe {
        Ok(recipe) => recipe,
        Err(code) => return code,
    };
    if let Err(error) = finish(session, settings, &dependencies, &recipe) {
        return failed(error);
    }
    let out = out_folder(session, settings);
    if let Err(error) = fs::create_dir_all(&out) {
        return failed(error);
    }
    if let Some(path) = std::env::var_os(SO_PATH).filter(|_| !check) {
        let so = out.join("libctx.so");
        if let Err(error) = fs::write(path, so.as_os_str().as_encoded_bytes()) {
            return failed(error);
        }
    }
    let mut command = Command::new(&settings.tools.rustc);
    command
        .args(recipe.arguments(&settings.master, &out, &opt_level, check))
        .envs(recipe.env);
    if check && session.join(FULL_TYPES).exists() {
        // A shortened type cannot be written into the cell; this option is not stable yet.
        command
            .args(["--verbose", "-Ztrim-diagnostic-paths=no"])
            .env("RUSTC_BOOTSTRAP", "1");
    }
    become_rustc(command, session, if check { "check" } else { "build" })
}

/// Makes evcxr's cell into ours, once the library is loaded.
fn finish(
    session: &Path,
    settings: &Settings,
    dependencies: &[String],
    recipe: &Recipe,
) -> std::io::Result<()> {
    if !dependencies.contains(&settings.dependency) {
        return Ok(());
    }
    let path = session.join("src/lib.rs");
    let cell = fs::read_to_string(&path)?;
    let bundle = recipe.further.bundle.as_ref();
    let surroundings = Surroundings {
        bundle: bundle.map(|(name, _)| name.as_str()),
    };
    fs::write(&path, cell::finished(&cell, surroundings))
}
