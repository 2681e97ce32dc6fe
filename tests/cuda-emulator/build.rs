//! Compiles the emulator and every kernel of the library as C++, and dfdx's with the feature `dfdx`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `(name, __launch_bounds__)` of the kernels of a source: lines `KERNEL(threads) name(...`.
fn kernels(source: &str) -> Vec<(String, String)> {
    let word = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    source
        .split("\nKERNEL(")
        .skip(1)
        .filter_map(|rest| {
            let (threads, rest) = rest.split_once(')')?;
            Some((word(rest.trim_start()), threads.to_string()))
        })
        .collect()
}

/// All `.cu` files below a folder, in order.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "cu") {
            found.push(path);
        }
    }
}

/// Where cargo keeps the sources of the dfdx that the library uses.
fn dfdx_sources(here: &Path) -> PathBuf {
    let output = Command::new(std::env::var_os("CARGO").unwrap())
        .args(["metadata", "--format-version=1", "--locked"])
        .arg("--filter-platform")
        .arg(std::env::var("TARGET").unwrap())
        .current_dir(here)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let manifest = text
        .split("\"manifest_path\":\"")
        .filter_map(|rest| rest.split('"').next())
        .map(Path::new)
        .find(|path| path.parent().is_some_and(is_dfdx))
        .expect("the library depends on dfdx");
    manifest.parent().unwrap().join("src")
}

fn is_dfdx(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name == "dfdx" || name.starts_with("dfdx-0")
}

/// Operations whose kernels stand in dfdx's Rust sources, for NVRTC.
const COMPILED_AT_RUN_TIME: [&str; 4] = ["concat", "concat_along", "reshape_to", "stack"];

/// The kernels of dfdx, each source a unit of its own, in a library of their own.
fn compile_dfdx(here: &Path, out: &Path) {
    println!("cargo:rerun-if-changed={}", here.join("dfdx").display());
    let mut files = Vec::new();
    let from = dfdx_sources(here);
    sources(&from, &mut files);
    let mut alone = compiler(here);
    alone
        .include(here.join("dfdx"))
        .include(from.join("tensor_ops/utilities"));
    let mut build = alone.clone();
    let mut units = Vec::new();
    for path in files {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        units.push((name, format!("#include \"{}\"\n", path.display())));
    }
    for op in COMPILED_AT_RUN_TIME {
        let path = from.join(format!("tensor_ops/{op}/cuda_kernel.rs"));
        let text = fs::read_to_string(path).unwrap();
        for (k, rest) in text.split("KERNEL: &str = \"").skip(1).enumerate() {
            let (kernel, _) = rest.split_once("\n\";").unwrap();
            // Their type is put in when they are compiled; libraries.cpp lets only f32 through.
            let kernel = kernel.replace("\\\"", "\"");
            let kernel = kernel.replace("$Ty", "float").replace("$T", "float");
            units.push((format!("{op}_{k}"), kernel + "\n"));
        }
    }
    for (name, source) in units {
        let unit = out.join(format!("dfdx_{name}.cpp"));
        let text = format!("#include \"unit.h\"\n{source}");
        fs::write(&unit, &text).unwrap();
        // dfdx writes kernels by macros, so they are read off what the preprocessor makes of them.
        let expanded = String::from_utf8(alone.clone().file(&unit).expand()).unwrap();
        let found = expanded.split("extern \"C\" __attribute__((weak)) void ");
        let found = found.skip(1).filter_map(|rest| rest.split('(').next());
        let full = found.map(str::trim).filter(|name| !name.contains("f16"));
        let table = full.map(|name| format!("EMULATOR_FOREIGN_KERNEL({name})\n"));
        fs::write(&unit, text + &table.collect::<String>()).unwrap();
        build.file(unit);
    }
    build.compile("cuda_emulator_dfdx");
    println!("cargo:rustc-link-lib=static:+whole-archive,-bundle=cuda_emulator_dfdx");
}

fn compiler(here: &Path) -> cc::Build {
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .opt_level(1)
        .flag("-ffp-contract=off")
        // Fibres change stacks under the compiler's feet.
        .flag("-fno-stack-protector")
        .warnings(false)
        .include(here.join("include"))
        // Kernels are only found by name: nothing refers to their objects.
        .cargo_metadata(false);
    build
}

fn main() {
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap());
    let ops = here.join("../../lib/src/ops").canonicalize().unwrap();
    println!("cargo:rerun-if-changed={}", ops.display());
    for name in [
        "include",
        "scheduler.cpp",
        "memory.cpp",
        "driver.cpp",
        "libraries.cpp",
    ] {
        println!("cargo:rerun-if-changed={}", here.join(name).display());
    }

    let mut files = Vec::new();
    sources(&ops, &mut files);
    let mut text = String::from("#include \"cuda_emulator.h\"\n");
    for path in &files {
        text += &format!("#include \"{}\"\n", path.display());
        for (name, threads) in kernels(&fs::read_to_string(path).unwrap()) {
            text += &format!("EMULATOR_KERNEL({name}, {threads})\n");
        }
    }
    let unit = out.join("kernels.cpp");
    fs::write(&unit, text).unwrap();

    let mut build = compiler(&here);
    build.include(ops.join("cuda")).file(unit);
    for name in ["scheduler.cpp", "memory.cpp", "driver.cpp", "libraries.cpp"] {
        build.file(here.join(name));
    }
    build.compile("cuda_emulator");
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static:+whole-archive,-bundle=cuda_emulator");
    if std::env::var_os("CARGO_FEATURE_DFDX").is_some() {
        compile_dfdx(&here, &out);
    }
    println!("cargo:rustc-link-lib=stdc++");
}
