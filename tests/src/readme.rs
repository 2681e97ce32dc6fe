//! The README's tables of claims, made from the notebooks as they are committed.
//!
//! A table stands between `<!-- claims of notebooks/NAME.ipynb -->` and `<!-- end of claims -->`, below a sentence that says
//! of which budget the run was.

use std::error::Error;
use std::path::Path;

use serde_json::Value;

const BEGIN: &str = "<!-- claims of ";
const END: &str = "<!-- end of claims -->";

/// A claim or a finding of a notebook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `holds`, `does not hold` or `finding`.
    pub verdict: String,
    /// The sentence; for a finding with the reason behind it.
    pub text: String,
    /// Our figure.
    pub ours: String,
    /// The paper's.
    pub paper: String,
}

/// A line as `claim!`, `finding!` and `show::claims` write it: `[verdict] text (paper: ...; ours: ...): why`.
fn row(line: &str) -> Option<Row> {
    let (verdict, rest) = line.strip_prefix('[')?.split_once("] ")?;
    if !["holds", "does not hold", "finding"].contains(&verdict) {
        return None;
    }
    let (text, rest) = rest.split_once(" (paper: ")?;
    let (paper, rest) = rest.split_once("; ours: ")?;
    let (ours, text) = match rest.split_once("): ") {
        Some((ours, why)) => (ours, format!("{text}: {why}")),
        None => (rest.strip_suffix(')')?, text.to_string()),
    };
    Some(Row {
        verdict: verdict.into(),
        text,
        ours: ours.into(),
        paper: paper.into(),
    })
}

/// Text of a notebook's field, which is a string or a list of lines.
fn joined(text: &Value) -> String {
    match text {
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        other => other.as_str().unwrap_or_default().to_string(),
    }
}

/// What the outputs of a notebook claim, claims first.
pub fn rows(notebook: &Value) -> Vec<Row> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let cells = list(&notebook["cells"]);
    let outputs = cells.iter().flat_map(|cell| list(&cell["outputs"]));
    let texts = outputs.map(|output| joined(&output["data"]["text/plain"]));
    let lines: Vec<String> = texts
        .flat_map(|text| text.lines().map(String::from).collect::<Vec<_>>())
        .collect();
    let mut rows: Vec<Row> = lines.iter().filter_map(|line| row(line)).collect();
    rows.sort_by_key(|row| row.verdict == "finding");
    rows
}

fn table(rows: &[Row]) -> String {
    let mut table = String::from("| | claim | ours | paper |\n|---|---|---|---|\n");
    for row in rows {
        let cells = [&row.verdict, &row.text, &row.ours, &row.paper].map(|c| c.replace('|', "\\|"));
        table += &format!("| {} |\n", cells.join(" | "));
    }
    table
}

/// The sentence above a table: which notebook, run at which budget.
fn heading(name: &str, notebook: &Value) -> Result<String, String> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let number = file.split('-').next().unwrap_or(file);
    match notebook["metadata"]["rebit"]["budget"].as_str() {
        Some(budget) => Ok(format!(
            "From the committed run of notebook {number} (budget `{budget}`):\n\n"
        )),
        None => Err(format!(
            "{name} does not say at which budget it was run: run it"
        )),
    }
}

/// `readme` with every table made anew from the notebooks below `root`.
///
/// # Errors
/// A notebook that cannot be read or claims nothing; a table without an end.
pub fn updated(readme: &str, root: &Path) -> Result<String, Box<dyn Error>> {
    let mut parts = readme.split(BEGIN);
    let mut new = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let (name, rest) = part.split_once(" -->\n").ok_or("a marker without ` -->`")?;
        let (_, rest) = rest
            .split_once(END)
            .ok_or_else(|| format!("README.md: the table of {name} has no end ({END})"))?;
        let text = std::fs::read_to_string(root.join(name)).map_err(|e| format!("{name}: {e}"))?;
        let notebook = serde_json::from_str(&text).map_err(|e| format!("{name}: {e}"))?;
        let rows = rows(&notebook);
        if rows.is_empty() {
            return Err(format!("{name} has no claim among its outputs: run it").into());
        }
        let (heading, table) = (heading(name, &notebook)?, table(&rows));
        new += &format!("{BEGIN}{name} -->\n{heading}{table}{END}{rest}");
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_of_claims_and_findings_become_rows_and_nothing_else_does() {
        let text = [
            "[figure: a]\n",
            "[holds] a (b) (paper: 46 % (2 bits); ours: 1)\n",
        ];
        let finding = "[finding] gain (paper: 5; ours: 0.3 (one seed)): few | epochs: 2";
        let output = |data: Value| json!({"data": {"text/plain": data}});
        let notebook = json!({"cells": [
            {"outputs": [output(json!(finding))]},
            {"outputs": [output(json!(text)), {"text": "[holds] printed (paper: 1; ours: 2)"}]},
            {},
        ]});
        let expected = "| | claim | ours | paper |\n|---|---|---|---|\n\
            | holds | a (b) | 1 | 46 % (2 bits) |\n\
            | finding | gain: few \\| epochs: 2 | 0.3 (one seed) | 5 |\n";
        assert_eq!(table(&rows(&notebook)), expected);
    }

    #[test]
    fn a_table_is_replaced_and_what_stands_around_it_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut notebook = json!({"metadata": {"rebit": {"budget": "full"}}, "cells": [{"outputs": [
            {"data": {"text/plain": "[holds] new (paper: 1; ours: 2)"}}]}]});
        let path = folder.path().join("01-n.ipynb");
        std::fs::write(&path, notebook.to_string()).unwrap();
        let old = "before\n<!-- claims of 01-n.ipynb -->\nold\n<!-- end of claims -->\nafter\n";
        let new = updated(old, folder.path()).unwrap();
        assert!(new.starts_with(
            "before\n<!-- claims of 01-n.ipynb -->\n\
             From the committed run of notebook 01 (budget `full`):\n\n| | claim"
        ));
        assert!(new.ends_with("| holds | new | 2 | 1 |\n<!-- end of claims -->\nafter\n"));
        assert_eq!(updated(&new, folder.path()).unwrap(), new);
        notebook["metadata"] = json!({});
        std::fs::write(&path, notebook.to_string()).unwrap();
        let unknown = updated(old, folder.path()).unwrap_err().to_string();
        assert!(unknown.contains("budget"), "{unknown}");
        let missing = old.replace("n.ipynb", "no.ipynb");
        assert!(updated(&missing, folder.path()).is_err());
        assert!(updated("<!-- claims of n.ipynb -->\n", folder.path()).is_err());
    }
}
