//! The Rust toolchain in use.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use crate::error::{Error, Result};

/// The Rust toolchain in use.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Tools {
    /// The real cargo, behind rustup's proxy.
    pub cargo: PathBuf,
    /// The real rustc.
    pub rustc: PathBuf,
    /// What `rustc -vV` says.
    pub version: String,
}

impl Tools {
    /// Finds cargo and rustc as rustup or the search path give them.
    ///
    /// # Errors
    /// [`Error::Tool`] when one is missing or does not run.
    pub fn find() -> Result<Tools> {
        let _environment = environment();
        let cargo = find_tool("cargo")?;
        let rustc = find_tool("rustc")?;
        let version = output_of(Command::new(&rustc).arg("-vV")).ok_or_else(|| Error::Tool {
            what: format!("{} does not run", rustc.display()),
            remedy: "Reinstall the Rust toolchain (https://rustup.rs)".to_string(),
        })?;
        Ok(Tools {
            cargo,
            rustc,
            version,
        })
    }

    /// Whether the sources of the standard library are installed (rustup's component rust-src).
    pub fn has_sources(&self) -> bool {
        self.rustc
            .ancestors()
            .nth(2)
            .is_some_and(|sysroot| sysroot.join("lib/rustlib/src/rust/library/core").is_dir())
    }

    /// The machine that cells are compiled for.
    pub fn host(&self) -> &str {
        self.version
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .unwrap_or("x86_64-unknown-linux-gnu")
    }

    /// The folder of the shared standard library.
    pub fn library_path(&self) -> PathBuf {
        output_of(Command::new(&self.rustc).args(["--print", "target-libdir"]))
            .map(|text| PathBuf::from(text.trim()))
            .unwrap_or_default()
    }
}

/// Held while the process environment is that of a session about to start, and while it must not be.
pub fn environment() -> std::sync::MutexGuard<'static, ()> {
    static ENVIRONMENT: Mutex<()> = Mutex::new(());
    ENVIRONMENT.lock().unwrap_or_else(|e| e.into_inner())
}

fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(std::process::Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn find_tool(name: &str) -> Result<PathBuf> {
    if let Some(path) = output_of(Command::new("rustup").args(["which", name])) {
        return Ok(PathBuf::from(path.trim()));
    }
    std::env::var_os("PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| Error::Tool {
            what: format!("`{name}` was not found"),
            remedy:
                "Install a Rust toolchain (https://rustup.rs) and make sure it is on the search path"
                    .to_string(),
        })
}
