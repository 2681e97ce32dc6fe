//! Asks rustc for the types of variables that the analyser could not infer.
//!
//! The analyser of a session knows nothing of the standard library (that makes it quick), so it cannot
//! say what `vec![1, 2]` is. rustc can: that a value is moved twice is an error that names its type, and another one where the
//! cell itself has moved it. Where rustc does not get that far, `let () = v;` is an error too.

use evcxr::CompilationError;

/// How rustc is asked for the type of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// By moving it twice: answered when all types of the cell are known.
    Move,
    /// By a pattern that it does not fit: answered at once, before rustc has read on.
    Pattern,
}

/// How the second binding of a variable begins that is then moved twice, beside something that is never `Copy`.
const MOVED: &str = "::core::mem::drop({ let rebit_asked = (";
const TWICE: &str = ", ::std::string::String::new()); (rebit_asked, rebit_asked) });";

impl Question {
    /// The code that asks for this variable.
    pub fn about(self, name: &str) -> String {
        match self {
            Question::Pattern => format!("let () = {name};"),
            Question::Move => format!("{MOVED}{name}{TWICE}"),
        }
    }

    /// The variable that a line asks for.
    fn variable(self, line: &str) -> Option<&str> {
        match self {
            Question::Pattern => line.strip_prefix("let () = ")?.strip_suffix(';'),
            Question::Move => line.strip_prefix(MOVED)?.strip_suffix(TWICE),
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

/// What rustc said of the variables that it was asked for, each as `(variable, type)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Those whose types can be written, with what rustc falls back to for literals.
    pub named: Vec<(String, String)>,
    /// Those whose types nobody can write (closures, `impl Trait`).
    pub unnamed: Vec<(String, String)>,
    /// Those that the cell itself moves; types that can be written are among the named ones too.
    pub moved: Vec<(String, String)>,
}

impl Answers {
    /// Adds what these errors answer.
    pub fn read(&mut self, errors: &[CompilationError]) {
        let moves = errors.iter().filter(|error| error.code() == Some("E0382"));
        let moved: Vec<_> = moves
            .filter_map(|error| moved_before(&error.json))
            .collect();
        for (name, of) in answers(errors).chain(moved.iter().cloned()) {
            match nameable(&of) {
                Some(of) => self.named.push((name, of)),
                None if is_without_name(&of) => self.unnamed.push((name, of)),
                None => {}
            }
        }
        self.moved.extend(moved);
    }

    /// Whether nothing was said of a variable.
    pub fn leaves_open(&self, name: &str) -> bool {
        let told = self.named.iter().chain(&self.unnamed).chain(&self.moved);
        told.clone().all(|(told, _)| told != name)
    }

    /// Whether the cell moves a variable.
    pub fn moves(&self, name: &str) -> bool {
        self.moved.iter().any(|(moved, _)| moved == name)
    }
}

fn is_without_name(of: &str) -> bool {
    ["{closure", "{async", "impl "]
        .iter()
        .any(|mark| of.contains(mark))
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

/// What rustc says of values that are borrowed or moved, for which it must have understood all else. What is kept, and asked
/// for, may be to blame.
const OF_BORROWS: [&str; 22] = [
    "E0373", "E0381", "E0382", "E0384", "E0499", "E0502", "E0503", "E0505", "E0506", "E0507",
    "E0508", "E0509", "E0510", "E0515", "E0521", "E0594", "E0596", "E0597", "E0700", "E0712",
    "E0713", "E0716",
];

/// Whether an error stops the cell whatever is asked.
pub fn is_mistake(error: &CompilationError) -> bool {
    let is_of_types = error.code().is_some_and(|code| !OF_BORROWS.contains(&code));
    error.level() == "error" && is_of_types && error.is_from_user_code() && !is_answer(error)
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
    let before = "`rebit_asked` has type `(";
    let behind = "::string::String)`, which does not implement";
    let (name, of) = from_label(json, Question::Move, before, behind)?;
    // Its crate is called `std` or `alloc`.
    Some((name, of.rsplit_once(", ")?.0.to_string()))
}

/// The variable that was asked for, and its type, where it was moved before.
fn moved_before(json: &serde_json::Value) -> Option<(String, String)> {
    let primary = spans(json).find(|span| span["is_primary"] == true)?;
    let name = Question::Move.variable(line_of(primary))?;
    let before = format!("`{name}` has type `");
    from_label(json, Question::Move, &before, "`, which does not implement")
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
        let moved_twice = |name: &str, of: &str, line: &str| {
            let label = format!(
                "move occurs because `{name}` has type `{of}`, which does not implement the `Copy` trait"
            );
            serde_json::json!({"spans": [
                {"label": label, "text": [{"text": line}]},
                {"label": "value used here after move", "is_primary": true, "text": [{"text": Question::Move.about("row")}]},
            ]})
        };
        let asked = "(ndarray::Dim<[usize; 1]>, std::string::String)";
        let json = moved_twice("rebit_asked", asked, &Question::Move.about("row"));
        let wanted = ("row".to_string(), "ndarray::Dim<[usize; 1]>".to_string());
        assert_eq!(from_move(&json), Some(wanted.clone()));
        assert_eq!(moved_before(&json), None);
        assert!(is_question(&json));
        let json = moved_twice("row", &wanted.1, "let row = m.row(1).to_owned();");
        assert_eq!(from_move(&json), None);
        assert_eq!(moved_before(&json), Some(wanted));
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
