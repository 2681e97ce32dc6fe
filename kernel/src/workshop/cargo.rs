//! The real cargo, with the settings that evcxr gives it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Tools;
use crate::error::{Error, Result};
use crate::files;
use crate::orphans;

/// A crate's manifest with the settings that evcxr gives the cell crate: same settings, same artefacts.
pub fn manifest(name: &str, kind: &str, dependencies: &str) -> String {
    format!(
        "\n[package]\nname = {name:?}\nversion = \"1.0.0\"\nedition = \"2024\"\n\n\
         [lib]\ncrate-type = [{kind:?}]\npath = \"src/lib.rs\"\n\n\
         [profile.dev]\nopt-level = 0\ndebug = false\nstrip = \"debuginfo\"\nrpath = true\n\
         lto = false\ndebug-assertions = true\ncodegen-units = 16\npanic = 'unwind'\n\
         incremental = true\noverflow-checks = true\n\n[dependencies]\n{dependencies}\n"
    )
}

/// Cells are compiled quickly, what they depend on is compiled well.
const PROFILE: &str = "\
[profile.dev.package.\"*\"]
opt-level = 3
debug = false
debug-assertions = false
overflow-checks = false
codegen-units = 16
incremental = false
";

/// Writes the profile where cargo finds it from every session folder.
pub fn write_profile(folder: &Path) -> Result<()> {
    let path = folder.join(".cargo/config.toml");
    if fs::read_to_string(&path).is_ok_and(|text| text == PROFILE) {
        return Ok(());
    }
    fs::create_dir_all(folder.join(".cargo")).map_err(|e| Error::io(&path, e))?;
    files::write(&path, PROFILE.as_bytes())
}

/// The real cargo in `folder` with the settings that evcxr gives it.
pub fn cargo(tools: &Tools, folder: &Path) -> Command {
    let mut command = Command::new(&tools.cargo);
    command
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", "target")
        .env("CARGO_BUILD_BUILD_DIR", "target")
        .env("RUSTC", &tools.rustc)
        .env("RUSTFLAGS", "-Cprefer-dynamic")
        .env(orphans::OWNER, std::process::id().to_string())
        .env_remove("CARGO")
        .stdin(Stdio::null());
    own_home(&mut command);
    orphans::let_die_with_us(&mut command);
    command
}

/// Environment: the user's CARGO_HOME while a session's folder stands in its place; empty for none.
pub const HOME: &str = "REBIT_CARGO_HOME";

/// Gives a command the user's own CARGO_HOME.
pub fn own_home(command: &mut Command) {
    if let Some(home) = std::env::var_os(HOME) {
        match home.is_empty() {
            true => command.env_remove("CARGO_HOME"),
            false => command.env("CARGO_HOME", home),
        };
        command.env_remove(HOME);
    }
}
