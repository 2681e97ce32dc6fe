//! What a cell can see of the library's dependencies.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

/// Crates of the library's interface, which cells can name without a `:dep` line.
pub const NAMED_BY_CELLS: [&str; 8] = [
    "dfdx",
    "image",
    "plotters",
    "rand",
    "rand_distr",
    "rand_pcg",
    "safetensors",
    "serde_json",
];

/// The library's package.
const LIBRARY: &str = "rebit";

/// Cuts cargo's metadata of a session down: of what the library and the crates `kept` depend on, only crates
/// that are `kept` stay. The cell crate depends on those of them which cells can name.
pub fn cut_down(metadata: &mut Value, kept: &[&str]) {
    let text = |value: &Value| value.as_str().map(str::to_string);
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let names: HashMap<String, String> = packages
        .filter_map(|p| Some((text(&p["id"])?, text(&p["name"])?)))
        .collect();
    let Some(root) = text(&metadata["resolve"]["root"]) else {
        return;
    };
    let nodes = metadata["resolve"]["nodes"].as_array();
    let nodes: HashMap<&str, &Value> = nodes
        .into_iter()
        .flatten()
        .filter_map(|node| Some((node["id"].as_str()?, node)))
        .collect();
    let is = |id: &str, name: &str| names.get(id).is_some_and(|n| n == name);
    let is_kept = |id: &str| kept.iter().any(|name| is(id, name));
    // What the library itself depends on, of these names.
    let library = nodes.keys().find(|id| is(id, LIBRARY)).copied();
    let mut interface = Vec::new();
    let mut found = HashSet::from([root.as_str()]);
    let mut left = vec![root.as_str()];
    while let Some(id) = left.pop() {
        let next = nodes
            .get(id)
            .and_then(|node| node["dependencies"].as_array());
        for to in next.into_iter().flatten().filter_map(Value::as_str) {
            if Some(id) == library && NAMED_BY_CELLS.iter().any(|n| is(to, n)) && is_kept(to) {
                interface.push(to.to_string());
            }
            let cut = Some(id) == library || is_kept(id);
            if (!cut || is_kept(to)) && found.insert(to) {
                left.push(to);
            }
        }
    }
    let found: HashSet<String> = found.into_iter().map(str::to_string).collect();
    let stays = |id: &Value| id.as_str().is_some_and(|id| found.contains(id));
    if let Some(packages) = metadata["packages"].as_array_mut() {
        packages.retain(|package| stays(&package["id"]));
    }
    let Some(nodes) = metadata["resolve"]["nodes"].as_array_mut() else {
        return;
    };
    nodes.retain(|node| stays(&node["id"]));
    for node in nodes {
        let is_root = node["id"] == root.as_str();
        if let Some(list) = node["dependencies"].as_array_mut() {
            list.retain(stays);
            let missing = |id: &&String| is_root && !list.contains(&json!(id));
            let missing: Vec<_> = interface.iter().filter(missing).collect();
            list.extend(missing.into_iter().map(|id| json!(id)));
        }
        if let Some(list) = node["deps"].as_array_mut() {
            list.retain(|dep| stays(&dep["pkg"]));
            let crate_name = |id: &str| names.get(id).map(|n| n.replace('-', "_"));
            let missing = |id: &&String| {
                let name = crate_name(id);
                is_root && list.iter().all(|dep| text(&dep["name"]) != name)
            };
            let missing: Vec<_> = interface.iter().filter(missing).collect();
            let kinds = json!([{"kind": null, "target": null}]);
            let edge = |id: &String| json!({"name": crate_name(id), "pkg": id, "dep_kinds": kinds});
            list.extend(missing.into_iter().map(edge));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(edges: &[(&str, &[&str])]) -> Value {
        let id = |name: &str| format!("{name}#1");
        let packages: Vec<Value> = edges
            .iter()
            .map(|(name, _)| json!({"id": id(name), "name": name}))
            .collect();
        let node = |(name, to): &(&str, &[&str])| {
            let ids: Vec<String> = to.iter().map(|n| id(n)).collect();
            let deps: Vec<Value> = to
                .iter()
                .map(|n| json!({"name": n.replace('-', "_"), "pkg": id(n)}))
                .collect();
            json!({"id": id(name), "dependencies": ids, "deps": deps})
        };
        let nodes: Vec<Value> = edges.iter().map(node).collect();
        json!({"packages": packages, "resolve": {"root": "ctx#1", "nodes": nodes}})
    }

    fn edges(metadata: &Value) -> Vec<(String, Vec<String>)> {
        let name = |id: &Value| id.as_str().unwrap().trim_end_matches("#1").to_string();
        let nodes = metadata["resolve"]["nodes"].as_array().unwrap().iter();
        nodes
            .map(|node| {
                let to: Vec<String> = node["dependencies"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(name)
                    .collect();
                let deps = node["deps"].as_array().unwrap().iter();
                let same: Vec<String> = deps.map(|dep| name(&dep["pkg"])).collect();
                assert_eq!(to, same);
                (name(&node["id"]), to)
            })
            .collect()
    }

    #[test]
    fn only_what_cells_see_of_the_library_is_kept() {
        let mut cut = metadata(&[
            ("ctx", &["rebit", "regex"]),
            ("rebit", &["dfdx", "plotters", "rebit-wire"]),
            ("rebit-wire", &["serde"]),
            ("serde", &[]),
            ("dfdx", &["gemm"]),
            ("gemm", &[]),
            ("plotters", &[]),
            ("regex", &["memchr"]),
            ("memchr", &[]),
        ]);
        cut_down(&mut cut, &["dfdx", "rebit-wire"]);
        let expected: [(&str, &[&str]); 6] = [
            ("ctx", &["rebit", "regex", "dfdx"]),
            ("rebit", &["dfdx", "rebit-wire"]),
            ("rebit-wire", &[]),
            ("dfdx", &[]),
            ("regex", &["memchr"]),
            ("memchr", &[]),
        ];
        let expected = expected.map(|(name, to)| {
            (
                name.to_string(),
                to.iter().map(|n| n.to_string()).collect::<Vec<_>>(),
            )
        });
        assert_eq!(edges(&cut), expected);
        assert_eq!(cut["packages"].as_array().unwrap().len(), 6);
    }

    #[test]
    fn a_crate_of_the_users_goes_before_the_librarys_of_that_name() {
        let mut cut = metadata(&[
            ("ctx", &["rebit", "rand"]),
            ("rebit", &["dfdx"]),
            ("dfdx", &["rand"]),
            ("rand", &[]),
        ]);
        cut_down(&mut cut, &["dfdx", "rand"]);
        assert_eq!(edges(&cut)[0].1, ["rebit", "rand", "dfdx"]);
    }
}
