//! `rebit doctor`: what a session needs, whether it is there, and how to mend what is not.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use crate::workshop::{self, FEATURES, Features, LEVEL, Tools};
use crate::{folders, install};

/// What was found out about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is as it should be.
    Good(String),
    /// Something is missing that one can do without; what to do to have it.
    Optional(String, String),
    /// Sessions or notebooks will not work; what to do about it.
    Broken(String, String),
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// What was found.
    pub finding: Finding,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mark, what, remedy) = match &self.finding {
            Finding::Good(what) => ("ok", what, None),
            Finding::Optional(what, remedy) => ("--", what, Some(remedy)),
            Finding::Broken(what, remedy) => ("!!", what, Some(remedy)),
        };
        write!(f, "{mark} {:<12} {what}", self.name)?;
        match remedy {
            Some(remedy) => write!(f, "\n{:16}{remedy}", ""),
            None => Ok(()),
        }
    }
}

/// Looks at everything and prints the report; `true` when nothing is broken.
pub fn run() -> bool {
    let checks = [
        ("toolchain", toolchain as fn() -> Finding),
        ("linker", linker),
        ("std sources", standard_sources),
        ("cache", cache),
        ("library", library),
        ("jupyter", jupyter),
        ("npm", npm),
        ("data", data),
        ("gpu", gpu),
    ];
    let mut sound = true;
    for (name, look) in checks {
        let check = Check {
            name,
            finding: look(),
        };
        sound &= !matches!(check.finding, Finding::Broken(..));
        println!("{check}");
    }
    println!(
        "\n{}",
        match sound {
            true => "Everything that is needed is there.",
            false => "Lines with !! have to be mended first.",
        }
    );
    sound
}

/// The first line a command prints, if it succeeds.
fn says(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output
        .status
        .success()
        .then(|| text.lines().next().unwrap_or_default().to_string())
}

fn toolchain() -> Finding {
    let needed = env!("CARGO_PKG_RUST_VERSION");
    let remedy = format!("Install Rust {needed} or later (https://rustup.rs)");
    let tools = match Tools::find() {
        Ok(tools) => tools,
        Err(e) => return Finding::Broken(e.to_string(), remedy),
    };
    let release = tools.version.lines().next().unwrap_or_default().to_string();
    let number = release.split(' ').nth(1).unwrap_or_default();
    match version(number) >= version(needed) {
        true => Finding::Good(release),
        false => Finding::Broken(format!("{release} is too old"), remedy),
    }
}

/// `(1, 95)` of `1.95.0-nightly`.
fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// Links the smallest shared library, as every cell does.
fn linker() -> Finding {
    let remedy = "Install a C compiler (Debian: apt install gcc; macOS: xcode-select --install)";
    let broken = |what: String| Finding::Broken(what, remedy.to_string());
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(e) => return broken(format!("no temporary folder: {e}")),
    };
    let source = folder.path().join("cell.rs");
    if let Err(e) = std::fs::write(
        &source,
        "#[unsafe(no_mangle)] pub extern \"C\" fn cell() {}",
    ) {
        return broken(format!("{}: {e}", source.display()));
    }
    let rustc = Tools::find().map_or(PathBuf::from("rustc"), |tools| tools.rustc);
    let linked = Command::new(rustc)
        .args([
            "--crate-type=cdylib",
            "--edition=2024",
            "-Cprefer-dynamic",
            "-o",
        ])
        .arg(folder.path().join("cell.so"))
        .arg(&source)
        .output();
    match linked {
        Ok(output) if output.status.success() => {
            Finding::Good("a shared library can be linked".to_string())
        }
        Ok(output) => {
            let report = String::from_utf8_lossy(&output.stderr);
            broken(report.lines().next().unwrap_or("it fails").to_string())
        }
        Err(e) => broken(e.to_string()),
    }
}

fn standard_sources() -> Finding {
    let source = says("rustc", &["--print", "sysroot"])
        .map(|root| PathBuf::from(root).join("lib/rustlib/src/rust/library/std"));
    match source {
        Some(folder) if folder.is_dir() => Finding::Good(folder.display().to_string()),
        _ => Finding::Optional(
            "not installed: completion and help know less about std".to_string(),
            "rustup component add rust-src".to_string(),
        ),
    }
}

fn cache() -> Finding {
    let folder = folders::cache_folder();
    let probe = std::fs::create_dir_all(&folder)
        .and_then(|()| tempfile::tempfile_in(&folder))
        .and_then(|file| file.set_len(1 << 20));
    match probe {
        Ok(()) => Finding::Good(folder.display().to_string()),
        Err(e) => Finding::Broken(
            format!("{}: {e}", folder.display()),
            "Make it writable, or set REBIT_CACHE to another folder".to_string(),
        ),
    }
}

fn library() -> Finding {
    let folder = folders::library_folder();
    if !folder.join("Cargo.toml").is_file() {
        return Finding::Broken(
            format!("{} is not the library", folder.display()),
            "Set REBIT_LIBRARY to the `lib` folder of a rebit checkout".to_string(),
        );
    }
    if let Err(e) = Features::wanted() {
        return Finding::Broken(
            e.to_string(),
            format!("Mend or unset {FEATURES} or {LEVEL}"),
        );
    }
    match workshop::is_prepared() {
        true => Finding::Good(format!("compiled from {}", folder.display())),
        false => Finding::Optional(
            "not compiled yet: the first session takes a few minutes".to_string(),
            "rebit install compiles it now".to_string(),
        ),
    }
}

/// Kernelspecs of ours in the folders Jupyter looks into.
fn jupyter() -> Finding {
    let mut folders = install::data_folders();
    folders.extend(install::python_prefix().map(|prefix| prefix.join("share/jupyter")));
    let specs: Vec<_> = folders
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder.join("kernels")).ok())
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.path(), install::read_kernelspec(&entry.path())?)))
        .filter(|(_, spec)| install::is_ours(spec))
        .collect();
    let dead = specs.iter().find(|(_, spec)| {
        let program = spec.argv.first().map(PathBuf::from).unwrap_or_default();
        !program.is_file()
    });
    let installed = says("jupyter", &["--version"]).is_some();
    match (specs.first(), dead, installed) {
        (_, Some((folder, spec)), _) => Finding::Broken(
            format!(
                "{} starts {}, which is gone",
                folder.display(),
                spec.argv.first().map_or("nothing", String::as_str)
            ),
            "rebit install writes it anew".to_string(),
        ),
        (Some((folder, _)), None, true) => Finding::Good(folder.display().to_string()),
        (None, _, true) => Finding::Optional(
            "the kernel is not installed".to_string(),
            "rebit install".to_string(),
        ),
        (_, _, false) => Finding::Optional(
            "`jupyter` is not on the search path".to_string(),
            "pip install jupyterlab, then rebit install --sys-prefix; \
             rebit repl and rebit run work without it"
                .to_string(),
        ),
    }
}

fn npm() -> Finding {
    match says("npm", &["--version"]) {
        Some(version) => Finding::Good(version),
        None => Finding::Optional(
            "not found: CIFAR-10 cannot be fetched".to_string(),
            "Install npm, or set REBIT_DATA to a folder with data_batch_1.bin and the others"
                .to_string(),
        ),
    }
}

fn data() -> Finding {
    let folder =
        folders::set("REBIT_DATA").unwrap_or_else(|| folders::user_cache().join("rebit/data"));
    let here = [folder.clone(), folder.join("cifar-10-batches-bin")]
        .into_iter()
        .find(|folder| folder.join("data_batch_1.bin").is_file());
    match here {
        Some(folder) => Finding::Good(format!("CIFAR-10 in {}", folder.display())),
        None => Finding::Optional(
            format!("no CIFAR-10 in {}", folder.display()),
            "The first notebook fetches it (139 MB)".to_string(),
        ),
    }
}

fn gpu() -> Finding {
    let wanted = Features::wanted().is_ok_and(|f| f.names().iter().any(|name| name == "cuda"));
    match (says("nvidia-smi", &["-L"]), wanted) {
        (Some(name), true) => Finding::Good(name),
        (Some(name), false) => Finding::Optional(
            format!("{name}: not used, cells run on the CPU"),
            format!("Set {FEATURES}=cuda to run them there (it needs the CUDA toolkit's nvcc)"),
        ),
        (None, true) => Finding::Broken(
            format!("{FEATURES} asks for a GPU, and there is no NVIDIA driver"),
            format!("Unset {FEATURES}: cells run on the CPU then"),
        ),
        (None, false) => Finding::Optional(
            "no NVIDIA driver: everything runs on the CPU".to_string(),
            "Nothing to do, unless this machine has such a card".to_string(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(version("1.100.0") > version("1.95"));
        assert_eq!(version("1.95.0-nightly"), (1, 95));
        assert!(version("nonsense") < version("1.95"));
    }

    #[test]
    fn a_report_names_the_remedy_below_the_fault() {
        let check = Check {
            name: "linker",
            finding: Finding::Broken("cc not found".into(), "Install gcc".into()),
        };
        let lines: Vec<String> = check.to_string().lines().map(str::to_string).collect();
        assert_eq!(lines[0], "!! linker       cc not found");
        assert_eq!(lines[1].trim(), "Install gcc");
    }
}
