//! Variables that cannot wait for later cells, and why: told in the same words, whoever finds out.

use evcxr::CompilationError;
use serde_json::Value;

/// Why a variable cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is a closure.
    Closure,
    /// It refers to a value that ends with the cell.
    Borrowed,
    /// It is of a type without a name.
    Unnamed(String),
    /// Nobody could find out its type.
    Unknown,
    /// Its type has a name, but none that a cell may use.
    Private(String),
}

/// A variable that cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotKept {
    /// Its name.
    pub name: String,
    /// Why.
    pub why: Why,
}

const OTHERWISE: &str = "or write braces `{ .. }` around the code that needs it";

impl NotKept {
    /// What is the matter.
    pub fn message(&self) -> String {
        let why = match &self.why {
            Why::Closure => "it is a closure, and the type of a closure has no name".to_string(),
            Why::Borrowed => "it holds a reference to a value that ends with this cell".to_string(),
            Why::Unnamed(of) if of.starts_with("impl ") => {
                "its type has no name: a function gives it as `impl ..`".to_string()
            }
            Why::Unnamed(of) => format!("its type has no name: `{of}`"),
            Why::Unknown => "its type could not be found out".to_string(),
            Why::Private(of) => format!("its type is private: `{of}`"),
        };
        format!(
            "the variable `{}` cannot be kept for later cells: {why}",
            self.name
        )
    }

    /// What can be done.
    pub fn help(&self) -> String {
        let name = &self.name;
        let remedy = match &self.why {
            Why::Closure => format!(
                "box it, `let {name}: Box<dyn Fn()> = Box::new({name});` with the arguments that it takes"
            ),
            Why::Borrowed => {
                "keep a value of its own (`.to_vec()`, `.to_string()`, `.collect::<Vec<_>>()`, `.clone()`)".into()
            }
            Why::Unnamed(of) if of.contains("Iter") || of.contains("iter::") => {
                "collect it (`.collect::<Vec<_>>()`), or box it (`Box<dyn Iterator<Item = ..>>`)".into()
            }
            Why::Unnamed(_) => "box it (`Box<dyn ..>` with a trait that it has), or collect an iterator (`.collect::<Vec<_>>()`)".into(),
            Why::Unknown => format!("write its type, `let {name}: .. = ..;`"),
            Why::Private(_) => format!("write its type by a public name, `let {name}: .. = ..;`"),
        };
        format!("{remedy}, {OTHERWISE}")
    }

    /// From a message of evcxr's.
    pub fn from_message(text: &str) -> Option<NotKept> {
        let mut quoted = text.split('`').skip(1).step_by(2);
        let (name, of) = (quoted.next()?.to_string(), quoted.next().unwrap_or(""));
        let why = if text.contains("is a closure, which cannot be persisted") {
            Why::Closure
        } else if text.contains("contains a reference with a non-static lifetime") {
            Why::Borrowed
        } else if text.contains("which cannot be persisted") {
            Why::of_type(of)
        } else if text.starts_with("Couldn't automatically determine type of variable") {
            Why::Unknown
        } else if text.starts_with("Failed to determine type of variable") {
            let of = text.split("suggested type ").nth(1)?;
            Why::Private(of.split(", but").next()?.to_string())
        } else {
            return None;
        };
        Some(NotKept { name, why })
    }

    /// From an error of rustc's: what is borrowed must last, because a variable is to be kept.
    pub fn from_error(error: &CompilationError) -> Option<NotKept> {
        if let Some(found) = NotKept::from_message(&error.message()) {
            return Some(found);
        }
        let name = kept_borrow(&error.json)?;
        Some(NotKept {
            name,
            why: Why::Borrowed,
        })
    }
}

impl Why {
    /// Why a variable of this type cannot be kept.
    pub fn of_type(of: &str) -> Why {
        match of.trim_start_matches('&').starts_with("{closure") || of == "{closure}" {
            true => Why::Closure,
            false => Why::Unnamed(without_places(of)),
        }
    }
}

/// A text in which closures are told without the place in a file that nobody has written.
pub fn without_places(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, place)) = rest.split_once("@src/lib.rs") {
        out += before;
        rest = place.find('}').map_or("", |end| &place[end..]);
    }
    out + rest
}

/// The variable for which a borrow would have to last for ever.
fn kept_borrow(json: &Value) -> Option<String> {
    const BORROWS: [&str; 6] = ["E0597", "E0716", "E0505", "E0506", "E0502", "E0521"];
    let code = json["code"]["code"].as_str()?;
    let spans = json["spans"].as_array()?;
    let lasts = |span: &&Value| {
        let label = span["label"].as_str().unwrap_or("");
        label.contains("for `'static`") || label.contains("lasts for `'static`")
    };
    let span = spans
        .iter()
        .filter(|_| BORROWS.contains(&code))
        .find(lasts)?;
    let line = span["text"][0]["text"].as_str()?;
    let start = span["text"][0]["highlight_start"].as_u64()? as usize;
    // The call that stores it, or the type that was found out for it.
    if let Some((_, rest)) = line.split_once("stringify!(") {
        return Some(rest.split(')').next()?.to_string());
    }
    if let Some((_, rest)) = line.split_once("evcxr_variable_store(") {
        return Some(rest.split(')').next()?.to_string());
    }
    let before: String = line.chars().take(start.saturating_sub(1)).collect();
    let binding = before.trim_end().strip_suffix(':')?;
    let name = binding.rsplit(' ').next()?;
    let of: String = line.chars().skip(start - 1).collect();
    // `let x: T = x;` is ours.
    of.contains(&format!("= {name};")).then(|| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn evcxrs_messages_are_read() {
        for (text, name, why) in [
            (
                "The variable `f` is a closure, which cannot be persisted.\nYou can however",
                "f",
                Why::Closure,
            ),
            (
                "The variable `p` contains a reference with a non-static lifetime so\ncan't be",
                "p",
                Why::Borrowed,
            ),
            (
                "Couldn't automatically determine type of variable `x`.\nPlease give it",
                "x",
                Why::Unknown,
            ),
            (
                "The variable `i` has type `impl Iterator<Item = u8>` which cannot be persisted.\nYou",
                "i",
                Why::Unnamed("impl Iterator<Item = u8>".into()),
            ),
            (
                "Failed to determine type of variable `w`. rustc suggested type a::b::C, but that's private.",
                "w",
                Why::Private("a::b::C".into()),
            ),
        ] {
            let found = NotKept::from_message(text).unwrap();
            assert_eq!((found.name.as_str(), &found.why), (name, &why));
            assert!(found.message().contains("cannot be kept") && found.help().contains("braces"));
        }
        assert_eq!(NotKept::from_message("cannot find value `x`"), None);
    }

    #[test]
    fn types_are_told_without_places() {
        let of = "std::iter::Map<std::slice::Iter<'_, i32>, {closure@src/lib.rs:3:9: 3:12}>";
        assert_eq!(
            Why::of_type(of),
            Why::Unnamed("std::iter::Map<std::slice::Iter<'_, i32>, {closure}>".into())
        );
        assert_eq!(Why::of_type("{closure@src/lib.rs:3:9: 3:12}"), Why::Closure);
    }

    #[test]
    fn a_borrow_that_would_have_to_last_names_its_variable() {
        let error = |line: &str, start: usize| {
            json!({"code": {"code": "E0597"}, "spans": [
                {"label": "borrowed value does not live long enough", "text": [{"text": line}]},
                {"label": "argument requires that `v` is borrowed for `'static`",
                 "text": [{"text": line, "highlight_start": start}]},
            ]})
        };
        for (line, start) in [
            (
                "evcxr_variable_store.put_variable::<T>(::core::stringify!(it), it);",
                1,
            ),
            ("evcxr_variable_store(it);", 1),
            (
                "let it = v.iter(); let it: std::slice::Iter<'static, i32> = it;",
                28,
            ),
            (
                "let it = v.iter(); let mut it: std::slice::Iter<'static, i32> = it;",
                32,
            ),
        ] {
            assert_eq!(
                kept_borrow(&error(line, start)),
                Some("it".into()),
                "{line}"
            );
        }
        assert_eq!(
            kept_borrow(&error("let it: Iter<'static, i32> = v.iter();", 9)),
            None
        );
    }
}
