//! The recipe of a cell: the arguments with which cargo called rustc, once.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::features::LEVEL;
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
    /// How the crates of `:dep` lines are used.
    #[serde(default)]
    pub further: Further,
    /// `NAME=FILE` of crates that cells can name although their manifest does not.
    #[serde(default)]
    interface: Vec<String>,
    /// Settings by which rustc calls a linker without a C compiler before it; empty where that is not possible.
    #[serde(default)]
    linker: Vec<String>,
}

/// How cells use the crates of `:dep` lines.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Further {
    externs: Vec<String>,
    search: Vec<String>,
    /// The shared library that holds them: its crate and its file.
    pub bundle: Option<(String, PathBuf)>,
}

impl Further {
    /// Crates that are given like this (`--extern`) and found there (`-L`).
    pub fn new(externs: Vec<String>, search: Vec<String>) -> Further {
        Further {
            externs,
            search,
            bundle: None,
        }
    }

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.externs.is_empty() && self.bundle.is_none()
    }

    /// Adds the library that holds them all, and those below it.
    pub fn with_bundle(&mut self, name: &str, file: &Path) {
        let folder = file.parent().unwrap_or(Path::new(""));
        self.search.push(format!("dependency={}", folder.display()));
        self.bundle = Some((name.to_string(), file.to_path_buf()));
    }

    /// The arguments that give them to another call.
    pub fn arguments(&self) -> impl Iterator<Item = String> {
        let bundle = self.bundle.iter();
        let bundle = bundle.map(|(name, file)| format!("{name}={}", file.display()));
        let externs = self.externs.iter().cloned().chain(bundle);
        let externs = externs.flat_map(|value| ["--extern".to_string(), value]);
        let search = self.search.iter();
        externs.chain(search.flat_map(|value| ["-L".to_string(), value.clone()]))
    }
}

impl Recipe {
    /// The same for a session with further dependencies. All that says which crate a cell is stays as it was: the
    /// types of earlier cells are the types of later ones.
    pub fn with_further(&self, dependencies: &[String], further: Further) -> Recipe {
        Recipe {
            dependencies: dependencies.to_vec(),
            further,
            ..self.clone()
        }
    }

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
            further: Further::default(),
            interface: Vec::new(),
            linker: Vec::new(),
        }
    }

    /// The same, but rustc searches the folder `lean` of `master` alone.
    pub fn searching_only(self, lean: &Path, master: &Path) -> Recipe {
        let master = master.display().to_string();
        let in_lean = |given: &str| -> Option<String> {
            let (name, file) = given.split_once('=')?;
            let file = lean_file(lean, Path::new(&file.replace(MASTER, &master)))?;
            let file = file.display().to_string().replace(&master, MASTER);
            Some(format!("{name}={file}"))
        };
        let mut args = Vec::with_capacity(self.args.len());
        let mut given = self.args.iter();
        while let Some(arg) = given.next() {
            match arg.as_str() {
                "-L" => drop(given.next()),
                "--extern" => {
                    let file = given.next().and_then(|given| in_lean(given));
                    args.extend(file.into_iter().flat_map(|file| [arg.clone(), file]));
                }
                _ => args.push(arg.clone()),
            }
        }
        let lean = lean.display().to_string().replace(&master, MASTER);
        args.extend(["-L".to_string(), format!("dependency={lean}")]);
        let interface = self.interface.iter().filter_map(|given| in_lean(given));
        Recipe {
            interface: interface.collect(),
            args,
            ..self
        }
    }

    /// The folders in which rustc searches, of a build in `master`.
    pub fn searched(&self, master: &Path) -> Vec<PathBuf> {
        let folders = self.args.iter().zip(self.args.iter().skip(1));
        folders
            .filter(|(flag, _)| *flag == "-L")
            .filter_map(|(_, value)| value.strip_prefix("dependency="))
            .map(|folder| PathBuf::from(folder.replace(MASTER, &master.display().to_string())))
            .collect()
    }

    /// The same with a linker that rustc calls by itself.
    pub fn with_linker(self, settings: Vec<String>) -> Recipe {
        Recipe {
            linker: settings,
            ..self
        }
    }

    /// How a cell is linked. Crates of `:dep` lines may bring along what only a C compiler finds.
    fn linker(&self) -> &[String] {
        match self.further.is_empty() {
            true => &self.linker,
            false => &[],
        }
    }

    /// The setting that gives a cell's library this name.
    pub fn with_soname(&self, name: &str) -> String {
        match self.linker() {
            [] => format!("link-arg=-Wl,-soname,{name}"),
            _ => format!("link-arg=-soname={name}"),
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
        args.extend(self.further.arguments());
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
        // Nobody is shown a warning; to evcxr it is a reason not to say what failed.
        args.extend(["-A", "warnings"].map(str::to_string));
        if !check {
            let linker = self.linker().iter();
            args.extend(linker.flat_map(|setting| ["-C".to_string(), setting.clone()]));
        }
        args
    }
}

/// Where a file that a call names lies in a folder of what cells need; `None` when they need no such file.
fn lean_file(lean: &Path, file: &Path) -> Option<PathBuf> {
    match file.file_name()?.to_str()? {
        name @ "librebit.so" => Some(lean.join(name)),
        "librebit.rlib" => None,
        _ => Some(lean.join(format!("{}.rmeta", file.file_stem()?.to_str()?))),
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

/// Cells use what the library has compiled of generic code, its own and that of others, instead of compiling it
/// again: the library must export it, which at its level of optimisation rustc does not do by itself.
const SHARED: &str = "-Zshare-generics=yes";

/// Lets a call for the library export its generic code, where rustc knows how.
fn share_generics(rustc: &str, command: &mut Command) {
    let asked = |command: &mut Command| {
        // The option is not stable.
        command.arg(SHARED).env("RUSTC_BOOTSTRAP", "1");
    };
    let mut question = Command::new(rustc);
    asked(&mut question);
    let knows = question
        .args(["--print", "sysroot"])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|answer| answer.status.success());
    if knows {
        asked(command);
    }
}

/// Plays rustc for cargo: notes how it is called for the cell crate, lets the library share its generic code, and
/// otherwise just lets it.
pub fn wrap_rustc() -> i32 {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((rustc, args)) = args.split_first() else {
        return 1;
    };
    let is_for = |name: &str| {
        args.windows(2)
            .any(|pair| pair[0] == "--crate-name" && pair[1] == name)
    };
    if is_for("ctx")
        && let Some(path) = std::env::var_os(CAPTURE)
    {
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
    let mut command = Command::new(rustc);
    command.args(args).env_remove(CAPTURE);
    if is_for("rebit") {
        // More units than cores only make rustc do some of its work again.
        let cores = std::thread::available_parallelism().map_or(16, |cores| cores.get());
        command.args(["-C", &format!("codegen-units={}", cores.clamp(2, 16))]);
        if let Ok(level) = std::env::var(LEVEL) {
            command.args(["-C", &format!("opt-level={level}")]);
        }
        share_generics(rustc, &mut command);
    }
    let error = command.exec();
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
                "-A",
                "warnings",
            ]
        );
    }

    #[test]
    fn a_cell_at_level_nought_is_one_unit() {
        let args = recipe().arguments(Path::new("/n"), Path::new("/s/deps"), "0", true);
        assert!(args.contains(&"--emit=metadata".to_string()));
        assert_eq!(
            args[args.len() - 6..args.len() - 2],
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
    fn a_lean_recipe_searches_one_folder_and_calls_its_linker() {
        let captured = recipe().with_interface(
            &["dfdx=/m/deps/libdfdx-1.rlib".to_string()],
            Path::new("/m"),
        );
        let mut given = captured.clone();
        given
            .args
            .extend(["-L", "dependency=@MASTER@/deps"].map(str::to_string));
        assert_eq!(given.searched(Path::new("/n")), [Path::new("/n/deps")]);
        let lean = given
            .searching_only(Path::new("/m/lean"), Path::new("/m"))
            .with_linker(vec!["linker=rust-lld".to_string()]);
        let args = lean
            .arguments(Path::new("/n"), Path::new("/s"), "0", false)
            .join(" ");
        for part in [
            "-L dependency=/n/lean",
            "--extern rebit=/n/lean/librebit.so",
            "--extern dfdx=/n/lean/libdfdx-1.rmeta",
            "-C linker=rust-lld",
        ] {
            assert!(args.contains(part), "{part}: {args}");
        }
        assert!(!args.contains("/n/deps"), "{args}");
        assert_eq!(lean.with_soname("a.so"), "link-arg=-soname=a.so");
        // What is only checked is not linked; further crates may need what a C compiler knows.
        let check = lean.arguments(Path::new("/n"), Path::new("/s"), "0", true);
        assert!(!check.contains(&"linker=rust-lld".to_string()));
        let further = Further::new(vec!["lz4=/f/liblz4.rlib".to_string()], Vec::new());
        let with_more = lean.with_further(&[], further);
        let args = with_more.arguments(Path::new("/n"), Path::new("/s"), "0", false);
        assert!(!args.contains(&"linker=rust-lld".to_string()));
        assert_eq!(with_more.with_soname("a.so"), "link-arg=-Wl,-soname,a.so");
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
