//! What cargo always answers: remembered, and cut down to what an analyser of cells needs.
//!
//! Each time evcxr's analyser loads a manifest it asks cargo half a dozen questions (metadata, target,
//! configuration). For the library's own manifest the answers never change. Of the metadata it gets only
//! the packages whose types appear in the library's signatures: reading the sources of all hundred
//! dependencies took most of a session's start. What is missing there, rustc is asked for.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::files;

/// Stands for the session folder in a remembered answer.
const SESSION: &str = "@SESSION@";
/// The library's dependencies whose types cells hold in variables.
const SEEN_BY_CELLS: [&str; 2] = ["dfdx", "rebit-wire"];

/// One remembered answer.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Answer {
    /// Exit status.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Answer {
    /// Prints the answer as the program would have; returns its exit status.
    pub fn give(&self) -> i32 {
        use std::io::Write;
        let _ = std::io::stdout().write_all(self.stdout.as_bytes());
        let _ = std::io::stderr().write_all(self.stderr.as_bytes());
        self.code
    }
}

/// The answer to `command` with `args`, from `folder` if it was given before.
///
/// # Errors
/// When the command cannot be started.
pub fn answer(
    folder: &Path,
    session: &Path,
    manifest: &str,
    args: &[String],
    mut command: Command,
) -> std::io::Result<Answer> {
    let place = session.display().to_string();
    let mut hash = Sha256::new();
    for part in args.iter().map(|arg| arg.replace(&place, SESSION)) {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.update(manifest.as_bytes());
    let name: String = hash.finalize()[..12]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let file = folder.join(format!("{name}.json"));
    if let Ok(text) = fs::read_to_string(&file)
        && let Ok(answer) = serde_json::from_str::<Answer>(&text.replace(SESSION, &place))
    {
        return Ok(answer);
    }
    let output = command.stdin(Stdio::null()).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut answer = Answer {
        code: output.status.code().unwrap_or(1),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    };
    if args.iter().any(|arg| arg == "metadata")
        && let Ok(mut metadata) = serde_json::from_str(&answer.stdout)
    {
        cut_down(&mut metadata);
        answer.stdout = metadata.to_string();
    }
    if let Ok(text) = serde_json::to_string(&answer)
        && fs::create_dir_all(folder).is_ok()
    {
        // Without it the next session asks again.
        let _ = files::write(&file, text.replace(&place, SESSION).as_bytes());
    }
    Ok(answer)
}

/// Keeps the cell crate and its dependencies, but of the library's only those that cells see.
fn cut_down(metadata: &mut Value) {
    let names: HashMap<String, String> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|p| {
            Some((
                p["id"].as_str()?.to_string(),
                p["name"].as_str()?.to_string(),
            ))
        })
        .collect();
    let Some(root) = metadata["resolve"]["root"].as_str().map(str::to_string) else {
        return;
    };
    let follow = |from: &str, to: &str| match names.get(from).map(String::as_str) {
        Some("rebit") => names
            .get(to)
            .is_some_and(|n| SEEN_BY_CELLS.contains(&n.as_str())),
        Some(name) => !SEEN_BY_CELLS.contains(&name),
        None => false,
    };
    let mut kept = HashSet::from([root.clone()]);
    let mut left = vec![root];
    let nodes = metadata["resolve"]["nodes"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    while let Some(id) = left.pop() {
        let node = nodes.iter().find(|node| node["id"] == id.as_str());
        let next = node.and_then(|node| node["dependencies"].as_array());
        for to in next.into_iter().flatten().filter_map(Value::as_str) {
            if follow(&id, to) && kept.insert(to.to_string()) {
                left.push(to.to_string());
            }
        }
    }
    let is_kept = |id: &Value| id.as_str().is_some_and(|id| kept.contains(id));
    if let Some(packages) = metadata["packages"].as_array_mut() {
        packages.retain(|package| is_kept(&package["id"]));
    }
    if let Some(nodes) = metadata["resolve"]["nodes"].as_array_mut() {
        nodes.retain(|node| is_kept(&node["id"]));
        for node in nodes {
            if let Some(list) = node["dependencies"].as_array_mut() {
                list.retain(is_kept);
            }
            if let Some(list) = node["deps"].as_array_mut() {
                list.retain(|dep| is_kept(&dep["pkg"]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_cells_see_of_the_library_is_kept() {
        let package = |name: &str| json!({"id": format!("{name}#1"), "name": name});
        let node = |name: &str, to: &[&str]| {
            let to: Vec<String> = to.iter().map(|n| format!("{n}#1")).collect();
            let deps: Vec<Value> = to.iter().map(|id| json!({"pkg": id})).collect();
            json!({"id": format!("{name}#1"), "dependencies": to, "deps": deps})
        };
        let names = [
            "ctx", "rebit", "dfdx", "gemm", "plotters", "regex", "memchr",
        ];
        let mut metadata = json!({
            "packages": names.map(package),
            "resolve": {"root": "ctx#1", "nodes": [
                node("ctx", &["rebit", "regex"]), node("rebit", &["dfdx", "plotters"]),
                node("dfdx", &["gemm"]), node("gemm", &[]), node("plotters", &[]),
                node("regex", &["memchr"]), node("memchr", &[]),
            ]},
        });
        cut_down(&mut metadata);
        let kept: Vec<&str> = metadata["packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["name"].as_str().unwrap())
            .collect();
        assert_eq!(kept, ["ctx", "rebit", "dfdx", "regex", "memchr"]);
        let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), 5);
        assert_eq!(nodes[1]["dependencies"], json!(["dfdx#1"]));
        assert_eq!(nodes[2]["deps"], json!([]));
    }

    #[test]
    fn an_answer_moves_to_the_next_session() {
        let folder = tempfile::tempdir().unwrap();
        let ask = |session: &str, program: &str| {
            let mut command = Command::new(program);
            command.arg(format!("{session}/Cargo.toml"));
            let args = ["locate".to_string(), format!("{session}/Cargo.toml")];
            answer(folder.path(), Path::new(session), "", &args, command)
        };
        assert_eq!(ask("/s/one", "echo").unwrap().stdout, "/s/one/Cargo.toml\n");
        // The second time nothing is started.
        let second = ask("/s/two", "/no/such/program").unwrap();
        assert_eq!(second.stdout, "/s/two/Cargo.toml\n");
    }
}
