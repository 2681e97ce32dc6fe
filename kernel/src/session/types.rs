//! Asks rustc for the types of variables that the analyser could not infer.
//!
//! The analyser of a session knows nothing of the standard library (that makes it quick), so it cannot
//! say what `vec![1, 2]` is. rustc can: `let () = v;` is an error that names the type of `v`. What a
//! type stands on may be known later than this line is read (the type of a literal in an index); that a value is moved twice
//! is noticed when all of them are known.

use evcxr::CompilationError;

/// How rustc is asked for the type of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// By a pattern that it does not fit: answered at once, for closures too.
    Pattern,
    /// By moving it twice: answered when all types of the cell are known, for what is not `Copy`.
    Move,
}

impl Question {
    /// The code that asks for this variable.
    pub fn about(self, name: &str) -> String {
        match self {
            Question::Pattern => format!("let () = {name};"),
            Question::Move => format!("::core::mem::drop(({name}, {name}));"),
        }
    }

    /// The variable that a line asks for.
    fn variable(self, line: &str) -> Option<&str> {
        match self {
            Question::Pattern => line.strip_prefix("let () = ")?.strip_suffix(';'),
            Question::Move => {
                let both = line.strip_prefix("::core::mem::drop((")?;
                Some(both.strip_suffix("));")?.split_once(", ")?.0)
            }
        }
    }
}

/// Whether evcxr did not know a type, guessed a wrong one, or named it by a path that cells cannot use.
pub fn are_unknown(error: &evcxr::Error) -> bool {
    match error {
        evcxr::Error::Message(text) => {
            text.starts_with("Couldn't automatically determine type of variable")
                || text.starts_with("Failed to determine type of variable")
        }
        evcxr::Error::CompilationErrors(list) => {
            // A wrong guess and a wrong cell look alike here; the question to rustc tells them apart.
            list.iter().any(|e| e.code() == Some("E0308"))
                || !list.iter().any(CompilationError::is_from_user_code)
        }
        _ => false,
    }
}

/// The types that rustc named in the answer to a question, as `(variable, type)`.
///
/// Types without a name (closures, `impl Trait`) and types that are not known completely are left out.
pub fn found(errors: &[CompilationError]) -> Vec<(String, String)> {
    let named = answers(errors).filter_map(|(name, of)| Some((name, nameable(&of)?)));
    named.collect()
}

/// The types among them that nobody can write, as `(variable, type)`.
pub fn without_name(errors: &[CompilationError]) -> Vec<(String, String)> {
    let unnamed =
        |of: &String| of.contains("{closure") || of.contains("{async") || of.contains("impl ");
    let without = answers(errors).filter(|(_, of)| unnamed(of) && nameable(of).is_none());
    without.collect()
}

fn answers(errors: &[CompilationError]) -> impl Iterator<Item = (String, String)> {
    errors.iter().filter_map(|error| match error.code() {
        Some("E0308") => from_pattern(&error.json),
        Some("E0382") => from_move(&error.json),
        _ => None,
    })
}

/// Crates whose types rustc names by a path that begins with the crate.
pub const CRATES: [&str; 4] = ["std", "core", "alloc", "rebit"];

/// Makes the paths of types begin outside of the cell, where a module of the user has a crate's name.
pub fn from_outside(types: &mut [(String, String)]) {
    for (_, of) in types {
        for name in CRATES {
            let path = format!("{name}::");
            let mut out = String::new();
            let mut rest = of.as_str();
            while let Some(at) = rest.find(&path) {
                let before = rest[..at].chars().next_back();
                out += &rest[..at];
                if !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                    out += "::";
                }
                out += &path;
                rest = &rest[at + path.len()..];
            }
            *of = out + rest;
        }
    }
}

/// Errors of the cell itself: those that are not answers.
pub fn is_answer(error: &CompilationError) -> bool {
    is_question(&error.json)
}

fn is_question(json: &serde_json::Value) -> bool {
    let asks = |line: &str| {
        [Question::Pattern, Question::Move]
            .iter()
            .any(|how| how.variable(line).is_some())
    };
    spans(json).map(line_of).any(asks)
}

fn spans(json: &serde_json::Value) -> impl Iterator<Item = &serde_json::Value> {
    json["spans"].as_array().into_iter().flatten()
}

fn line_of(span: &serde_json::Value) -> &str {
    span["text"][0]["text"].as_str().unwrap_or("").trim_start()
}

fn from_pattern(json: &serde_json::Value) -> Option<(String, String)> {
    from_label(json, Question::Pattern, "this expression has type `", "`")
}

fn from_move(json: &serde_json::Value) -> Option<(String, String)> {
    let before = "` has type `";
    from_label(json, Question::Move, before, "`, which does not implement")
}

/// The variable that was asked for, and what stands between these words in a label.
fn from_label(
    json: &serde_json::Value,
    how: Question,
    before: &str,
    behind: &str,
) -> Option<(String, String)> {
    let name = spans(json)
        .map(line_of)
        .find_map(|line| how.variable(line))?;
    let labels = spans(json).filter_map(|span| span["label"].as_str());
    let of = labels
        .filter_map(|label| label.split_once(before)?.1.rsplit_once(behind))
        .next()?
        .0;
    Some((name.to_string(), of.to_string()))
}

/// The type as it can be written, with what rustc falls back to for literals.
fn nameable(of: &str) -> Option<String> {
    // What is kept lasts as long as the session.
    let of = of.replace("{integer}", "i32").replace("{float}", "f64");
    let of = of.replace("'_", "'static");
    // A function is kept by its pointer.
    let of = match of.split_once(" {") {
        Some((pointer, _)) if is_function(pointer) => pointer.to_string(),
        _ => of,
    };
    let hidden = ["{", "impl ", "_>", "<_", " _", "_,", "..."];
    let known = !hidden.iter().any(|mark| of.contains(mark)) && of != "_";
    known.then_some(of)
}

fn is_function(of: &str) -> bool {
    let words = ["for<", "unsafe ", "extern ", "fn("];
    of.contains("fn(") && words.iter().any(|word| of.starts_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(line: &str, of: &str) -> serde_json::Value {
        serde_json::json!({"spans": [
            {"label": "expected `X`, found `()`", "text": [{"text": line}]},
            {"label": format!("this expression has type `{of}`"), "text": [{"text": line}]},
        ]})
    }

    #[test]
    fn the_type_is_read_from_the_answer() {
        let json = answer("let () = v;", "std::vec::Vec<{integer}>");
        assert_eq!(
            from_pattern(&json),
            Some(("v".to_string(), "std::vec::Vec<{integer}>".to_string()))
        );
        assert_eq!(
            nameable("std::vec::Vec<{integer}>").unwrap(),
            "std::vec::Vec<i32>"
        );
        let function = "for<'a> fn(&'a str) -> usize {core::str::<impl str>::len}";
        assert_eq!(nameable(function).unwrap(), "for<'a> fn(&'a str) -> usize");
        assert_eq!(
            nameable("std::str::Chars<'_>").unwrap(),
            "std::str::Chars<'static>"
        );
    }

    #[test]
    fn the_type_is_read_from_the_move() {
        let label = "move occurs because `row` has type `ndarray::Dim<[usize; 1]>`, which does not implement the `Copy` trait";
        let json = serde_json::json!({"spans": [
            {"label": label, "text": [{"text": "let row = m.row(1).to_owned();"}]},
            {"label": "value used here after move", "text": [{"text": Question::Move.about("row")}]},
        ]});
        let wanted = ("row".to_string(), "ndarray::Dim<[usize; 1]>".to_string());
        assert_eq!(from_move(&json), Some(wanted));
        assert!(is_question(&json));
    }

    #[test]
    fn unnameable_types_are_left_out() {
        for of in [
            "{closure@src/lib.rs:3:9}",
            "impl Iterator<Item = u8>",
            "Vec<_>",
            "_",
        ] {
            assert_eq!(nameable(of), None, "{of}");
        }
    }

    #[test]
    fn paths_begin_outside() {
        let of = "std::vec::Vec<std::option::Option<a::std::X, rebit::core::Y>>";
        let mut types = [("v".to_string(), of.to_string())];
        from_outside(&mut types);
        let wanted = "::std::vec::Vec<::std::option::Option<a::std::X, ::rebit::core::Y>>";
        assert_eq!(types[0].1, wanted);
    }

    #[test]
    fn other_errors_are_no_answers() {
        assert!(!is_question(&answer("let x: i32 = \"a\";", "&str")));
    }
}
