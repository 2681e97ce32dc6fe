//! Names that both the prelude and a glob import of the user's bring: the user's are meant.
//!
//! rustc calls such a name ambiguous when it is used, and otherwise takes one of them. Then it is imported by itself from
//! the user's module, which comes before all globs; the session's `cargo` writes these imports into every later cell.

use std::collections::BTreeMap;
use std::path::Path;

use evcxr::CompilationError;
use serde_json::Value;

use crate::files;
use crate::workshop::session_files::PREFERRED;

const PRELUDE: &str = "rebit::prelude";

/// Notes names that these errors call ambiguous, and drops those that the user has defined meanwhile; whether either
/// was the case.
pub fn prefer(errors: &[CompilationError], folder: &Path) -> bool {
    let json: Vec<&Value> = errors.iter().map(|error| &error.json).collect();
    let file = folder.join(PREFERRED);
    let known = std::fs::read(&file).unwrap_or_default();
    let known: BTreeMap<String, String> = serde_json::from_slice(&known).unwrap_or_default();
    let next = after(&known, &json);
    let text = serde_json::to_vec(&next).expect("plain data");
    next != known && files::write(&file, &text).is_ok()
}

/// The preferred modules by name, after these errors.
fn after(known: &BTreeMap<String, String>, errors: &[&Value]) -> BTreeMap<String, String> {
    let mut next = known.clone();
    for error in errors {
        let message = error["message"].as_str().unwrap_or_default();
        let Some(name) = message.split('`').nth(1) else {
            continue;
        };
        match error["code"]["code"].as_str() {
            Some("E0659" | "ambiguous_glob_imports") => {
                // What was imported already, and in vain, stands in a module of the user's: it stays as rustc takes it.
                let module = users_glob(error).filter(|module| known.get(name) != Some(module));
                next.insert(name.to_string(), module.unwrap_or_default());
            }
            // Defined or imported by name, or gone with its crate.
            Some("E0252" | "E0254" | "E0255" | "E0260" | "E0364" | "E0365" | "E0428") => {
                next.remove(name);
            }
            Some("E0432" | "E0433") => {
                let last = name.rsplit("::").next().unwrap_or(name);
                next.retain(|own, module| own != last && module != name);
            }
            _ => {}
        }
    }
    next
}

/// The module of the glob import that is not the prelude's; of several the one that rustc would take.
fn users_glob(error: &Value) -> Option<String> {
    let notes = error["children"].as_array().into_iter().flatten();
    let mut globs = notes.filter_map(|note| glob(&note["spans"][0]));
    globs.find(|glob| !glob.ends_with(PRELUDE))
}

/// The module of the glob import that a span marks.
fn glob(span: &Value) -> Option<String> {
    let line = span["text"][0]["text"].as_str()?;
    let column = |name: &str| span[name].as_u64().map(|column| column as usize - 1);
    let (from, to) = (column("column_start")?, column("column_end")?);
    let marked: String = line.chars().skip(from).take(to - from).collect();
    // Either all of it is marked, or the path alone.
    let behind: String = line.chars().skip(to).collect();
    let module = marked
        .strip_suffix("::*")
        .or(behind.starts_with("::*").then_some(marked.as_str()))?;
    Some(module.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ambiguous(lines: &[&str]) -> Value {
        let note = |line: &&str| {
            let end = line.find("::*").unwrap() + 1;
            json!({"message": "`Axis` could refer to the struct imported here", "spans": [
                {"column_start": 5, "column_end": end, "text": [{"text": line}]}
            ]})
        };
        let notes: Vec<Value> = lines.iter().map(note).collect();
        json!({"message": "`Axis` is ambiguous", "code": {"code": "E0659"}, "children": notes})
    }

    #[test]
    fn the_users_glob_comes_before_the_preludes() {
        let prelude = "use ::rebit::prelude::*;";
        let learn = |error: &Value| after(&BTreeMap::new(), &[error]);
        let known = learn(&ambiguous(&[prelude, "use ndarray::*;"]));
        assert_eq!(known["Axis"], "ndarray");
        assert_eq!(
            learn(&ambiguous(&["use a::b::*;", prelude]))["Axis"],
            "a::b"
        );
        assert_eq!(learn(&ambiguous(&["use a::*;", "use b::*;"]))["Axis"], "a");
        // Where the import does not help, nothing is said of it any more.
        let again = after(&known, &[&ambiguous(&[prelude, "use ndarray::*;"])]);
        assert_eq!(again["Axis"], "");
        let defined = json!({"message": "the name `Axis` is defined multiple times", "code": {"code": "E0255"}});
        assert!(after(&known, &[&defined]).is_empty());
        let other = json!({"message": "cannot find value `Axis`", "code": {"code": "E0425"}});
        assert_eq!(after(&known, &[&other]), known);
    }
}
