//! Crates that a cell names and the session does not have, and the `:dep` line that brings them.

use std::path::Path;

use serde_json::Value;

use crate::workshop;

/// Crates that many programs use: the line's end where it is more than a version.
const POPULAR: &[(&str, &str)] = &[
    ("anyhow", "\"1\""),
    ("approx", "\"0.5\""),
    ("arrayvec", "\"0.7\""),
    ("arrow", "\"57\""),
    ("async_trait", "\"0.1\""),
    ("base64", "\"0.22\""),
    ("bincode", "\"2\""),
    ("bitflags", "\"2\""),
    ("bytemuck", "\"1\""),
    ("byteorder", "\"1\""),
    ("bytes", "\"1\""),
    ("candle_core", "\"0.9\""),
    ("chrono", "\"0.4\""),
    ("clap", "{ version = \"4\", features = [\"derive\"] }"),
    ("crossbeam", "\"0.8\""),
    ("csv", "\"1\""),
    ("dashmap", "\"6\""),
    ("derive_more", "{ version = \"2\", features = [\"full\"] }"),
    ("either", "\"1\""),
    ("env_logger", "\"0.11\""),
    ("flate2", "\"1\""),
    ("futures", "\"0.3\""),
    ("half", "\"2\""),
    ("hashbrown", "\"0.16\""),
    ("hex", "\"0.4\""),
    ("indexmap", "\"2\""),
    ("itertools", "\"0.14\""),
    ("lazy_static", "\"1\""),
    ("libc", "\"0.2\""),
    ("log", "\"0.4\""),
    ("memmap2", "\"0.9\""),
    ("nalgebra", "\"0.34\""),
    ("ndarray", "\"0.16\""),
    ("nom", "\"8\""),
    ("num", "\"0.4\""),
    ("num_bigint", "\"0.4\""),
    ("num_complex", "\"0.4\""),
    ("num_traits", "\"0.2\""),
    ("once_cell", "\"1\""),
    ("ordered_float", "\"5\""),
    ("parking_lot", "\"0.12\""),
    ("petgraph", "\"0.8\""),
    (
        "polars",
        "{ version = \"0.51\", features = [\"lazy\", \"csv\"] }",
    ),
    ("proptest", "\"1\""),
    ("quickcheck", "\"1\""),
    ("rand_chacha", "\"0.9\""),
    ("rayon", "\"1\""),
    ("regex", "\"1\""),
    (
        "reqwest",
        "{ version = \"0.12\", features = [\"blocking\", \"json\"] }",
    ),
    (
        "rusqlite",
        "{ version = \"0.37\", features = [\"bundled\"] }",
    ),
    ("rustfft", "\"6\""),
    ("semver", "\"1\""),
    ("serde", "{ version = \"1\", features = [\"derive\"] }"),
    ("serde_yaml", "\"0.9\""),
    ("sha2", "\"0.10\""),
    ("smallvec", "\"1\""),
    ("statrs", "\"0.18\""),
    ("strum", "{ version = \"0.27\", features = [\"derive\"] }"),
    ("syn", "{ version = \"2\", features = [\"full\"] }"),
    ("tempfile", "\"3\""),
    ("thiserror", "\"2\""),
    ("time", "\"0.3\""),
    ("tokio", "{ version = \"1\", features = [\"full\"] }"),
    ("toml", "\"0.9\""),
    ("tracing", "\"0.1\""),
    ("ureq", "\"3\""),
    ("url", "\"2\""),
    ("uuid", "{ version = \"1\", features = [\"v4\"] }"),
    ("walkdir", "\"2\""),
];
/// Crates that are called otherwise than Rust calls them.
const HYPHENS: &[&str] = &[
    "async_trait",
    "candle_core",
    "num_bigint",
    "num_complex",
    "num_traits",
    "ordered_float",
];
/// Macros that bring no name of their crate along, with the crate.
const MACROS: &[(&str, &str)] = &[
    ("lazy_static", "lazy_static"),
    ("bitflags", "bitflags"),
    ("anyhow", "anyhow"),
    ("bail", "anyhow"),
    ("ensure", "anyhow"),
    ("izip", "itertools"),
    ("smallvec", "smallvec"),
    ("indexmap", "indexmap"),
];

/// What to do about a crate that an error says is not there; `master` is the finished library.
pub fn help(error: &Value, master: &Path) -> Option<String> {
    let name = missing(error)?;
    if name
        .chars()
        .next()
        .is_none_or(|first| !first.is_lowercase())
    {
        return None;
    }
    let (package, wanted) = match workshop::version_in_library(master, &name) {
        // Its types are then those of the library.
        Some((package, version)) => (package, format!("{version:?}")),
        None => {
            let Some((_, wanted)) = POPULAR.iter().find(|(known, _)| *known == name) else {
                return Some(format!(
                    "a crate is brought by a line in front of the code: `:dep {name} = \"VERSION\"`"
                ));
            };
            let package = match HYPHENS.contains(&name.as_str()) {
                true => name.replace('_', "-"),
                false => name.clone(),
            };
            (package, wanted.to_string())
        }
    };
    Some(format!(
        "the crate `{package}` is brought by a line in front of the code: `:dep {package} = {wanted}`"
    ))
}

/// Whether a help of rustc's is about a manifest, which cells do not have.
pub fn is_about_manifest(help: &str) -> bool {
    help.contains("cargo add") || help.contains("missing a crate named")
}

/// The crate that an error misses.
fn missing(error: &Value) -> Option<String> {
    const WORDS: [&str; 3] = [
        "unlinked crate `",
        "missing a crate named `",
        "can't find crate for `",
    ];
    let message = error["message"].as_str()?;
    let spans = error["spans"].as_array().into_iter().flatten();
    let labels = spans.filter_map(|span| span["label"].as_str());
    let children = error["children"].as_array().into_iter().flatten();
    let children = children.filter_map(|child| child["message"].as_str());
    let mut texts = [message].into_iter().chain(labels).chain(children);
    let found = texts.find_map(|text| {
        let behind = WORDS.iter().find_map(|word| text.split_once(word))?.1;
        behind.split('`').next()
    });
    if let Some(name) = found {
        return Some(name.to_string());
    }
    let of_macro = message
        .strip_prefix("cannot find macro `")?
        .split('`')
        .next()?;
    let known = MACROS.iter().find(|(name, _)| *name == of_macro);
    known.map(|(_, name)| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_missing_crate_is_named_with_its_line() {
        let unlinked = |name: &str| {
            json!({"message": format!("unresolved import `{name}`"), "spans": [
                {"label": format!("use of unresolved module or unlinked crate `{name}`")}
            ], "children": [{"message": format!("you might be missing a crate named `{name}`")}]})
        };
        let nowhere = Path::new("/nowhere");
        let line = |error: &Value| help(error, nowhere).unwrap();
        assert!(line(&unlinked("regex")).contains("`:dep regex = \"1\"`"));
        assert!(line(&unlinked("num_bigint")).contains("`:dep num-bigint = \"0.4\"`"));
        assert!(line(&unlinked("own_crate")).contains("`:dep own_crate = \"VERSION\"`"));
        assert!(
            line(&json!({"message": "cannot find macro `bail` in this scope"}))
                .contains(":dep anyhow")
        );
        assert!(line(&json!({"message": "can't find crate for `csv`"})).contains(":dep csv"));
        for other in [
            "cannot find value `x` in this scope",
            "cannot find macro `own` in this scope",
        ] {
            assert_eq!(help(&json!({"message": other}), nowhere), None);
        }
        assert!(is_about_manifest(
            "use `cargo add csv` to add it to your `Cargo.toml`"
        ));
    }
}
