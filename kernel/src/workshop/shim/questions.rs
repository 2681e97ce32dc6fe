//! What evcxr and its analyser ask cargo about a session's manifest.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{answers, failed};
use crate::error::{Error, Result};
use crate::files;
use crate::orphans;
use crate::workshop::cargo::{HOME, own_home};
use crate::workshop::recipe::dependency_lines;
use crate::workshop::session_files::Settings;

/// The real cargo with the user's own home; the session's stands in its place (see `Session::start`).
fn real_cargo(settings: &Settings, args: &[String]) -> Command {
    let mut command = Command::new(&settings.tools.cargo);
    command.args(args);
    own_home(&mut command);
    orphans::die_with_parent();
    orphans::let_die_with_us(&mut command);
    command
}

/// Any question to cargo.
pub fn ask(session: &Path, settings: &Settings, args: &[String]) -> i32 {
    let manifest = fs::read_to_string(session.join("Cargo.toml")).unwrap_or_default();
    let (dependencies, _) = read_manifest(session);
    let of_analyser = std::env::var_os(HOME).is_some();
    let known = dependencies.is_empty() || dependencies == dependency_lines(&settings.dependency);
    let is_metadata = args.iter().any(|arg| arg == "metadata");
    if manifest.contains("evcxr_dummy_validate_dep") || !(known && of_analyser) {
        return match is_metadata {
            true => metadata(session, settings, args, of_analyser),
            false => failed(real_cargo(settings, args).exec()),
        };
    }
    let folder = settings.master.join("answers");
    let command = real_cargo(settings, args);
    let answer = match answers::answer(&folder, session, &manifest, args, command) {
        Ok(answer) => answer,
        Err(error) => return failed(error),
    };
    if is_metadata && let Err(error) = restore_lock(session, settings) {
        eprintln!("error: {error}");
        return 1;
    }
    answer.give()
}

/// `of_analyser`: who asks wants types alone.
fn metadata(session: &Path, settings: &Settings, args: &[String], of_analyser: bool) -> i32 {
    let manifest = fs::read_to_string(session.join("Cargo.toml")).unwrap_or_default();
    let (dependencies, _) = read_manifest(session);
    let validation = manifest.contains("evcxr_dummy_validate_dep");
    let args: Vec<String> = args
        .iter()
        .filter(|arg| *arg != "--offline")
        .cloned()
        .collect();
    let mut code = 1;
    if validation && dependencies == dependency_lines(&settings.dependency) {
        println!("{{}}");
        code = 0;
    } else {
        for offline in ["net.offline=true", "net.offline=false"] {
            let output = real_cargo(settings, &args)
                .args(["--config", offline])
                .stdin(Stdio::null())
                .output();
            let output = match output {
                Ok(output) => output,
                Err(error) => return failed(error),
            };
            if !output.status.success() && offline == "net.offline=true" {
                continue;
            }
            use std::io::Write;
            let mut told = String::from_utf8_lossy(&output.stdout).into_owned();
            if of_analyser && !validation {
                told = answers::for_types(told);
            }
            let _ = std::io::stdout().write_all(told.as_bytes());
            let _ = std::io::stderr().write_all(&output.stderr);
            code = output.status.code().unwrap_or(1);
            break;
        }
    }
    if let Err(error) = restore_lock(session, settings) {
        eprintln!("error: {error}");
        return 1;
    }
    code
}

/// The dependency lines and the optimisation level of a manifest.
pub fn read_manifest(session: &Path) -> (Vec<String>, String) {
    let text = fs::read_to_string(session.join("Cargo.toml")).unwrap_or_default();
    let (head, dependencies) = text.split_once("[dependencies]").unwrap_or((&text, ""));
    let opt_level = head
        .lines()
        .find_map(|line| line.trim().strip_prefix("opt-level = "))
        .unwrap_or("0");
    (dependency_lines(dependencies), opt_level.to_string())
}

/// Puts back the versions that the library is built with: evcxr and its analyser ask cargo about
/// manifests with fewer dependencies, and cargo then forgets the others.
fn restore_lock(session: &Path, settings: &Settings) -> Result<()> {
    let source = settings.master.join("base/Cargo.lock");
    let bytes = fs::read(&source).map_err(|e| Error::io(&source, e))?;
    files::write(&session.join("Cargo.lock"), &bytes)
}
