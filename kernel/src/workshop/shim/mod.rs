//! Our own `cargo` and `rustup`, as evcxr sees them.
//!
//! evcxr calls cargo for every cell. For the library's own dependencies the answer is always the same
//! call of rustc, so our `cargo` makes that call itself (`Recipe`); the real one runs only for the crates
//! of `:dep` lines (`further`), with the network as its second choice and without rewriting the lock file
//! when evcxr merely validates a line. Our `rustup` names the tools and never installs a component.
//!
//! Both are links to this binary; it plays the part that its name says.

mod answers;
mod call;
mod cell;
mod compile;
mod further;
mod lines;
mod pool;
mod questions;
mod timed;
mod wrapper;

use std::path::{Path, PathBuf};

use compile::compile;
pub use lines::lines_of;
use questions::ask;
pub use timed::{COMPILERS, CompilerRun, TIMES};

use super::recipe::{CAPTURE, wrap_rustc};
use super::session_files::{SESSION, SETTINGS, Settings};
use crate::orphans;

/// Environment of cargo while it compiles the crates of `:dep` lines: the session's folder.
const FURTHER: &str = "REBIT_FURTHER";

/// Plays cargo, rustup or the wrapper around rustc when started as one; returns otherwise.
pub fn roles() {
    if std::env::var_os(FURTHER).is_some() {
        orphans::die_with_parent();
        std::process::exit(wrapper::wrap());
    }
    if std::env::var_os(CAPTURE).is_some() {
        orphans::die_with_parent();
        std::process::exit(wrap_rustc());
    }
    let name = PathBuf::from(std::env::args_os().next().unwrap_or_default());
    let part = name.file_name().and_then(|n| n.to_str()).unwrap_or("");
    if !matches!(part, "cargo" | "rustup") {
        return;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let session = session_of(&args, &name);
    let session = session.as_path();
    let Some(settings) = Settings::read(session) else {
        eprintln!("{}: no session here", session.display());
        std::process::exit(1);
    };
    std::process::exit(match part {
        "rustup" => play_rustup(session, &settings, &args),
        _ => play_cargo(session, &settings, &args),
    });
}

/// The session that a call is about: its manifest's, else the one it is made from, else the one whose
/// tool was called.
fn session_of(args: &[String], name: &Path) -> PathBuf {
    let is_session = |folder: &&Path| folder.join(SETTINGS).is_file();
    let of_manifest = args
        .iter()
        .skip_while(|arg| *arg != "--manifest-path")
        .nth(1)
        .and_then(|path| Path::new(path).parent())
        .filter(is_session);
    if let Some(session) = of_manifest {
        return session.to_path_buf();
    }
    if let Ok(here) = std::env::current_dir()
        && let Some(session) = here.ancestors().find(is_session)
    {
        return session.to_path_buf();
    }
    // Started through the search path, the name has no folder.
    match std::env::var_os(SESSION) {
        Some(folder) if !name.is_absolute() => PathBuf::from(folder),
        _ => name
            .ancestors()
            .nth(2)
            .unwrap_or(Path::new(""))
            .to_path_buf(),
    }
}

fn play_rustup(session: &Path, settings: &Settings, args: &[String]) -> i32 {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["which", "cargo"] => {
            // Not this session's own: see `workshop::home`.
            let home = std::env::var_os(SESSION).map_or(session.to_path_buf(), PathBuf::from);
            println!("{}", home.join("bin/cargo").display());
        }
        ["which", "rustc"] => println!("{}", settings.tools.rustc.display()),
        _ => {
            eprintln!("a session installs no components");
            return 1;
        }
    }
    0
}

fn play_cargo(session: &Path, settings: &Settings, args: &[String]) -> i32 {
    let word = args.iter().find(|arg| !arg.starts_with('-'));
    let here = std::env::current_dir().is_ok_and(|folder| folder == session);
    match word.map(String::as_str) {
        Some("build") if here => compile(session, settings, args, false),
        Some("check") if here => compile(session, settings, args, true),
        // The library's artefacts stay whatever evcxr thinks.
        Some("clean") if here => 0,
        _ => ask(session, settings, args),
    }
}

fn failed(error: std::io::Error) -> i32 {
    eprintln!("error: {error}");
    1
}
