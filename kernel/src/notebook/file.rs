//! Notebook files: read, checked, brought to format 4.5, written back with everything unknown kept.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Value, json};

use super::tags::{self, Parameter, Tags};
use crate::error::{Error, Result};
use crate::files;

/// A notebook as JSON; only what execution changes is touched.
#[derive(Clone, Debug)]
pub struct Notebook {
    json: Value,
}

impl Notebook {
    /// Reads and checks a notebook.
    ///
    /// # Errors
    /// [`Error::Notebook`] when the file is missing, is not JSON, or is not a notebook.
    pub fn read(path: &Path) -> Result<Notebook> {
        let wrong = |why: String| Error::Notebook {
            path: path.to_path_buf(),
            why,
        };
        let text = std::fs::read_to_string(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => wrong("there is no such file".to_string()),
            _ => wrong(e.to_string()),
        })?;
        let mut json: Value =
            serde_json::from_str(&text).map_err(|e| wrong(format!("this is not JSON: {e}")))?;
        let text = match repair_ids(&mut json) {
            true => json.to_string(),
            false => text,
        };
        let parsed = nbformat::parse_notebook(&text)
            .map_err(|e| wrong(format!("this is not a notebook: {e}")))?;
        let upgraded = match parsed {
            nbformat::Notebook::Legacy(old) => Some(nbformat::upgrade_legacy_notebook(old)),
            nbformat::Notebook::V3(old) => Some(nbformat::upgrade_v3_notebook(old)),
            // The JSON itself is kept: it holds more than any structure knows.
            _ => None,
        };
        let json = match upgraded {
            None => json,
            Some(new) => new
                .map_err(|e| e.to_string())
                .and_then(|new| serde_json::to_value(new).map_err(|e| e.to_string()))
                .map_err(|e| {
                    wrong(format!(
                        "this notebook's format cannot be brought to 4.5: {e}"
                    ))
                })?,
        };
        let mut notebook = Notebook { json };
        // What was brought to 4.5 may lack them.
        repair_ids(&mut notebook.json);
        notebook.normalise();
        Ok(notebook)
    }

    /// Format 4.5 with an id for each cell and our language.
    fn normalise(&mut self) {
        self.json["nbformat"] = json!(4);
        self.json["nbformat_minor"] = json!(5);
        if !self.json["metadata"].is_object() {
            self.json["metadata"] = json!({});
        }
        let metadata = &mut self.json["metadata"];
        metadata["kernelspec"] = json!({
            "name": "rebit", "display_name": "Rust (rebit)", "language": "rust",
        });
        metadata["language_info"] = json!({
            "name": "rust", "mimetype": "text/rust", "file_extension": ".rs",
            "codemirror_mode": "rust", "pygments_lexer": "rust",
        });
        for cell in self.cells_mut() {
            if cell["cell_type"] == "code" && !Tags::of(cell).is_skipped {
                cell["outputs"] = json!([]);
                cell["execution_count"] = Value::Null;
            }
        }
    }

    fn cells_mut(&mut self) -> &mut Vec<Value> {
        if !self.json["cells"].is_array() {
            self.json["cells"] = json!([]);
        }
        self.json["cells"].as_array_mut().expect("just made")
    }

    /// Writes down at which budget the outputs were made: the numbers in them mean little without.
    pub fn note_budget(&mut self, budget: &str) {
        self.json["metadata"]["rebit"] = json!({ "budget": budget });
    }

    /// Sets parameters of the notebook, as papermill does.
    ///
    /// # Errors
    /// As [`tags::inject`].
    pub fn set_parameters(&mut self, parameters: &[Parameter]) -> Result<()> {
        let source = |cell: &Value| joined(&cell["source"]);
        tags::inject(self.cells_mut(), parameters, &source)
    }

    /// What the tags of a cell say about its run.
    pub fn tags(&self, place: usize) -> Tags {
        Tags::of(&self.json["cells"][place])
    }

    /// Source of the code cells, with their places in the file.
    pub fn code(&self) -> Vec<(usize, String)> {
        let cells = self.json["cells"].as_array();
        cells
            .into_iter()
            .flatten()
            .enumerate()
            .filter(|(_, cell)| cell["cell_type"] == "code")
            .map(|(place, cell)| (place, joined(&cell["source"])))
            .collect()
    }

    /// Sets what a code cell put out.
    pub fn set_outputs(&mut self, place: usize, count: Option<u32>, outputs: &[Value]) {
        let cell = &mut self.cells_mut()[place];
        cell["execution_count"] = json!(count);
        cell["outputs"] = json!(outputs);
    }

    /// Writes the notebook, whole or not at all.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = Vec::new();
        // One space, like Jupyter: small differences stay small.
        let style = serde_json::ser::PrettyFormatter::with_indent(b" ");
        let mut writer = serde_json::Serializer::with_formatter(&mut text, style);
        serde::Serialize::serialize(&self.json, &mut writer).expect("plain data");
        text.push(b'\n');
        files::write(path, &text)
    }
}

/// Gives cells of format 4 an id of their own where they have none, one that is malformed, or that of an earlier cell.
/// Whether anything was changed.
fn repair_ids(notebook: &mut Value) -> bool {
    if notebook["nbformat"] != 4 {
        return false;
    }
    let Some(cells) = notebook.get_mut("cells").and_then(Value::as_array_mut) else {
        return false;
    };
    let valid = |id: &str| {
        (1..=64).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let id_of = |cell: &Value| {
        cell["id"]
            .as_str()
            .filter(|id| valid(id))
            .map(str::to_string)
    };
    let mut taken: HashSet<String> = cells.iter().filter_map(id_of).collect();
    let mut seen = HashSet::new();
    let mut changed = false;
    for (number, cell) in cells
        .iter_mut()
        .enumerate()
        .filter(|(_, cell)| cell.is_object())
    {
        if id_of(cell).is_some_and(|id| seen.insert(id)) {
            continue;
        }
        let mut id = format!("cell-{number}");
        while !taken.insert(id.clone()) {
            id.push('x');
        }
        seen.insert(id.clone());
        cell["id"] = json!(id);
        changed = true;
    }
    changed
}

/// A multi-line string: one string, or a list of lines.
fn joined(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ipynb");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn unknown_metadata_survives() {
        let (_folder, path) = write(
            r#"{"nbformat": 4, "nbformat_minor": 5, "metadata": {"mine": {"a": [1]}}, "cells": [
                {"cell_type": "markdown", "id": "m", "metadata": {"x": 1}, "source": "hi",
                 "attachments": {"a.png": {"image/png": "AA=="}}},
                {"cell_type": "code", "id": "c", "metadata": {"tags": ["t"], "y": {"z": 2}},
                 "execution_count": 7, "outputs": [], "source": ["1 +\n", "1"]}]}"#,
        );
        let mut notebook = Notebook::read(&path).unwrap();
        assert_eq!(notebook.code(), [(1, "1 +\n1".to_string())]);
        notebook.set_outputs(1, Some(1), &[]);
        notebook.write(&path).unwrap();
        let json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(json["metadata"]["mine"]["a"][0], 1);
        assert_eq!(json["metadata"]["kernelspec"]["name"], "rebit");
        assert_eq!(
            json["cells"][0]["attachments"]["a.png"]["image/png"],
            "AA=="
        );
        assert_eq!(json["cells"][1]["metadata"]["y"]["z"], 2);
        assert_eq!(json["cells"][1]["execution_count"], 1);
    }

    #[test]
    fn old_formats_get_ids() {
        let (_folder, path) = write(
            r#"{"nbformat": 4, "nbformat_minor": 2, "metadata": {}, "cells": [
                {"cell_type": "code", "metadata": {}, "execution_count": null, "outputs": [],
                 "source": "1"}]}"#,
        );
        let notebook = Notebook::read(&path).unwrap();
        assert!(!notebook.json["cells"][0]["id"].as_str().unwrap().is_empty());
        assert_eq!(notebook.json["nbformat_minor"], 5);
        assert_eq!(notebook.code(), [(0, "1".to_string())]);
    }

    #[test]
    fn ids_are_repaired_and_good_ones_stay() {
        let ids = ["a", "a", "cell-4", "", "x y", "b", "\u{1b}[2J", "a"];
        for minor in [2, 5] {
            let cells = ids.map(|id| {
                json!({"cell_type": "code", "id": id, "metadata": {}, "execution_count": null,
                       "outputs": [], "source": "1"})
            });
            let text =
                json!({"nbformat": 4, "nbformat_minor": minor, "metadata": {}, "cells": cells});
            let (_folder, path) = write(&text.to_string());
            let notebook = Notebook::read(&path).unwrap();
            let found: Vec<&str> = (0..ids.len())
                .map(|n| notebook.json["cells"][n]["id"].as_str().unwrap())
                .collect();
            let wanted = [
                "a", "cell-1", "cell-4", "cell-3", "cell-4x", "b", "cell-6", "cell-7",
            ];
            assert_eq!(found, wanted, "4.{minor}");
        }
    }

    #[test]
    fn what_is_no_notebook_is_said() {
        for (text, word) in [
            ("{", "not JSON"),
            ("{}", "not a notebook"),
            ("[1]", "not a notebook"),
        ] {
            let (_folder, path) = write(text);
            let error = Notebook::read(&path).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("a.ipynb"), "{error}");
        }
        let error = Notebook::read(Path::new("/none/b.ipynb"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("no such file"), "{error}");
    }
}
