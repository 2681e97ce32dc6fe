//! rustc as cargo calls it for the crates of `:dep` lines.
//!
//! A crate of which the finished library has a copy with the wanted features, standing on copies of the library's all
//! the way down, is not compiled: small files stand in for its artefacts, and every later call gets the artefacts behind
//! them. All other crates are compiled as cargo says, under the names that cargo gives them, so a second copy with
//! further features never meets the library's by mistake.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::FURTHER;
use super::call::Call;
use super::further::{self, BEGAN, FOLDER, NAME};
use crate::files;
use crate::workshop::crates::{LibraryCrates, behind, stand_in};
use crate::workshop::session_files::Settings;

/// What a call compiles into, when that is a library for cells.
fn library_output(call: &Call) -> Option<Output> {
    let is_library = call
        .values("--crate-type")
        .all(|kind| ["lib", "rlib", "dylib"].contains(&kind));
    let folder = PathBuf::from(call.value("--out-dir")?);
    let wanted = is_library
        && call.value("--target").is_some()
        && folder.ends_with("deps")
        && call.value("--emit")?.contains("link");
    wanted.then_some(Output {
        folder,
        name: call.value("--crate-name")?.to_string(),
        suffix: call.setting("extra-filename").unwrap_or("").to_string(),
        kinds: call.values("--crate-type").map(str::to_string).collect(),
    })
}

/// The same call on the library's artefacts where its own crates are stand-ins for them.
fn on_library(call: &Call, library: &LibraryCrates, master: &Path) -> Call {
    let mut args: Vec<String> = Vec::with_capacity(call.args().len() + 2);
    for (at, arg) in call.args().iter().enumerate() {
        let is_extern = at > 0 && call.args()[at - 1] == "--extern";
        let real = arg.split_once('=').filter(|_| is_extern);
        let real = real.and_then(|(name, file)| {
            let real = of_library(Path::new(file), library, master)?;
            Some(format!("{name}={}", real.display()))
        });
        args.push(real.unwrap_or_else(|| arg.clone()));
    }
    if let Some(folder) = library.folder(master) {
        args.extend(["-L".into(), format!("dependency={}", folder.display())]);
    }
    Call::new(&args)
}

/// Where a library goes.
struct Output {
    folder: PathBuf,
    name: String,
    suffix: String,
    kinds: Vec<String>,
}

/// The library's artefact that a file is or stands in for.
fn of_library(file: &Path, library: &LibraryCrates, master: &Path) -> Option<PathBuf> {
    behind(file).or_else(|| library.named(master, file.file_name()?.to_str()?))
}

/// Plays rustc for cargo; returns an exit status.
pub fn wrap() -> i32 {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((rustc, args)) = args.split_first() else {
        return 1;
    };
    let session = PathBuf::from(std::env::var_os(FURTHER).unwrap_or_default());
    let call = Call::new(args);
    let settings = Settings::read(&session);
    let library = settings
        .as_ref()
        .and_then(|settings| LibraryCrates::read(&settings.master).ok());
    let (Some(settings), Some(library)) = (settings, library) else {
        eprintln!("error: {}: no session here", session.display());
        return 1;
    };
    // Build scripts ask rustc small questions through this wrapper too: those are not ours.
    let ours = call
        .value("--out-dir")
        .is_some_and(|folder| Path::new(folder).starts_with(session.join(FOLDER)));
    if !ours || call.value("--crate-name").is_none() {
        return become_rustc(rustc, &call);
    }
    // Resolution is behind us: what fails from here on is not for want of a network.
    let _ = fs::write(session.join(FOLDER).join(BEGAN), b"");
    if call.value("--crate-name") == Some(NAME) {
        let call = on_library(&call, &library, &settings.master);
        return further::bundle(rustc, &call, &session, &settings, &library);
    }
    match stand_in_for(&call, &library, &settings.master) {
        Ok(true) => 0,
        Ok(false) => become_rustc(rustc, &on_library(&call, &library, &settings.master)),
        Err(error) => {
            eprintln!("error: {error}");
            1
        }
    }
}

/// Writes the stand-ins for a crate that the library has; false when it has none.
fn stand_in_for(call: &Call, library: &LibraryCrates, master: &Path) -> crate::error::Result<bool> {
    let Some(output) = library_output(call) else {
        return Ok(false);
    };
    let source = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let Some(found) = library.find(Path::new(&source), &output.name, &call.features()) else {
        return Ok(false);
    };
    let is_macro = |file: &str| file.ends_with(".so") && !file.contains("librebit.so");
    let on_library = call.externs().all(|(_, file)| {
        file.is_none_or(|file| {
            is_macro(file) || of_library(Path::new(file), library, master).is_some()
        })
    });
    if !on_library {
        return Ok(false);
    }
    let Output {
        folder,
        name,
        suffix,
        kinds,
    } = output;
    let mut endings = vec!["rmeta"];
    for kind in &kinds {
        endings.push(if kind == "dylib" { "so" } else { "rlib" });
    }
    for ending in endings {
        let Some(text) = stand_in(master, found, ending) else {
            return Ok(false);
        };
        let file = folder.join(format!("lib{name}{suffix}.{ending}"));
        files::write(&file, text.as_bytes())?;
    }
    let told = folder.join(format!("{name}{suffix}.d"));
    let rule = format!(
        "{}:\n",
        folder.join(format!("lib{name}{suffix}.rlib")).display()
    );
    files::write(&told, rule.as_bytes())?;
    Ok(true)
}

fn become_rustc(rustc: &str, call: &Call) -> i32 {
    let error = Command::new(rustc).args(call.args()).exec();
    eprintln!("{rustc}: {error}");
    1
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn call(line: &str) -> Call {
        Call::new(&line.split(' ').map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn a_call_is_read() {
        let call = call(
            "--crate-name either --edition=2018 src/lib.rs --crate-type lib \
             --emit=dep-info,metadata,link -C opt-level=3 --cfg feature=\"std\" \
             -C extra-filename=-1 --out-dir /s/target/x/debug/deps --target x \
             --extern noprelude:core=/a/libcore.rmeta --extern alloc",
        );
        assert_eq!(call.features(), HashSet::from(["std".to_string()]));
        assert_eq!(call.setting("extra-filename"), Some("-1"));
        assert_eq!(call.value("--edition"), Some("2018"));
        let externs: Vec<_> = call.externs().collect();
        assert_eq!(
            externs,
            [("core", Some("/a/libcore.rmeta")), ("alloc", None)]
        );
        let output = library_output(&call).unwrap();
        assert_eq!(
            (output.name.as_str(), output.suffix.as_str()),
            ("either", "-1")
        );
    }

    #[test]
    fn macros_and_questions_of_build_scripts_are_compiled() {
        for line in [
            "--crate-name m --crate-type proc-macro --emit=dep-info,link --out-dir /t/debug/deps",
            "--crate-name m --crate-type lib --emit=dep-info,link --out-dir /t/debug/deps",
            "--crate-name m --crate-type lib --target x --emit=metadata --out-dir /t/debug/deps",
            "--crate-name m --crate-type lib --target x --emit=link --out-dir /t/build/m-1/out",
        ] {
            assert!(library_output(&call(line)).is_none(), "{line}");
        }
    }
}
