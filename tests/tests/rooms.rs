//! The rooms of the kernel as ARCHITECTURE.md describes them: each stands on those below it, and no circle of files
//! holds a room together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Files of `folder` and below, by their module path (`workshop::shim::compile`).
fn modules(folder: &Path, path: &str, found: &mut BTreeMap<String, String>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for entry in entries {
        let stem = entry.file_stem().unwrap().to_str().unwrap();
        let name = match path {
            "" => stem.to_string(),
            path => format!("{path}::{stem}"),
        };
        if entry.is_dir() {
            modules(&entry, &name, found);
        } else if entry.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&entry).unwrap();
            // What tests use does not hold a room together.
            let code = text.split("#[cfg(test)]").next().unwrap().to_string();
            found.insert(
                if stem == "mod" {
                    path.to_string()
                } else {
                    name
                },
                code,
            );
        }
    }
}

fn kernel() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel/src");
    modules(&src, "", &mut found);
    assert!(found.len() > 60, "{}", found.len());
    found
}

/// What a file uses of its crate, as paths from the crate's root, groups in braces taken apart.
fn uses(module: &str, is_folder: bool, code: &str) -> BTreeSet<String> {
    let parent = match is_folder {
        true => module,
        false => module.rsplit_once("::").map_or("", |(parent, _)| parent),
    };
    let above = parent.rsplit_once("::").map_or("", |(above, _)| above);
    // In a folder's own file `super` is one room up.
    let base = if is_folder { above } else { parent };
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, " "])
        .collect();
    let mut found = BTreeSet::new();
    for (word, base) in [("crate::", ""), ("super::", base)] {
        for at in code.match_indices(word).map(|(at, _)| at + word.len()) {
            expand(base, &code[at..], &mut found);
        }
    }
    found
}

/// The paths that a text begins with, below `base`: `a::{b, c::d}` is two.
fn expand(base: &str, text: &str, found: &mut BTreeSet<String>) {
    let name = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    let end = text.find(|c| !name(c)).unwrap_or(text.len());
    let path = text[..end].trim_end_matches(':');
    let full = [base, path].into_iter().filter(|part| !part.is_empty());
    let full = full.collect::<Vec<_>>().join("::");
    let Some(group) = text[end..]
        .strip_prefix('{')
        .filter(|_| text[..end].ends_with(':') || end == 0)
    else {
        found.insert(full);
        return;
    };
    let mut depth = 0;
    let mut begin = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                expand(&full, group[begin..at].trim_start(), found);
                begin = at + 1;
                if c == '}' {
                    return;
                }
            }
            _ => {}
        }
    }
}

/// Whom each file uses: the file of the longest module path that a path begins with; a name that a folder's own file
/// exports again belongs to the file it comes from.
fn edges(
    files: &BTreeMap<String, String>,
    all: &BTreeMap<String, String>,
) -> BTreeMap<String, BTreeSet<String>> {
    let folder = |name: &str| {
        let inside = format!("{name}::");
        all.keys().any(|other| other.starts_with(&inside))
    };
    let mut exported = BTreeMap::new();
    for (module, code) in all.iter().filter(|(name, _)| folder(name)) {
        for statement in code.split("pub use ").skip(1) {
            let statement = statement
                .split(';')
                .next()
                .unwrap_or_default()
                .replace('\n', " ");
            let mut paths = BTreeSet::new();
            expand(module, &statement, &mut paths);
            for path in paths {
                let name = path.rsplit("::").next().unwrap_or_default();
                exported.insert(format!("{module}::{name}"), path.clone());
            }
        }
    }
    let target = |path: &String| {
        let path = exported.get(path).unwrap_or(path);
        let fits = |name: &&String| path == *name || path.starts_with(&format!("{name}::"));
        files
            .keys()
            .filter(fits)
            .max_by_key(|name| name.len())
            .cloned()
    };
    files
        .iter()
        .map(|(module, code)| {
            let to = uses(module, folder(module), code)
                .iter()
                .filter_map(target)
                .collect();
            (module.clone(), to)
        })
        .collect()
}

/// A way from a file back to itself, if there is one.
fn circle(edges: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn walk<'a>(
        at: &'a str,
        edges: &'a BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> bool {
        if let Some(begin) = way.iter().position(|other| *other == at) {
            way.drain(..begin);
            return true;
        }
        if !done.insert(at) {
            return false;
        }
        way.push(at);
        if edges
            .get(at)
            .into_iter()
            .flatten()
            .any(|to| walk(to, edges, way, done))
        {
            return true;
        }
        way.pop();
        false
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|start| {
        let mut way = Vec::new();
        walk(start, edges, &mut way, &mut done)
            .then(|| way.into_iter().map(str::to_string).collect())
    })
}

#[test]
fn a_circle_is_found() {
    let edges = |pairs: &[(&str, &[&str])]| {
        let set = |to: &&[&str]| to.iter().map(|t| t.to_string()).collect();
        let edges = pairs.iter().map(|(from, to)| (from.to_string(), set(to)));
        edges.collect()
    };
    assert_eq!(
        circle(&edges(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])])),
        None
    );
    let found = circle(&edges(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])])).unwrap();
    assert_eq!(found, ["b", "c"]);
}

#[test]
fn what_a_file_uses_is_read_from_its_text() {
    let code =
        "use super::c::{D, e::{F, G}};\nuse crate::h::{self};\n// crate::no\nlet x = crate::i::J;";
    let read: Vec<String> = uses("a::b", false, code).into_iter().collect();
    assert_eq!(
        read,
        ["a::c::D", "a::c::e::F", "a::c::e::G", "h::self", "i::J"]
    );
    let file = |name: &str, code: &str| (name.to_string(), code.to_string());
    let files = BTreeMap::from([
        file("a", "mod b;\nmod c;\npub use b::{\n    B,\n};"),
        file("a::b", "use crate::a::c::C;"),
        file("a::c", "use super::{B};"),
    ]);
    let mut inner = files.clone();
    inner.remove("a");
    assert_eq!(circle(&edges(&inner, &files)).unwrap(), ["a::b", "a::c"]);
}

#[test]
fn the_workshop_has_no_circle_of_files() {
    let all = kernel();
    let mut files = all.clone();
    // The own files of the two folders say which files there are.
    files.retain(|name, _| name.starts_with("workshop::") && name != "workshop::shim");
    assert!(files.len() > 12, "{:?}", files.keys());
    let edges = edges(&files, &all);
    assert!(
        edges.values().map(BTreeSet::len).sum::<usize>() > 20,
        "{edges:?}"
    );
    assert_eq!(circle(&edges), None);
}

#[test]
fn rooms_stand_on_rooms_below_them() {
    // From the ground up; rooms of one floor do not use each other.
    let floors: &[&[&str]] = &[
        &["error"],
        &["files", "folders", "output"],
        &["render", "workshop"],
        &["language"],
        &["analyser", "supervisor"],
        &["session"],
        &["install", "jupyter"],
        &["doctor", "notebook", "repl"],
    ];
    let floor = |room: &str| floors.iter().position(|rooms| rooms.contains(&room));
    let room = |path: &str| path.split("::").next().unwrap_or_default().to_string();
    let files = kernel();
    let inside = |name: &str| format!("{name}::");
    let folder = |name: &str| files.keys().any(|other| other.starts_with(&inside(name)));
    let mut seen = 0;
    for (module, code) in &files {
        let Some(own) = floor(&room(module)) else {
            continue;
        };
        for used in uses(module, folder(module), code) {
            if let Some(other) = floor(&room(&used)).filter(|_| room(&used) != room(module)) {
                assert!(other < own, "{module} uses {used}");
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "{seen}");
}
