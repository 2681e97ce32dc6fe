//! The crates of `:dep` lines: compiled by the real cargo in a place of their own, on top of the finished library.
//!
//! The library is no dependency there, so no wish of theirs (one more feature of a small crate) reaches it, and nothing
//! that runs or that cells stand on is written again. Cargo resolves them with the library's versions as its lock file,
//! and [`wrapper`](super::wrapper) lets them stand on the library's crates.
//!
//! What was compiled is linked into one shared library, the *bundle*: cells are linked to it in a moment, and what its
//! crates keep in statics (a logger, a pool of threads) is there once, for all cells. A later `:dep` line makes a bundle
//! on top of the earlier ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::call::Call;
use super::{FURTHER, failed, pool};
use crate::error::{Error, Result};
use crate::files;
use crate::orphans;
use crate::workshop::cargo::{cargo, manifest};
use crate::workshop::crates::LibraryCrates;
use crate::workshop::link::link_tree_of;
use crate::workshop::recipe::{Further, Recipe};
use crate::workshop::session_files::{BUILD_LOG, Settings};

/// The place of these crates in a session's folder.
pub const FOLDER: &str = "further";
/// The crate that depends on all of them.
pub const NAME: &str = "further";
/// Written there when cargo begins to compile.
pub const BEGAN: &str = "began";
/// What the last build found out, written there by the wrapper.
const FOUND: &str = "found.json";
/// Bundles are crates `rebit_bundle_1`, `rebit_bundle_2`, ...
const BUNDLE: &str = "rebit_bundle_";

/// Compiles the crates of a session's further dependencies and says how cells use them.
///
/// # Errors
/// The exit status of cargo, which has told its reasons.
pub fn build(
    session: &Path,
    settings: &Settings,
    args: &[String],
    dependencies: &[String],
    library: &Recipe,
) -> std::result::Result<Recipe, i32> {
    let place = session.join(FOLDER);
    let told = |error: Error| {
        eprintln!("error: {error}");
        1
    };
    prepare(session, settings, dependencies).map_err(told)?;
    let log = session.join(BUILD_LOG);
    let length = || fs::metadata(&log).map_or(0, |m| m.len());
    let before = length();
    run_cargo(session, settings, args, &log).map_err(|error| match error {
        Failed::Status(code) => code,
        Failed::Start(error) => failed(error),
    })?;
    let found = fs::read(place.join(FOUND)).map_err(std::io::Error::other);
    let found: Further = found
        .and_then(|text| serde_json::from_slice(&text).map_err(std::io::Error::other))
        .map_err(failed)?;
    if length() > before
        && let Err(error) = pool::put(&place, &settings.master)
    {
        // The crates are compiled; only the next session compiles the same again.
        eprintln!("{error}");
    }
    let recipe = library.with_further(dependencies, found);
    recipe.write(&session.join("recipe.json")).map_err(told)?;
    Ok(recipe)
}

/// Writes the crate that depends on all of them.
fn prepare(session: &Path, settings: &Settings, dependencies: &[String]) -> Result<()> {
    let place = session.join(FOLDER);
    let source = place.join("src");
    fs::create_dir_all(&source).map_err(|e| Error::io(&source, e))?;
    seed(&place, settings)?;
    let lock = place.join("Cargo.lock");
    if !lock.exists() {
        let library = settings.master.join("base/Cargo.lock");
        let text = fs::read(&library).map_err(|e| Error::io(&library, e))?;
        files::write(&lock, &text)?;
    }
    let lines: Vec<&str> = dependencies
        .iter()
        .map(String::as_str)
        .filter(|line| *line != settings.dependency)
        .collect();
    let text = manifest(NAME, "dylib", &lines.join("\n"));
    files::write(&place.join("Cargo.toml"), text.as_bytes())?;
    // New each time, so that cargo calls for it each time.
    files::write(&source.join("lib.rs"), b"")?;
    for name in [BEGAN, FOUND] {
        let _ = fs::remove_file(place.join(name));
    }
    Ok(())
}

/// Gives the place what is compiled already: links for what is never rewritten, copies of the rest.
fn seed(place: &Path, settings: &Settings) -> Result<()> {
    let mark = place.join("seeded");
    if mark.exists() {
        return Ok(());
    }
    let target = place.join("target");
    // Not the library itself: nothing is compiled against a copy of it.
    link_tree_of(&settings.master.join("base/target"), &target, &|name| {
        !name.starts_with("librebit.")
    })?;
    pool::take(place, &settings.master)?;
    files::write(&mark, b"")
}

/// How a call is given its crates.
fn given(call: &Call) -> Further {
    let values = |name| call.values(name).map(str::to_string).collect();
    Further::new(values("--extern"), values("-L"))
}

enum Failed {
    Status(i32),
    Start(std::io::Error),
}

/// Runs cargo with the arguments that evcxr gave; the network is its second choice.
fn run_cargo(
    session: &Path,
    settings: &Settings,
    args: &[String],
    log: &Path,
) -> std::result::Result<(), Failed> {
    let place = session.join(FOLDER);
    // One kind of artefact is enough: `check` is answered by a build.
    let args: Vec<&str> = args
        .iter()
        .map(String::as_str)
        .filter(|arg| *arg != "--offline")
        .map(|arg| if arg == "check" { "build" } else { arg })
        .collect();
    let exe = crate::executable().map_err(|e| Failed::Start(std::io::Error::other(e)))?;
    let mut code = 1;
    for offline in [true, false] {
        let mut command = cargo(&settings.tools, &place);
        command
            .args(&args)
            .args(["--config", &format!("net.offline={offline}")])
            .env("RUSTC_WRAPPER", &exe)
            .env(FURTHER, session)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = run_and_log(command, log).map_err(Failed::Start)?;
        if output.status.success() {
            return Ok(());
        }
        if offline && !place.join(BEGAN).exists() {
            continue;
        }
        use std::io::Write;
        let _ = std::io::stdout().write_all(&output.stdout);
        let _ = std::io::stderr().write_all(&output.stderr);
        code = output.status.code().unwrap_or(1);
        break;
    }
    Err(Failed::Status(code))
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
    let of_bundle = format!("Compiling {NAME} ");
    for line in std::io::BufReader::new(child.stderr.take().expect("piped")).split(b'\n') {
        let line = line?;
        let text = String::from_utf8_lossy(&line);
        let word = text.trim_start();
        if ["Compiling ", "Downloading ", "Downloaded ", "Updating "]
            .iter()
            .any(|start| word.starts_with(start))
        {
            if !word.starts_with(&of_bundle) {
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

/// Plays rustc for the crate that depends on all others: notes how they are given, and links the bundle.
pub fn bundle(
    rustc: &str,
    call: &Call,
    session: &Path,
    settings: &Settings,
    library: &LibraryCrates,
) -> i32 {
    match try_bundle(rustc, call, session, settings, library) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("error: {error}");
            1
        }
    }
}

fn try_bundle(
    rustc: &str,
    call: &Call,
    session: &Path,
    settings: &Settings,
    library: &LibraryCrates,
) -> Result<()> {
    let place = session.join(FOLDER);
    let mut found = given(call);
    let out = session
        .join("target")
        .join(settings.tools.host())
        .join("debug/deps");
    fs::create_dir_all(&out).map_err(|e| Error::io(&out, e))?;
    let earlier = bundles(&out);
    let name = format!("{BUNDLE}{}", earlier.len() + 1);
    let file = out.join(format!("lib{name}.so"));
    // On top of the bundles before it; by itself where those no longer fit (a local crate has changed).
    for below in [&earlier[..], &[]] {
        let link = Link {
            rustc,
            call,
            name: &name,
            out: &out,
            below,
            rebit: library.named(&settings.master, "librebit.so"),
        };
        if link.run(&place)? {
            found.with_bundle(&name, &file);
            break;
        }
        if below.is_empty() {
            // Without a bundle cells are linked to the crates themselves.
            break;
        }
    }
    let text = serde_json::to_vec(&found).expect("plain data");
    files::write(&place.join(FOUND), &text)?;
    // What cargo waits for.
    let folder = PathBuf::from(call.value("--out-dir").unwrap_or_default());
    let file = folder.join(format!("lib{NAME}.so"));
    files::write(&file, b"")?;
    let rule = format!("{}: src/lib.rs\n", file.display());
    files::write(&folder.join(format!("{NAME}.d")), rule.as_bytes())
}

/// The session's bundles, oldest first, with their files.
fn bundles(out: &Path) -> Vec<(String, PathBuf)> {
    (1..)
        .map(|number| format!("{BUNDLE}{number}"))
        .map(|name| (name.clone(), out.join(format!("lib{name}.so"))))
        .take_while(|(_, file)| file.exists())
        .collect()
}

struct Link<'a> {
    rustc: &'a str,
    call: &'a Call,
    name: &'a str,
    out: &'a Path,
    below: &'a [(String, PathBuf)],
    rebit: Option<PathBuf>,
}

impl Link<'_> {
    /// Links the bundle; false when that is not possible.
    fn run(&self, place: &Path) -> Result<bool> {
        let mut source = String::from("#![allow(unused_extern_crates)]\n");
        let below = self.below.iter().map(|(name, _)| name.as_str());
        let names = self.call.externs().map(|(name, _)| name);
        for name in ["rebit"].into_iter().chain(below).chain(names) {
            source += &format!("extern crate {name} as _;\n");
        }
        let file = place.join("bundle.rs");
        files::write(&file, source.as_bytes())?;
        let mut command = Command::new(self.rustc);
        command
            .args(["--crate-type", "dylib", "--edition", "2024", "--crate-name"])
            .arg(self.name)
            .arg(&file)
            .args(["-C", "prefer-dynamic", "-C", "opt-level=0", "--emit=link"])
            .args(["--cap-lints", "allow", "-C", "strip=debuginfo", "-C"])
            .arg(format!("metadata={}", self.name))
            .arg("--out-dir")
            .arg(self.out)
            .args(given(self.call).arguments());
        let rebit = self.rebit.iter().map(|file| ("rebit", file));
        let below = self.below.iter().map(|(name, file)| (name.as_str(), file));
        for (name, file) in rebit.chain(below) {
            command.args(["--extern", &format!("{name}={}", file.display())]);
        }
        let output = orphans::let_die_with_us(&mut command)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| Error::io(Path::new(self.rustc), e))?;
        // For whoever asks why there is none.
        files::write(&place.join(format!("{}.log", self.name)), &output.stderr)?;
        Ok(output.status.success())
    }
}
