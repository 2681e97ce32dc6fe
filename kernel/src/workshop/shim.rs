//! Our own `cargo` and `rustup`, as evcxr sees them.
//!
//! evcxr calls cargo for every cell. For the library's own dependencies the answer is always the same
//! call of rustc, so our `cargo` makes that call itself ([`Recipe`]); the real one runs only for further
//! `:dep` lines, with the network as its second choice and without rewriting the lock file when evcxr
//! merely validates a line. Our `rustup` names the tools and never installs a component.
//!
//! Both are links to this binary; it plays the part that its name says.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Prepared, Tools, answers, build};
use crate::error::{Error, Result};

/// Environment: where to write how cargo calls rustc for the cell crate.
pub const CAPTURE: &str = "REBIT_CAPTURE";
/// Environment: the folder whose tools a process uses ([`super::home`]).
pub const SESSION: &str = "REBIT_SESSION";
/// What the tools of a session know, in its folder.
pub const SETTINGS: &str = "rebit.json";
/// evcxr's own variable: where it expects the path of the compiled cell.
const SO_PATH: &str = "EVCXR_EXECUTION_SO_PATH";
/// Stands for the master folder in a recipe.
const MASTER: &str = "@MASTER@";
/// The versions of a session with further dependencies.
const OWN_LOCK: &str = "own.lock";
/// While this file is in the session folder, `check` says nothing.
pub const NO_CHECK: &str = "no-check";
/// While this file is in the session folder, `check` names types in full.
pub const FULL_TYPES: &str = "full-types";
/// Lines of the real cargo that the session shows.
pub const BUILD_LOG: &str = "build.log";

/// How cargo called rustc for the cell crate.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Capture {
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Capture {
    /// What a wrapper wrote, if it is whole.
    pub fn read(path: &Path) -> Option<Capture> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
}

/// How to compile a cell with given dependencies.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Recipe {
    dependencies: Vec<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Recipe {
    /// A recipe from a captured call; paths below `master` are kept relative to it.
    pub fn new(capture: Capture, dependencies: &str, master: &Path) -> Recipe {
        let master = master.display().to_string();
        let args = capture.args.iter().map(|a| a.replace(&master, MASTER));
        Recipe {
            dependencies: dependency_lines(dependencies),
            args: args.collect(),
            env: capture.env,
        }
    }

    /// A recipe from its file, if it is whole.
    pub fn read(path: &Path) -> Option<Recipe> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Writes the recipe.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).expect("plain data");
        build::write(path, &text)
    }

    /// Whether every library that the recipe names is there.
    pub fn externs_exist(&self, master: &Path) -> bool {
        let master = master.display().to_string();
        self.args
            .iter()
            .zip(self.args.iter().skip(1))
            .filter(|(flag, _)| *flag == "--extern")
            .filter_map(|(_, value)| value.split_once('='))
            .all(|(_, path)| {
                let file = fs::metadata(path.replace(MASTER, &master));
                file.is_ok_and(|f| f.is_file() && f.len() > 0)
            })
    }

    /// The arguments for this session: output into its folder, its optimisation level, no incremental
    /// state (a cell is small and new each time).
    fn arguments(&self, master: &Path, out: &Path, opt_level: &str, check: bool) -> Vec<String> {
        let master = master.display().to_string();
        let mut args = Vec::with_capacity(self.args.len());
        let mut given = self.args.iter().map(|a| a.replace(MASTER, &master));
        while let Some(arg) = given.next() {
            match arg.as_str() {
                "--out-dir" => {
                    given.next();
                    args.extend([arg, out.display().to_string()]);
                }
                "-C" => {
                    let value = given.next().unwrap_or_default();
                    if value.starts_with("opt-level=") {
                        args.extend([arg, format!("opt-level={opt_level}")]);
                    } else if !value.starts_with("incremental=") {
                        args.extend([arg, value]);
                    }
                }
                _ if arg.starts_with("--emit=") => {
                    let emit = if check { "metadata" } else { "link" };
                    args.push(format!("--emit={emit}"));
                }
                _ => args.push(arg),
            }
        }
        args
    }
}

/// The lines of a `[dependencies]` table, in order.
fn dependency_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| line.trim().to_string())
        .filter(|line| !line.is_empty())
        .collect();
    lines.sort();
    lines
}

/// What the links of a session know.
#[derive(serde::Serialize, serde::Deserialize)]
struct Settings {
    master: PathBuf,
    dependency: String,
    tools: Tools,
}

/// Puts `bin/cargo` and `bin/rustup` into a session folder.
///
/// # Errors
/// When the folder cannot be written.
pub fn install(session: &Path, prepared: &Prepared) -> Result<()> {
    let settings = Settings {
        master: prepared.master.clone(),
        dependency: prepared.dependency(),
        tools: prepared.tools.clone(),
    };
    let text = serde_json::to_vec(&settings).expect("plain data");
    build::write(&session.join(SETTINGS), &text)?;
    let bin = session.join("bin");
    fs::create_dir_all(&bin).map_err(|e| Error::io(&bin, e))?;
    let exe = crate::executable()?;
    for name in ["cargo", "rustup"] {
        let link = bin.join(name);
        std::os::unix::fs::symlink(&exe, &link).map_err(|e| Error::io(&link, e))?;
    }
    // Asked for its version again and again; behind rustup's proxy each answer takes longer.
    let link = bin.join("rustc");
    std::os::unix::fs::symlink(&prepared.tools.rustc, &link).map_err(|e| Error::io(&link, e))
}

/// Plays cargo, rustup or the wrapper around rustc when started as one; returns otherwise.
pub fn roles() {
    if std::env::var_os(CAPTURE).is_some() {
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
    let Some(settings) = fs::read(session.join(SETTINGS))
        .ok()
        .and_then(|text| serde_json::from_slice::<Settings>(&text).ok())
    else {
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

/// Notes how cargo calls rustc for the cell crate, then lets it.
fn wrap_rustc() -> i32 {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((rustc, args)) = args.split_first() else {
        return 1;
    };
    let for_cell = args
        .windows(2)
        .any(|pair| pair[0] == "--crate-name" && pair[1] == "ctx");
    if for_cell && let Some(path) = std::env::var_os(CAPTURE) {
        let env = std::env::vars()
            .filter(|(name, _)| {
                name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST")
            })
            .collect();
        let capture = Capture {
            args: args.to_vec(),
            env,
        };
        let text = serde_json::to_vec(&capture).expect("plain data");
        if let Err(error) = build::write(Path::new(&path), &text) {
            eprintln!("{error}");
            return 1;
        }
    }
    let error = Command::new(rustc).args(args).env_remove(CAPTURE).exec();
    eprintln!("{rustc}: {error}");
    1
}

fn play_rustup(session: &Path, settings: &Settings, args: &[String]) -> i32 {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["which", "cargo"] => {
            // Not this session's own: see `super::home`.
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

/// The real cargo with the user's own home; the session's stands in its place (see `Session::start`).
fn real_cargo(settings: &Settings, args: &[String]) -> Command {
    let mut command = Command::new(&settings.tools.cargo);
    command.args(args);
    build::own_home(&mut command);
    command
}

/// Any question to cargo.
fn ask(session: &Path, settings: &Settings, args: &[String]) -> i32 {
    let manifest = fs::read_to_string(session.join("Cargo.toml")).unwrap_or_default();
    let (dependencies, _) = read_manifest(session);
    let of_analyser = std::env::var_os(build::HOME).is_some();
    let known = dependencies.is_empty() || dependencies == dependency_lines(&settings.dependency);
    let is_metadata = args.iter().any(|arg| arg == "metadata");
    if manifest.contains("evcxr_dummy_validate_dep") || !(known && of_analyser) {
        return match is_metadata {
            true => metadata(session, settings, args),
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

fn failed(error: std::io::Error) -> i32 {
    eprintln!("error: {error}");
    1
}

/// The dependency lines and the optimisation level of a manifest.
fn read_manifest(session: &Path) -> (Vec<String>, String) {
    let text = fs::read_to_string(session.join("Cargo.toml")).unwrap_or_default();
    let (head, dependencies) = text.split_once("[dependencies]").unwrap_or((&text, ""));
    let opt_level = head
        .lines()
        .find_map(|line| line.trim().strip_prefix("opt-level = "))
        .unwrap_or("0");
    (dependency_lines(dependencies), opt_level.to_string())
}

fn out_folder(session: &Path, settings: &Settings) -> PathBuf {
    let host = settings.tools.host();
    session.join("target").join(host).join("debug/deps")
}

fn compile(session: &Path, settings: &Settings, args: &[String], check: bool) -> i32 {
    if check && session.join(NO_CHECK).exists() {
        return 0;
    }
    let (dependencies, opt_level) = read_manifest(session);
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
    failed(command.exec())
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
    let mut code = 1;
    for offline in [true, false] {
        let mut command = build::cargo(&settings.tools, session);
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
    code
}

/// Runs a command; its `Compiling` and `Downloading` lines go to the log instead of the caller.
fn run_and_log(mut command: Command, log: &Path) -> std::io::Result<std::process::Output> {
    use std::io::{BufRead, Read, Write};
    let mut log = fs::OpenOptions::new().create(true).append(true).open(log)?;
    let mut child = command.spawn()?;
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
    build::write(&mark, b"")
}

/// Links and copies a folder of artefacts.
pub fn link_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(|e| Error::io(to, e))?;
    for entry in fs::read_dir(from).map_err(|e| Error::io(from, e))? {
        let entry = entry.map_err(|e| Error::io(from, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let (source, target) = (entry.path(), to.join(&name));
        if source.is_dir() {
            if name != "incremental" && !name.starts_with("ctx-") {
                link_tree(&source, &target)?;
            }
            continue;
        }
        if name.contains("ctx") {
            continue;
        }
        // A seeding that was interrupted left links: a copy through one would empty the master's file.
        match fs::remove_file(&target) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(&target, e));
            }
            _ => {}
        }
        // Names without a hash (the library itself) are written again when it is compiled differently.
        let fixed = [".rlib", ".rmeta", ".so"];
        let linked = name.contains('-')
            && fixed.iter().any(|end| name.ends_with(end))
            && fs::hard_link(&source, &target).is_ok();
        if !linked {
            copy_with_time(&source, &target).map_err(|e| Error::io(&target, e))?;
        }
    }
    Ok(())
}

/// cargo compares times, so a copy keeps its own.
fn copy_with_time(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::copy(from, to)?;
    let time = fs::metadata(from)?.modified()?;
    fs::File::options().write(true).open(to)?.set_modified(time)
}

/// Puts back the versions that the session is built with: evcxr and its analyser ask cargo about
/// manifests with fewer dependencies, and cargo then forgets the others.
fn restore_lock(session: &Path, settings: &Settings) -> Result<()> {
    let own = session.join(OWN_LOCK);
    let source = if own.exists() {
        own
    } else {
        settings.master.join("base/Cargo.lock")
    };
    let bytes = fs::read(&source).map_err(|e| Error::io(&source, e))?;
    build::write(&session.join("Cargo.lock"), &bytes)
}

fn metadata(session: &Path, settings: &Settings, args: &[String]) -> i32 {
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
            let _ = std::io::stdout().write_all(&output.stdout);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        let args = [
            "--crate-name",
            "ctx",
            "--emit=dep-info,link",
            "-C",
            "opt-level=0",
            "-C",
            "incremental=/m/base/target/incremental",
            "--out-dir",
            "/m/base/target/deps",
            "--extern",
            "rebit=/m/base/target/deps/librebit.so",
            "-C",
            "rpath",
        ];
        let capture = Capture {
            args: args.map(str::to_string).to_vec(),
            env: Vec::new(),
        };
        Recipe::new(capture, "rebit = { path = \"/lib\" }", Path::new("/m"))
    }

    #[test]
    fn a_recipe_moves_with_its_master() {
        let args = recipe().arguments(Path::new("/n"), Path::new("/s/deps"), "2", false);
        assert_eq!(
            args,
            [
                "--crate-name",
                "ctx",
                "--emit=link",
                "-C",
                "opt-level=2",
                "--out-dir",
                "/s/deps",
                "--extern",
                "rebit=/n/base/target/deps/librebit.so",
                "-C",
                "rpath",
            ]
        );
        let args = recipe().arguments(Path::new("/n"), Path::new("/s/deps"), "0", true);
        assert!(args.contains(&"--emit=metadata".to_string()));
    }

    #[test]
    fn a_recipe_with_missing_libraries_is_noticed() {
        assert!(!recipe().externs_exist(Path::new("/nowhere")));
    }

    #[test]
    fn the_order_of_dependencies_does_not_matter() {
        assert_eq!(
            dependency_lines("b = \"1\"\n\n a = \"2\"\n"),
            dependency_lines("a = \"2\"\nb = \"1\"")
        );
    }

    #[test]
    fn a_seed_links_libraries_and_copies_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        for name in ["deps", "incremental", ".fingerprint/rand-1"] {
            fs::create_dir_all(from.join(name)).unwrap();
        }
        for name in [
            "deps/librand-1.rlib",
            "deps/rand.d",
            "deps/libctx.so",
            "deps/librebit.so",
            "incremental/x",
        ] {
            fs::write(from.join(name), name).unwrap();
        }
        link_tree(&from, &to).unwrap();
        use std::os::unix::fs::MetadataExt;
        let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
        assert_eq!(
            inode(from.join("deps/librand-1.rlib")),
            inode(to.join("deps/librand-1.rlib"))
        );
        assert_ne!(
            inode(from.join("deps/rand.d")),
            inode(to.join("deps/rand.d"))
        );
        assert!(!to.join("deps/libctx.so").exists() && !to.join("incremental").exists());
        // Seeding again, after an interruption, leaves the master as it is.
        link_tree(&from, &to).unwrap();
        for name in ["deps/librand-1.rlib", "deps/librebit.so"] {
            assert_eq!(fs::read_to_string(from.join(name)).unwrap(), name);
        }
        assert_ne!(
            inode(from.join("deps/librebit.so")),
            inode(to.join("deps/librebit.so"))
        );
    }
}
