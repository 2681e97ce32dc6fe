//! Where the compiled crates of the library's interface lie.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use super::cargo::cargo;
use super::{NAMED_BY_CELLS, Tools};
use crate::error::{Error, Result};

/// `NAME=FILE` for each crate of the interface, as the library in `base` was compiled with it: what rustc is told
/// so that a cell can name the crate.
///
/// # Errors
/// When cargo does not run.
pub fn of_interface(base: &Path, tools: &Tools) -> Result<Vec<String>> {
    let ask = |args: &[&str]| -> Result<String> {
        let output = cargo(tools, base)
            .args(args)
            .arg("--offline")
            .stderr(Stdio::null())
            .output()
            .map_err(|e| Error::io(&tools.cargo, e))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // Crates for other systems may never have come to this machine, and without them cargo would say nothing.
    let platform = ["--filter-platform", tools.host()];
    let metadata = ask(&[&["metadata", "--format-version=1"], &platform[..]].concat())?;
    let metadata = serde_json::from_str(&metadata).unwrap_or_default();
    // Everything is compiled: cargo only says where.
    let built = ask(&["build", "--message-format=json", "--target", tools.host()])?;
    let artefacts: Vec<Value> = built
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    Ok(given(&metadata, &artefacts))
}

fn given(metadata: &Value, artefacts: &[Value]) -> Vec<String> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let names: HashMap<&str, &str> = packages
        .filter_map(|p| Some((p["id"].as_str()?, p["name"].as_str()?)))
        .collect();
    // There may be two versions of a crate: those that the library itself depends on.
    let mut nodes = metadata["resolve"]["nodes"]
        .as_array()
        .into_iter()
        .flatten();
    let library = nodes.find(|node| {
        let id = node["id"].as_str().unwrap_or_default();
        names.get(id) == Some(&"rebit")
    });
    let of_library = library.and_then(|node| node["dependencies"].as_array());
    let file = |id: &str| {
        let of_id = |a: &&Value| a["reason"] == "compiler-artifact" && a["package_id"] == id;
        let files = artefacts.iter().filter(of_id);
        let mut files = files.filter_map(|a| a["filenames"].as_array()).flatten();
        files.find_map(|f| f.as_str().filter(|f| f.ends_with(".rlib")))
    };
    of_library
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter_map(|id| {
            let name = names.get(id).filter(|n| NAMED_BY_CELLS.contains(n))?;
            Some(format!("{}={}", name.replace('-', "_"), file(id)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_two_versions_the_librarys_is_taken() {
        let package = |id: &str, name: &str| json!({"id": id, "name": name});
        let metadata = json!({
            "packages": [
                package("rebit", "rebit"), package("rand8", "rand"), package("rand9", "rand"),
                package("serde_json", "serde_json"), package("gemm", "gemm"),
            ],
            "resolve": {"nodes": [
                {"id": "rand8", "dependencies": []},
                {"id": "rebit", "dependencies": ["rand9", "serde_json", "gemm"]},
            ]},
        });
        let artefact = |id: &str, file: &str| json!({"reason": "compiler-artifact", "package_id": id, "filenames": [file]});
        let artefacts = [
            json!({"reason": "build-script-executed", "package_id": "rand9"}),
            artefact("rand8", "/t/librand-8.rlib"),
            artefact("rand9", "/t/librand-9.rmeta"),
            artefact("rand9", "/t/librand-9.rlib"),
            artefact("gemm", "/t/libgemm.rlib"),
        ];
        assert_eq!(given(&metadata, &artefacts), ["rand=/t/librand-9.rlib"]);
    }
}
