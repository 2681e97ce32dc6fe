//! `cargo build` and `cargo check` of a session: one call of rustc, or the real cargo for more dependencies.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cell::{self, SYMBOL, Shared, Surroundings};
use super::questions::read_manifest;
use super::timed::{become_rustc, pass_on, run_rustc};
use super::{failed, further};
use crate::files;
use crate::orphans;
use crate::workshop::hidden::Hider;
use crate::workshop::recipe::Recipe;
use crate::workshop::session_files::{
    FRESH, FULL_TYPES, GENERATED, NO_CHECK, PREFERRED, Settings, TOLD,
};

/// evcxr's own variable: where it expects the path of the compiled cell.
const SO_PATH: &str = "EVCXR_EXECUTION_SO_PATH";

/// Compiles the cell crate of a session, or only checks it; returns the exit status.
pub fn compile(session: &Path, settings: &Settings, args: &[String], check: bool) -> i32 {
    if check && session.join(NO_CHECK).exists() {
        return 0;
    }
    let (dependencies, opt_level) = read_manifest(session);
    let Some(of_library) = of_library(settings) else {
        eprintln!(
            "error: {}: the recipe cannot be read",
            settings.master.display()
        );
        return 1;
    };
    let recipe = recipe(session, &of_library, &dependencies).map_or_else(
        || further::build(session, settings, args, &dependencies, &of_library),
        Ok,
    );
    let recipe = match recipe {
        Ok(recipe) => recipe,
        Err(code) => return code,
    };
    let task = Task {
        session,
        settings,
        opt_level,
        check,
        recipe,
    };
    let run = match dependencies.contains(&settings.dependency) {
        true => task.run(),
        // The library is not loaded yet.
        false => task
            .rustc(&Shared::default())
            .map(|rustc| task.become_rustc(rustc)),
    };
    run.unwrap_or_else(failed)
}

fn of_library(settings: &Settings) -> Option<Recipe> {
    Recipe::read(&settings.master.join("recipe.json"))
}

/// The recipe of a session with these dependencies, where there is one already.
fn recipe(session: &Path, of_library: &Recipe, dependencies: &[String]) -> Option<Recipe> {
    [
        Recipe::read(&session.join("recipe.json")),
        Some(of_library.clone()),
    ]
    .into_iter()
    .flatten()
    // Before the library is loaded nothing is: any recipe will do.
    .find(|recipe| dependencies.is_empty() || recipe.dependencies == dependencies)
}

/// The library of the last cell once more, in `folder` and with its lines, and the one that the session has loaded.
///
/// # Errors
/// When the session's settings are gone, or it does not compile any more.
pub fn with_lines(session: &Path, folder: &Path) -> std::io::Result<(PathBuf, PathBuf)> {
    let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
    let settings = Settings::read(session).ok_or_else(missing)?;
    let (dependencies, opt_level) = read_manifest(session);
    let of_library = of_library(&settings).ok_or_else(missing)?;
    let recipe = recipe(session, &of_library, &dependencies).ok_or_else(missing)?;
    let task = Task {
        session,
        settings: &settings,
        opt_level,
        check: false,
        recipe,
    };
    let generated = fs::read_to_string(session.join(GENERATED))?;
    let cell = Shared {
        defines: Default::default(),
        ..cell::finished(&generated, &task.surroundings())
    };
    let loaded = task.last_library().ok_or_else(missing)?;
    let mut command = task.rustc_into(&cell, folder)?;
    // What is compiled is the source that the last run of rustc got.
    command
        .args(["-C", "debuginfo=line-tables-only", "-C", "strip=none"])
        .current_dir(session)
        .env_remove(SO_PATH);
    let output = orphans::let_die_with_us(&mut command)
        .stdin(std::process::Stdio::null())
        .output()?;
    match output.status.success() {
        true => Ok((folder.join("libctx.so"), loaded)),
        false => Err(std::io::Error::other("it does not compile")),
    }
}

/// Statics that cells of a session have defined, in its folder.
const STATICS: &str = "statics.json";

/// rustc's code for a name that means nothing.
const NOT_FOUND: &str = "E0425";

/// One cell to compile.
struct Task<'a> {
    session: &'a Path,
    settings: &'a Settings,
    opt_level: String,
    check: bool,
    recipe: Recipe,
}

impl Task<'_> {
    /// Makes evcxr's cell into ours and compiles it.
    fn run(&self) -> std::io::Result<i32> {
        let path = self.session.join("src/lib.rs");
        let generated = Hider::of(self.session).revealed(&fs::read_to_string(&path)?);
        fs::write(self.session.join(GENERATED), &generated)?;
        if !self.check
            && let Some(complaint) = cell::complaint(&generated)
        {
            eprintln!("{complaint}");
            return Ok(1);
        }
        if !self.check && self.session.join(TOLD).exists() && cell::is_for_message(&generated) {
            return Ok(1);
        }
        let mut surroundings = self.surroundings();
        let mut cell = cell::finished(&generated, &surroundings);
        if self.asks_types() {
            cell.cell = cell::without_bodies(&cell.cell, &surroundings.fresh);
        }
        fs::write(&path, &cell.cell)?;
        if !self.check && cell::keeps_old(&cell.cell) {
            // It may use an old value after all, and then there is nothing to keep.
            let output = self.run_rustc(&cell)?;
            let uses = says(&output, "put_back") || says(&output, NOT_FOUND);
            if output.status.success() || !uses {
                return self.done(&output, &cell);
            }
            surroundings.loses_old = true;
            cell = cell::finished(&generated, &surroundings);
            fs::write(&path, &cell.cell)?;
        }
        if cell.defines.is_empty() && cell.providers.is_empty() {
            return Ok(self.become_rustc(self.rustc(&cell)?));
        }
        let output = self.run_rustc(&cell)?;
        if output.status.success() || !(says(&output, "extern static") || says(&output, SYMBOL)) {
            return self.done(&output, &cell);
        }
        // A constant cannot look into another cell: such a static has a copy in each.
        surroundings.statics.clear();
        let cell = cell::finished(&generated, &surroundings);
        fs::write(&path, &cell.cell)?;
        let output = self.run_rustc(&cell)?;
        self.done(&output, &cell)
    }

    fn surroundings(&self) -> Surroundings {
        let bundle = self.recipe.further.bundle.as_ref();
        let read = |name: &str| fs::read(self.session.join(name)).unwrap_or_default();
        let fresh = read(FRESH);
        Surroundings {
            bundle: bundle.map(|(name, _)| name.clone()),
            loses_old: false,
            statics: serde_json::from_slice(&read(STATICS)).unwrap_or_default(),
            preferred: serde_json::from_slice(&read(PREFERRED)).unwrap_or_default(),
            fresh: String::from_utf8_lossy(&fresh)
                .lines()
                .map(str::to_string)
                .collect(),
        }
    }

    /// Says what rustc said; a cell that defines statics is noted.
    fn done(&self, output: &std::process::Output, cell: &Shared) -> std::io::Result<i32> {
        if output.status.success() && !self.check && !cell.defines.is_empty() {
            let mut statics = self.surroundings().statics;
            let library = provider(&statics, &self.out());
            // evcxr gives the cell itself another name.
            fs::hard_link(self.out().join("libctx.so"), &library)?;
            let name = library.display().to_string();
            statics.extend(
                cell.defines
                    .iter()
                    .map(|symbol| (symbol.clone(), name.clone())),
            );
            let text = serde_json::to_vec(&statics).expect("plain data");
            files::write(&self.session.join(STATICS), &text).map_err(std::io::Error::other)?;
        }
        Ok(pass_on(output))
    }

    fn out(&self) -> PathBuf {
        let host = self.settings.tools.host();
        self.session.join("target").join(host).join("debug/deps")
    }

    /// The library of the cell that was compiled last.
    fn last_library(&self) -> Option<PathBuf> {
        let cells = fs::read_dir(self.out()).ok()?.flatten();
        let numbered = cells.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let number = name.strip_prefix("libcode_")?.strip_suffix(".so")?;
            Some((number.parse::<u64>().ok()?, entry.path()))
        });
        numbered.max().map(|(_, path)| path)
    }

    fn rustc(&self, cell: &Shared) -> std::io::Result<Command> {
        self.rustc_into(cell, &self.out())
    }

    fn rustc_into(&self, cell: &Shared, out: &Path) -> std::io::Result<Command> {
        fs::create_dir_all(out)?;
        if let Some(path) = std::env::var_os(SO_PATH).filter(|_| !self.check) {
            let so = out.join("libctx.so");
            fs::write(path, so.as_os_str().as_encoded_bytes())?;
        }
        let Task {
            settings, recipe, ..
        } = self;
        let mut command = Command::new(&settings.tools.rustc);
        command
            .args(recipe.arguments(&settings.master, out, &self.opt_level, self.check))
            .envs(recipe.env.iter().map(|(name, value)| (name, value)));
        for provider in &cell.providers {
            command.args(["-C", &format!("link-arg={provider}")]);
        }
        if !cell.defines.is_empty() && !self.check {
            let library = provider(&self.surroundings().statics, out);
            let name = library.file_name().unwrap_or_default().display();
            command.args(["-C", &recipe.with_soname(&name.to_string())]);
        }
        if self.asks_types() {
            // A shortened type cannot be written into the cell; this option is not stable yet.
            command
                .args(["--verbose", "-Ztrim-diagnostic-paths=no"])
                .env("RUSTC_BOOTSTRAP", "1");
        }
        Ok(command)
    }

    /// Whether the cell is only checked, for the types that rustc then names.
    fn asks_types(&self) -> bool {
        self.check && self.session.join(FULL_TYPES).exists()
    }

    fn what(&self) -> &'static str {
        if self.check { "check" } else { "build" }
    }

    fn become_rustc(&self, command: Command) -> i32 {
        become_rustc(command, self.session, self.what())
    }

    fn run_rustc(&self, cell: &Shared) -> std::io::Result<std::process::Output> {
        run_rustc(self.rustc(cell)?, self.session, self.what())
    }
}

/// The library by which the next cell with statics is known.
fn provider(statics: &BTreeMap<String, String>, out: &Path) -> PathBuf {
    let used = |name: &PathBuf| statics.values().any(|known| Path::new(known) == name);
    (1..)
        .map(|number| out.join(format!("librebit_statics_{number}.so")))
        .find(|name| !used(name) && !name.exists())
        .expect("numbers do not end")
}

fn says(output: &std::process::Output, words: &str) -> bool {
    String::from_utf8_lossy(&output.stderr).contains(words)
        || String::from_utf8_lossy(&output.stdout).contains(words)
}
