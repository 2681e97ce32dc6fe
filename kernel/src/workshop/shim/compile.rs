//! `cargo build` and `cargo check` of a session: one call of rustc, or the real cargo for more dependencies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::questions::{read_manifest, restore_lock};
use super::thin::with_library;
use super::timed::become_rustc;
use super::{failed, pool};
use crate::error::Result;
use crate::files;
use crate::orphans;
use crate::workshop::cargo::cargo;
use crate::workshop::link::link_tree;
use crate::workshop::recipe::{CAPTURE, Capture, Recipe};
use crate::workshop::session_files::{BUILD_LOG, FULL_TYPES, NO_CHECK, OWN_LOCK, Settings};

/// evcxr's own variable: where it expects the path of the compiled cell.
const SO_PATH: &str = "EVCXR_EXECUTION_SO_PATH";

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
    if let Err(error) = make_thin(session, settings, &dependencies) {
        return failed(error);
    }
    let own = session.join("recipe.json");
    let of_master = settings.master.join("recipe.json");
    let recipe = [&own, &of_master]
        .into_iter()
        .filter_map(|path| Recipe::read(path))
        // Before the library is loaded nothing is: any recipe will do.
        .find(|recipe| dependencies.is_empty() || recipe.dependencies == dependencies);
    let Some(recipe) = recipe else {
        return compile_with_cargo(session, settings, args, &dependencies);
    };
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

/// Changes a cell's source to use what the library has compiled, once the library is loaded.
fn make_thin(session: &Path, settings: &Settings, dependencies: &[String]) -> std::io::Result<()> {
    if !dependencies.contains(&settings.dependency) {
        return Ok(());
    }
    let path = session.join("src/lib.rs");
    fs::write(&path, with_library(&fs::read_to_string(&path)?))
}

/// A session with further dependencies: the real cargo, beginning from the finished library.
fn compile_with_cargo(
    session: &Path,
    settings: &Settings,
    args: &[String],
    dependencies: &[String],
) -> i32 {
    if let Err(error) = seed(session, settings).and_then(|()| restore_lock(session, settings)) {
        eprintln!("error: {error}");
        return 1;
    }
    let capture = session.join("capture.json");
    let _ = fs::remove_file(&capture);
    // One kind of artefact is enough: `check` is answered by a build.
    let args: Vec<&str> = args
        .iter()
        .map(String::as_str)
        .filter(|arg| *arg != "--offline")
        .map(|arg| if arg == "check" { "build" } else { arg })
        .collect();
    let Ok(exe) = crate::executable() else {
        return 1;
    };
    let log = session.join(BUILD_LOG);
    let length = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
    let before = length(&log);
    let mut code = 1;
    for offline in [true, false] {
        let mut command = cargo(&settings.tools, session);
        command
            .args(&args)
            .args([
                "--config",
                if offline {
                    "net.offline=true"
                } else {
                    "net.offline=false"
                },
            ])
            .env("RUSTC_WRAPPER", &exe)
            .env(CAPTURE, &capture)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = match run_and_log(command, &log) {
            Ok(output) => output,
            Err(error) => return failed(error),
        };
        let lost = !output.status.success() && !capture.exists();
        if offline && lost {
            continue;
        }
        use std::io::Write;
        let _ = std::io::stdout().write_all(&output.stdout);
        let _ = std::io::stderr().write_all(&output.stderr);
        code = output.status.code().unwrap_or(1);
        break;
    }
    if let Some(capture) = Capture::read(&capture) {
        let _ = fs::copy(session.join("Cargo.lock"), session.join(OWN_LOCK));
        let recipe = Recipe::new(capture, &dependencies.join("\n"), &settings.master);
        if let Err(error) = recipe.write(&session.join("recipe.json")) {
            eprintln!("{error}");
        }
    }
    if code == 0
        && length(&log) > before
        && let Err(error) = pool::put(session, &settings.master)
    {
        // The cell is compiled; only the next session compiles the same again.
        eprintln!("{error}");
    }
    code
}

/// Gives a session the finished library's artefacts: links for what is never rewritten, copies of the
/// rest.
fn seed(session: &Path, settings: &Settings) -> Result<()> {
    let mark = session.join("seeded");
    if mark.exists() {
        return Ok(());
    }
    link_tree(
        &settings.master.join("base/target"),
        &session.join("target"),
    )?;
    pool::take(session, &settings.master)?;
    files::write(&mark, b"")
}

/// Runs a command; its `Compiling` and `Downloading` lines go to the log instead of the caller.
fn run_and_log(mut command: Command, log: &Path) -> std::io::Result<std::process::Output> {
    use std::io::{BufRead, Read, Write};
    let mut log = fs::OpenOptions::new().create(true).append(true).open(log)?;
    let mut child = orphans::spawn_group(&mut command)?;
    let mut stdout = child.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).map(|_| bytes)
    });
    let mut rest = Vec::new();
    for line in std::io::BufReader::new(child.stderr.take().expect("piped")).split(b'\n') {
        let line = line?;
        let text = String::from_utf8_lossy(&line);
        let word = text.trim_start();
        if ["Compiling ", "Downloading ", "Downloaded ", "Updating "]
            .iter()
            .any(|start| word.starts_with(start))
        {
            if !word.starts_with("Compiling ctx ") {
                log.write_all(&line)?;
                log.write_all(b"\n")?;
            }
        } else {
            rest.extend_from_slice(&line);
            rest.push(b'\n');
        }
    }
    Ok(std::process::Output {
        status: child.wait()?,
        stdout: reader.join().unwrap_or_else(|_| Ok(Vec::new()))?,
        stderr: rest,
    })
}
