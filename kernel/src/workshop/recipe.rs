//! The recipe of a cell: the arguments with which cargo called rustc, once.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::error::Result;
use crate::files;

/// Environment: where to write how cargo calls rustc for the cell crate.
pub const CAPTURE: &str = "REBIT_CAPTURE";
/// Stands for the master folder in a recipe.
const MASTER: &str = "@MASTER@";

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
    /// The manifest's dependencies, in order.
    pub dependencies: Vec<String>,
    args: Vec<String>,
    /// What cargo tells the cell crate about itself.
    pub env: Vec<(String, String)>,
    /// `NAME=FILE` of crates that cells can name although their manifest does not.
    #[serde(default)]
    interface: Vec<String>,
}

impl Recipe {
    /// The same with crates that cells can name although their manifest does not; files below `master`.
    pub fn with_interface(self, interface: &[String], master: &Path) -> Recipe {
        let master = master.display().to_string();
        let interface = interface.iter().map(|i| i.replace(&master, MASTER));
        Recipe {
            interface: interface.collect(),
            ..self
        }
    }

    /// A recipe from a captured call; paths below `master` are kept relative to it.
    pub fn new(capture: Capture, dependencies: &str, master: &Path) -> Recipe {
        let master = master.display().to_string();
        let args = capture.args.iter().map(|a| a.replace(&master, MASTER));
        Recipe {
            dependencies: dependency_lines(dependencies),
            args: args.collect(),
            env: capture.env,
            interface: Vec::new(),
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
        files::write(path, &text)
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
    pub fn arguments(
        &self,
        master: &Path,
        out: &Path,
        opt_level: &str,
        check: bool,
    ) -> Vec<String> {
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
                    let ours = ["opt-level=", "codegen-units=", "incremental="];
                    if !ours.iter().any(|name| value.starts_with(name)) {
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
        for given in self.interface.iter().map(|i| i.replace(MASTER, &master)) {
            let name = given.split_inclusive('=').next().unwrap_or_default();
            // A crate of the user's has the name first.
            if !args.iter().any(|arg| arg.starts_with(name)) {
                args.extend(["--extern".to_string(), given]);
            }
        }
        let settings: &[&str] = match opt_level {
            // A cell is small: writing and linking sixteen objects takes longer than compiling one.
            "0" => &["opt-level=0", "codegen-units=1"],
            // What cells check does not depend on how well they are compiled.
            _ => &["debug-assertions=on", "overflow-checks=on"],
        };
        for setting in settings {
            args.extend(["-C", setting].map(str::to_string));
        }
        if opt_level != "0" {
            args.extend(["-C".to_string(), format!("opt-level={opt_level}")]);
        }
        args
    }
}

/// The lines of a `[dependencies]` table, in order.
pub fn dependency_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| line.trim().to_string())
        .filter(|line| !line.is_empty())
        .collect();
    lines.sort();
    lines
}

/// Notes how cargo calls rustc for the cell crate, then lets it.
pub fn wrap_rustc() -> i32 {
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
        if let Err(error) = files::write(Path::new(&path), &text) {
            eprintln!("{error}");
            return 1;
        }
    }
    let error = Command::new(rustc).args(args).env_remove(CAPTURE).exec();
    eprintln!("{rustc}: {error}");
    1
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
            "codegen-units=16",
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
                "--out-dir",
                "/s/deps",
                "--extern",
                "rebit=/n/base/target/deps/librebit.so",
                "-C",
                "rpath",
                "-C",
                "debug-assertions=on",
                "-C",
                "overflow-checks=on",
                "-C",
                "opt-level=2",
            ]
        );
    }

    #[test]
    fn a_cell_at_level_nought_is_one_unit() {
        let args = recipe().arguments(Path::new("/n"), Path::new("/s/deps"), "0", true);
        assert!(args.contains(&"--emit=metadata".to_string()));
        assert_eq!(
            args[args.len() - 4..],
            ["-C", "opt-level=0", "-C", "codegen-units=1"]
        );
    }

    #[test]
    fn crates_of_the_interface_are_given_unless_the_user_has_his_own() {
        let interface = [
            "dfdx=/m/libdfdx.rlib".to_string(),
            "rebit=/m/other.so".to_string(),
        ];
        let recipe = recipe().with_interface(&interface, Path::new("/m"));
        let args = recipe.arguments(Path::new("/n"), Path::new("/s/deps"), "0", false);
        let externs = args.windows(2).filter(|pair| pair[0] == "--extern");
        let externs: Vec<&str> = externs.map(|pair| pair[1].as_str()).collect();
        let rebit = "rebit=/n/base/target/deps/librebit.so";
        assert_eq!(externs, [rebit, "dfdx=/n/libdfdx.rlib"]);
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
}
