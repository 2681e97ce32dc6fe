//! Compiles the emulator and every kernel of the library as C++.

use std::fs;
use std::path::{Path, PathBuf};

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
        .include(ops.join("cuda"))
        .file(unit)
        // Kernels are only found by name: nothing refers to their objects.
        .cargo_metadata(false);
    for name in ["scheduler.cpp", "memory.cpp", "driver.cpp", "libraries.cpp"] {
        build.file(here.join(name));
    }
    build.compile("cuda_emulator");
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static:+whole-archive,-bundle=cuda_emulator");
    println!("cargo:rustc-link-lib=stdc++");
}
