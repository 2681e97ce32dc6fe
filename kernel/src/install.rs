//! `rebit install` and `rebit uninstall`: the folder by which Jupyter knows the kernel.

use std::collections::HashMap;
use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use indicatif::{ProgressBar, ProgressStyle};
use jupyter_protocol::JupyterKernelspec;

use crate::error::{Error, Result};
use crate::folders::{self, set};
use crate::workshop;

const LOGOS: [(&str, &[u8]); 3] = [
    ("logo-svg.svg", include_bytes!("../assets/logo-svg.svg")),
    ("logo-32x32.png", include_bytes!("../assets/logo-32x32.png")),
    ("logo-64x64.png", include_bytes!("../assets/logo-64x64.png")),
];

/// Settings that decide where a kernel finds its things; kept in the kernelspec when set.
const KEPT: [&str; 5] = [
    "REBIT_CACHE",
    "REBIT_LIBRARY",
    "REBIT_FEATURES",
    "REBIT_DATA",
    "REBIT_HISTORY",
];

/// The command line of `rebit install`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Install {
    #[command(flatten)]
    place: Place,
    /// Replace a kernelspec of this name that is another program's.
    #[arg(long)]
    force: bool,
}

/// Where the kernelspec goes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Place {
    /// Into the user's Jupyter folder (the default).
    #[arg(long)]
    user: bool,
    /// Into the active Python environment (`$VIRTUAL_ENV`, `$CONDA_PREFIX`, else python3's prefix).
    #[arg(long, conflicts_with = "user")]
    sys_prefix: bool,
    /// Into PREFIX/share/jupyter/kernels.
    #[arg(long, value_name = "PREFIX", conflicts_with_all = ["user", "sys_prefix"])]
    prefix: Option<PathBuf>,
    /// The kernel's name: lower-case letters, digits, `.`, `_` and `-`.
    #[arg(long, default_value = "rebit")]
    name: String,
}

impl Place {
    /// Into `prefix`, under `name`.
    pub fn in_prefix(prefix: impl Into<PathBuf>, name: &str) -> Place {
        Place {
            prefix: Some(prefix.into()),
            name: name.to_string(),
            ..Place::default()
        }
    }

    /// The kernelspec's folder.
    ///
    /// # Errors
    /// A name Jupyter does not accept; no home folder; no Python.
    pub fn folder(&self) -> Result<PathBuf> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        if self.name.is_empty() || !self.name.chars().all(allowed) {
            return Err(Error::Tool {
                what: format!("`{}` cannot be a kernel's name", self.name),
                remedy: "Use lower-case letters, digits, `.`, `_` and `-`".to_string(),
            });
        }
        let data = match (&self.prefix, self.sys_prefix) {
            (Some(prefix), _) => prefix.join("share/jupyter"),
            (None, true) => python_prefix()?.join("share/jupyter"),
            (None, false) => user_data()?,
        };
        Ok(data.join("kernels").join(&self.name))
    }
}

/// The user's Jupyter data folder.
///
/// # Errors
/// No home folder is known.
pub fn user_data() -> Result<PathBuf> {
    if let Some(folder) = set("JUPYTER_DATA_DIR") {
        return Ok(folder);
    }
    let folder = match cfg!(target_os = "macos") {
        true => dirs::home_dir().map(|home| home.join("Library/Jupyter")),
        false => dirs::data_dir().map(|data| data.join("jupyter")),
    };
    folder.ok_or_else(|| Error::Tool {
        what: "no home folder is known".to_string(),
        remedy: "Set HOME, or pass --prefix".to_string(),
    })
}

/// Where Jupyter looks for kernelspecs, beside the Python environment.
pub fn data_folders() -> Vec<PathBuf> {
    let path = std::env::var_os("JUPYTER_PATH").unwrap_or_default();
    let named = std::env::split_paths(&path).filter(|folder| !folder.as_os_str().is_empty());
    let system = ["/usr/local/share/jupyter", "/usr/share/jupyter"].map(PathBuf::from);
    named.chain(user_data().ok()).chain(system).collect()
}

/// The prefix of the active Python environment.
///
/// # Errors
/// No environment is active and no `python3` runs.
pub fn python_prefix() -> Result<PathBuf> {
    if let Some(prefix) = set("VIRTUAL_ENV").or_else(|| set("CONDA_PREFIX")) {
        return Ok(prefix);
    }
    let asked = Command::new("python3")
        .args(["-c", "import sys; print(sys.prefix)"])
        .output();
    match asked {
        Ok(output) if output.status.success() => Ok(PathBuf::from(
            String::from_utf8_lossy(&output.stdout).trim(),
        )),
        _ => Err(Error::Tool {
            what: "no Python environment is active and python3 does not run".to_string(),
            remedy: "Activate the environment that Jupyter is in, or pass --prefix".to_string(),
        }),
    }
}

/// Writes the kernelspec, compiles the library for sessions and says what to do next.
///
/// # Errors
/// An unusable place, a folder that cannot be written, a library that cannot be compiled.
pub fn install(options: &Install) -> Result<()> {
    let place = &options.place;
    let folder = write_kernelspec(place, options.force)?;
    println!("kernelspec: {}", folder.display());
    let library = prepare_visibly()?;
    println!("library:    {}", library.master.display());
    println!(
        "\nReady. Start `jupyter lab` and choose the kernel \"{}\", or try it in a terminal:\n    \
         rebit repl\n    jupyter console --kernel {}",
        display_name(&place.name),
        place.name,
    );
    Ok(())
}

/// Writes the kernelspec; an older one of ours of this name is replaced in one step, another program's by `force` only.
///
/// # Errors
/// An unusable place, a folder that cannot be written, or that is another program's.
pub fn write_kernelspec(place: &Place, force: bool) -> Result<PathBuf> {
    let folder = place.folder()?;
    if folder.exists() && !force && !read_kernelspec(&folder).is_some_and(|spec| is_ours(&spec)) {
        return Err(Error::Tool {
            what: format!("{} is there and not one of ours", folder.display()),
            remedy: "Choose another --name, or replace it with --force".to_string(),
        });
    }
    let parent = folder.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
    let new = tempfile::Builder::new()
        .prefix(".rebit-")
        .tempdir_in(parent)
        .map_err(|e| Error::io(parent, e))?;
    let write = |name: &str, bytes: &[u8]| {
        let file = new.path().join(name);
        fs::write(&file, bytes).map_err(|e| Error::io(&file, e))
    };
    let program = std::env::current_exe().map_err(|e| Error::io("this program", e))?;
    let spec = kernelspec(&program, &place.name);
    let json = serde_json::to_vec_pretty(&spec)
        .map_err(|e| Error::Session(format!("the kernelspec cannot be written: {e}")))?;
    write("kernel.json", &json)?;
    for (name, bytes) in LOGOS {
        write(name, bytes)?;
    }
    readable_by_all(new.path())?;
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    }
    let new = new.keep();
    fs::rename(&new, &folder).map_err(|e| Error::io(&folder, e))?;
    Ok(folder)
}

/// Temporary folders are private; a kernelspec in a shared prefix must not be.
fn readable_by_all(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(|e| Error::io(folder, e))
}

fn display_name(name: &str) -> String {
    match name {
        "rebit" => "Rust (rebit)".to_string(),
        other => format!("Rust (rebit, {other})"),
    }
}

fn kernelspec(program: &Path, name: &str) -> JupyterKernelspec {
    let env: HashMap<String, String> = KEPT
        .iter()
        .filter_map(|key| Some((key.to_string(), std::env::var(key).ok()?)))
        .collect();
    JupyterKernelspec {
        argv: vec![
            program.display().to_string(),
            "kernel".to_string(),
            "{connection_file}".to_string(),
        ],
        display_name: display_name(name),
        language: "rust".to_string(),
        metadata: Some(HashMap::from([("debugger".to_string(), false.into())])),
        interrupt_mode: Some("message".to_string()),
        env: Some(env),
    }
}

/// The compiled library; while it is compiled a bar (or, without a terminal, a line for every tenth
/// crate) shows how far it is.
///
/// # Errors
/// As [`workshop::prepare`].
pub fn prepare_visibly() -> Result<workshop::Prepared> {
    let terminal = std::io::stderr().is_terminal();
    let mut bar: Option<ProgressBar> = None;
    let prepared = workshop::prepare(&mut |step| {
        if terminal {
            let bar = bar.get_or_insert_with(|| {
                let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} {msg}");
                ProgressBar::new(step.total as u64)
                    .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                    .with_prefix("compiling the library")
            });
            bar.set_length(step.total as u64);
            bar.set_position(step.done as u64);
            bar.set_message(step.name);
        } else if step.done % 10 == 1 {
            eprintln!(
                "compiling the library: {} of {} ({})",
                step.done, step.total, step.name
            );
        }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    prepared
}

/// Removes the kernelspec; the compiled library stays for the other front ends.
///
/// # Errors
/// No such kernelspec, or one that is not ours.
pub fn uninstall(place: &Place) -> Result<()> {
    let folder = place.folder()?;
    let missing = |what: String| Error::Tool {
        what,
        remedy: "`jupyter kernelspec list` shows what is installed where".to_string(),
    };
    let spec = read_kernelspec(&folder)
        .ok_or_else(|| missing(format!("there is no kernelspec in {}", folder.display())))?;
    if !is_ours(&spec) {
        return Err(missing(format!(
            "the kernelspec in {} is not one of ours",
            folder.display()
        )));
    }
    fs::remove_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    println!("removed {}", folder.display());
    println!(
        "the compiled library stays in {}",
        folders::cache_folder().display()
    );
    Ok(())
}

/// Whether a kernelspec was written by [`write_kernelspec`].
pub fn is_ours(spec: &JupyterKernelspec) -> bool {
    spec.argv.get(1).map(String::as_str) == Some("kernel")
        && spec.language == "rust"
        && spec.display_name.starts_with("Rust (rebit")
}

/// The kernelspec in a folder, if there is one.
pub fn read_kernelspec(folder: &Path) -> Option<JupyterKernelspec> {
    serde_json::from_slice(&fs::read(folder.join("kernel.json")).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernelspec_is_written_replaced_and_removed() {
        let prefix = tempfile::tempdir().unwrap();
        let place = Place::in_prefix(prefix.path(), "rebit-test");
        for _ in 0..2 {
            let folder = write_kernelspec(&place, false).unwrap();
            assert_eq!(
                folder,
                prefix.path().join("share/jupyter/kernels/rebit-test")
            );
            let spec = read_kernelspec(&folder).unwrap();
            assert_eq!(spec.argv[1..], ["kernel", "{connection_file}"]);
            assert_eq!(spec.interrupt_mode.as_deref(), Some("message"));
            assert_eq!(spec.language, "rust");
            for (logo, _) in LOGOS {
                assert!(folder.join(logo).is_file());
            }
            let siblings = fs::read_dir(folder.parent().unwrap()).unwrap().count();
            assert_eq!(siblings, 1, "nothing half-written stays behind");
        }
        uninstall(&place).unwrap();
        assert!(!place.folder().unwrap().exists());
        assert!(uninstall(&place).is_err());
    }

    #[test]
    fn foreign_kernelspecs_and_strange_names_are_refused() {
        let prefix = tempfile::tempdir().unwrap();
        let place = Place::in_prefix(prefix.path(), "python3");
        let folder = place.folder().unwrap();
        fs::create_dir_all(&folder).unwrap();
        let foreign = r#"{"argv": ["python"], "display_name": "P", "language": "python"}"#;
        fs::write(folder.join("kernel.json"), foreign).unwrap();
        assert!(uninstall(&place).is_err());
        assert!(write_kernelspec(&place, false).is_err());
        assert_eq!(
            fs::read_to_string(folder.join("kernel.json")).unwrap(),
            foreign
        );
        write_kernelspec(&place, true).unwrap();
        assert!(is_ours(&read_kernelspec(&folder).unwrap()));
        for name in ["", "../up", "Re bit"] {
            assert!(
                Place::in_prefix("/nowhere", name).folder().is_err(),
                "{name}"
            );
        }
    }
}
