//! The prebuilt library's cache: noticed when stale or half-written, rebuilt without starting over.
//!
//! Works on a copy of the cache made of hard links, so that nothing is compiled twice without need.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rebit_tests::rebit;

fn run(cache: &Path, notebook: &Path) -> Output {
    Command::new(rebit())
        .arg("run")
        .arg(notebook)
        .arg("--out")
        .arg(notebook.parent().unwrap().join("out"))
        .env("REBIT_CACHE", cache)
        // What is mended is compiled: soon, not well.
        .env("REBIT_LIBRARY_OPT", "0")
        .output()
        .unwrap()
}

/// The build of a cache that was used last.
fn master(cache: &Path) -> PathBuf {
    std::fs::read_dir(cache)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("ready").is_file())
        .max_by_key(|path| path.join("ready").metadata().unwrap().modified().unwrap())
        .expect("no finished build")
}

#[test]
fn a_damaged_cache_is_noticed_and_mended() {
    let folder = tempfile::tempdir().unwrap();
    let notebook = folder.path().join("a.ipynb");
    let cell = serde_json::json!({"cell_type": "code", "id": "c", "metadata": {}, "outputs": [],
        "execution_count": null, "source": "randn(2, 3, &mut rng(0)).shape()"});
    let text = serde_json::json!({"nbformat": 4, "nbformat_minor": 5, "metadata": {},
        "cells": [cell]});
    std::fs::write(&notebook, text.to_string()).unwrap();
    let real = match std::env::var_os("REBIT_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/rebit"),
    };
    // Makes sure that there is something to copy.
    assert!(run(&real, &notebook).status.success());
    let cache = folder.path().join("cache");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(master(&real))
        .arg(&cache)
        .status()
        .unwrap();
    assert!(copied.success());
    let name = master(&real).file_name().unwrap().to_owned();
    std::fs::create_dir(folder.path().join("cache2")).unwrap();
    std::fs::rename(&cache, folder.path().join("cache2").join(&name)).unwrap();
    let cache = folder.path().join("cache2");
    let place = cache.join(&name);

    // The copy serves as it is.
    let good = run(&cache, &notebook);
    assert!(good.status.success());
    assert!(!String::from_utf8_lossy(&good.stderr).contains("preparing"));

    // A build that lost its library, one that was not finished, one whose recipe is cut off.
    let deps = std::fs::read_dir(place.join("base/target"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path().join("debug/deps/librebit.so"))
        .find(|path| path.is_file())
        .expect("the library");
    std::fs::write(place.join("ready"), "another key").unwrap();
    std::fs::rename(&place, cache.join("building")).unwrap();
    let mended = run(&cache, &notebook);
    let said = String::from_utf8_lossy(&mended.stderr).into_owned();
    assert!(
        mended.status.success() && said.contains("preparing"),
        "{said}"
    );
    assert!(!cache.join("building").exists());
    // What was mended is whole and serves as it is. (Its length may differ from the copied one's: the way from its folder to
    // rustc's own libraries is written in it.)
    assert!(deps.is_file());
    let again = run(&cache, &notebook);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        again.status.success() && !said.contains("preparing"),
        "{said}"
    );

    std::fs::remove_file(&deps).unwrap();
    // Whatever an earlier build left helps the next one, so this compiles the library at most.
    std::fs::rename(&place, cache.join("building")).unwrap();
    std::fs::create_dir(&place).unwrap();
    std::fs::write(place.join("ready"), name.as_encoded_bytes()).unwrap();
    let mended = run(&cache, &notebook);
    let said = String::from_utf8_lossy(&mended.stderr).into_owned();
    assert!(
        mended.status.success() && said.contains("preparing"),
        "{said}"
    );
    assert!(deps.is_file());
}

/// Damages to a finished build, and whether something has to be compiled to mend them. A reader may add some.
type Damage = (&'static str, fn(&Path, &Path), bool);
const DAMAGES: [Damage; 5] = [
    (
        "a wrong byte in `ready`",
        |place, _| flip(&place.join("ready"), 3),
        false,
    ),
    (
        "no `ready`",
        |place, _| std::fs::remove_file(place.join("ready")).unwrap(),
        false,
    ),
    (
        "a recipe that is cut off",
        |place, _| cut(&place.join("recipe.json")),
        true,
    ),
    (
        "a wrong byte in the recipe",
        |place, _| flip(&place.join("recipe.json"), 40),
        true,
    ),
    (
        "a wrong byte in the library",
        |_, library| flip(library, 100_000),
        true,
    ),
];

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    // A new file: other caches may have a link to the old one.
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn cut(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// A dependency of the library, which no damage here concerns.
fn dependency(place: &Path) -> std::fs::Metadata {
    let deps = std::fs::read_dir(place.join("base/target"))
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_dir(entry.path().join("debug/deps")).ok())
        .flatten()
        .flatten()
        .find(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.starts_with("libdfdx-") && name.ends_with(".rlib")
        });
    deps.expect("dfdx").metadata().unwrap()
}

#[test]
fn each_damage_is_noticed_and_only_it_is_mended() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let notebook = folder.path().join("a.ipynb");
    let cell = serde_json::json!({"cell_type": "code", "id": "c", "metadata": {}, "outputs": [],
        "execution_count": null, "source": "randn(2, 3, &mut rng(0)).shape()"});
    let text =
        serde_json::json!({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]});
    std::fs::write(&notebook, text.to_string()).unwrap();
    let real = match std::env::var_os("REBIT_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/rebit"),
    };
    assert!(run(&real, &notebook).status.success());
    let name = master(&real).file_name().unwrap().to_owned();
    let cache = folder.path().join("cache");
    std::fs::create_dir(&cache).unwrap();
    let copied = Command::new("cp")
        .arg("-a")
        .arg(master(&real))
        .arg(&cache)
        .status();
    assert!(copied.unwrap().success());
    let place = cache.join(&name);
    let library = std::fs::read_dir(place.join("base/target"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path().join("debug/deps/librebit.so"))
        .find(|path| path.is_file())
        .expect("the library");
    let untouched = |place: &Path| {
        let file = dependency(place);
        (file.ino(), file.mtime(), file.mtime_nsec())
    };
    let before = untouched(&place);
    for (what, damage, compiles) in DAMAGES {
        damage(&place, &library);
        let mended = run(&cache, &notebook);
        let said = String::from_utf8_lossy(&mended.stderr).into_owned();
        assert!(mended.status.success(), "{what}: {said}");
        assert_eq!(said.contains("preparing"), compiles, "{what}: {said}");
        assert_eq!(
            untouched(&place),
            before,
            "{what}: dependencies were compiled again"
        );
        // Now it is whole.
        let good = run(&cache, &notebook);
        let said = String::from_utf8_lossy(&good.stderr).into_owned();
        assert!(
            good.status.success() && !said.contains("preparing"),
            "{what}: {said}"
        );
    }
}

#[test]
fn nothing_is_run_from_a_folder_of_another_user() {
    let folder = tempfile::tempdir().unwrap();
    let notebook = folder.path().join("a.ipynb");
    let text = serde_json::json!({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []});
    std::fs::write(&notebook, text.to_string()).unwrap();
    let theirs = folder.path().join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    // Without root's rights nothing can be given away; then root's own folder is another user's.
    let cache = match std::os::unix::fs::chown(&theirs, Some(4711), None) {
        Ok(()) => theirs,
        Err(_) => PathBuf::from("/"),
    };
    let output = run(&cache, &notebook);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(
        said.contains("belongs to the user") && said.contains("REBIT_CACHE"),
        "{said}"
    );
}
