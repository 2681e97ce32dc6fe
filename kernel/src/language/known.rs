//! Completion and help from what is known: variables, items of earlier cells, the library's index.
//!
//! This answers in a moment and always; the analyser, once it runs, answers better.

use std::collections::BTreeMap;

use super::index::{Entry, Index, Kind};
use super::lexer::{self, KEYWORDS, names};
use super::place::{self, Context, Place};
use super::{Completion, Completions, commands};
use crate::output::Bundle;

/// What is known about the session between two cells.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Variables with their types.
    pub variables: Vec<(String, String)>,
    /// The session as source text.
    pub preamble: String,
}

/// Names of the standard prelude, and its macros.
const STANDARD: &[(&str, Kind)] = &[
    ("Box", Kind::Class),
    ("Err", Kind::Instance),
    ("None", Kind::Instance),
    ("Ok", Kind::Instance),
    ("Option", Kind::Class),
    ("Result", Kind::Class),
    ("Some", Kind::Instance),
    ("String", Kind::Class),
    ("Vec", Kind::Class),
    ("assert!", Kind::Macro),
    ("assert_eq!", Kind::Macro),
    ("assert_ne!", Kind::Macro),
    ("dbg!", Kind::Macro),
    ("eprintln!", Kind::Macro),
    ("format!", Kind::Macro),
    ("panic!", Kind::Macro),
    ("print!", Kind::Macro),
    ("println!", Kind::Macro),
    ("vec!", Kind::Macro),
    ("write!", Kind::Macro),
    ("writeln!", Kind::Macro),
];

/// What may stand at a place: text to its kind and label. A map keeps the list sorted and without
/// doubles; what is offered first wins.
struct Found<'a> {
    typed: &'a str,
    names: BTreeMap<String, (String, String)>,
}

impl Found<'_> {
    fn offer(&mut self, text: &str, kind: &str, label: &str) {
        if !text.is_empty() && text.starts_with(self.typed) {
            self.names
                .entry(text.to_string())
                .or_insert((kind.to_string(), label.to_string()));
        }
    }

    fn entries<'e>(&mut self, entries: impl Iterator<Item = &'e Entry>) {
        for entry in entries {
            self.offer(&inserted(entry), entry.kind.as_str(), &entry.signature);
        }
    }

    /// Names in the user's own code, except the one that is being typed.
    fn names_in(&mut self, text: &str) {
        let typed = self.typed;
        for word in names(text).filter(|word| word.len() > 1 && *word != typed) {
            self.offer(word, "instance", word);
        }
    }
}

/// Everything that may stand at byte `cursor`.
pub fn complete(known: &Known, index: &Index, code: &str, cursor: usize) -> Completions {
    let place = place::at(code, cursor);
    let mut found = Found {
        typed: &place.typed,
        names: BTreeMap::new(),
    };
    match &place.context {
        Context::Command => {
            for (name, help) in commands::LIST {
                found.offer(name, "magic", help);
            }
        }
        Context::Member(variable) => {
            if let Some(kind) = variable_type(known, variable) {
                found.entries(index.of(last_segment(&kind)));
            }
        }
        Context::Path(path) => {
            let last = path.rsplit("::").next().unwrap_or(path);
            found.entries(index.of(last));
            found.entries(index.within(path));
        }
        Context::Name => {
            for (name, kind) in &known.variables {
                found.offer(name, "instance", kind);
            }
            found.entries(index.free());
            for keyword in KEYWORDS {
                found.offer(keyword, "keyword", keyword);
            }
            for (name, kind) in STANDARD {
                found.offer(name, kind.as_str(), name);
            }
            found.names_in(&known.preamble);
            found.names_in(code);
        }
    }
    let items = found
        .names
        .into_iter()
        .map(|(text, (kind, label))| Completion { text, label, kind });
    Completions {
        start: place.start,
        end: place.end.max(cursor),
        items: items.collect(),
    }
}

/// Help for the name at byte `cursor`: signature and documentation as text and Markdown.
pub fn inspect(known: &Known, index: &Index, code: &str, cursor: usize) -> Option<Bundle> {
    describe(known, index, &asked(code, cursor))
}

/// Whether the word at byte `cursor` is a command.
pub fn is_command(code: &str, cursor: usize) -> bool {
    asked(code, cursor).context == Context::Command
}

/// Whether the word at byte `cursor` is a type of the library, and not one of the user's own.
pub fn is_library_type(known: &Known, index: &Index, code: &str, cursor: usize) -> bool {
    let place = asked(code, cursor);
    let own = |text: &str| {
        let mut before = "";
        lexer::tokens(text).filter(|t| !t.is_trivia()).any(|token| {
            let word = &text[token.range()];
            let defines = matches!(before, "struct" | "enum" | "union" | "trait" | "type");
            before = word;
            defines && word == place.word
        })
    };
    let entry = match &place.context {
        Context::Name | Context::Path(_) => index.named(&place.word),
        _ => None,
    };
    entry.is_some_and(|entry| entry.kind == Kind::Class) && !own(&known.preamble) && !own(code)
}

/// The place that somebody asks about.
fn asked(code: &str, cursor: usize) -> Place {
    let place = place::at(code, cursor);
    match code.get(..cursor) {
        // Right behind `name(` or `name!(` the reader means `name`.
        Some(before) if place.word.is_empty() => {
            place::at(code, before.trim_end_matches(['(', '!', ' ']).len())
        }
        _ => place,
    }
}

/// Help for a name given as text (`quant::round`, `a.shape`, `println`).
pub fn describe_name(known: &Known, index: &Index, name: &str) -> Option<Bundle> {
    let name = name.trim().trim_end_matches(['!', '(', ')', ';']);
    describe(known, index, &place::at(name, name.len()))
}

fn describe(known: &Known, index: &Index, place: &Place) -> Option<Bundle> {
    if place.word.is_empty() {
        return None;
    }
    let entry = match &place.context {
        Context::Command => {
            let (name, help) = commands::LIST.iter().find(|(n, _)| *n == place.word)?;
            return Some(card(name, help));
        }
        Context::Member(variable) => {
            let owner = variable_type(known, variable);
            let member = |e: &&Entry| e.name == place.word;
            owner
                .and_then(|o| index.of(last_segment(&o)).find(member))
                .or_else(|| only(index.entries.iter().filter(|e| e.owner.is_some()), member))
        }
        Context::Path(path) => {
            let last = path.rsplit("::").next().unwrap_or(path);
            let named = |e: &&Entry| e.name == place.word;
            let within = || index.within(path).filter(named);
            index
                .of(last)
                .find(named)
                .or_else(|| within().min_by_key(|e| e.kind == Kind::Module))
        }
        Context::Name => {
            if let Some(kind) = variable_type(known, &place.word) {
                return Some(card(&format!("let {}: {kind}", place.word), ""));
            }
            index.named(&place.word)
        }
    }?;
    Some(card(&entry.signature, &documentation(index, entry)))
}

/// What is written about an entry; for a type also what belongs to it.
fn documentation(index: &Index, entry: &Entry) -> String {
    match entry.kind {
        Kind::Class => format!("{}\n\n{}", entry.docs, list_of_members(index, entry)),
        _ => entry.docs.clone(),
    }
    .trim()
    .to_string()
}

fn list_of_members(index: &Index, entry: &Entry) -> String {
    let lines = index.of(&entry.name).map(|member| {
        let first = member.docs.lines().next().unwrap_or_default();
        let signature: Vec<&str> = member.signature.split_whitespace().collect();
        format!("- `{}` {first}", signature.join(" "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The only entry that fits; none when several do.
fn only<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    fits: impl Fn(&&Entry) -> bool,
) -> Option<&'a Entry> {
    let mut fitting = entries.filter(fits);
    fitting.next().filter(|_| fitting.next().is_none())
}

fn card(signature: &str, docs: &str) -> Bundle {
    let markdown = format!("```rust\n{signature}\n```\n\n{docs}");
    Bundle::from([
        (
            "text/plain".to_string(),
            format!("{signature}\n\n{docs}").trim_end().into(),
        ),
        ("text/markdown".to_string(), markdown.trim_end().into()),
    ])
}

fn inserted(entry: &Entry) -> String {
    match entry.kind {
        Kind::Macro => format!("{}!", entry.name),
        _ => entry.name.clone(),
    }
}

fn variable_type(known: &Known, name: &str) -> Option<String> {
    known
        .variables
        .iter()
        .find(|(variable, _)| variable == name)
        .map(|(_, kind)| kind.clone())
}

/// `Range` of `&mut demo::quant::Range<f32>`.
fn last_segment(kind: &str) -> &str {
    let bare = kind.trim_start_matches(['&', ' ']);
    let bare = bare.strip_prefix("mut ").unwrap_or(bare);
    let head = bare.split('<').next().unwrap_or(bare).trim();
    head.rsplit("::").next().unwrap_or(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, owner: Option<&str>, kind: Kind, signature: &str) -> Entry {
        Entry {
            name: name.into(),
            module: "rebit::prelude".into(),
            owner: owner.map(str::to_string),
            kind,
            signature: signature.into(),
            docs: "Says more.".into(),
            is_copy: false,
        }
    }

    fn world() -> (Known, Index) {
        let known = Known {
            variables: vec![("images".into(), "&rebit::quant::Range<f32>".into())],
            preamble: "fn own_function() {}".into(),
        };
        let entries = vec![
            entry("imread", None, Kind::Function, "fn imread()"),
            entry("claim", None, Kind::Macro, "macro claim!"),
            entry("relu", None, Kind::Module, "mod relu"),
            entry("relu", None, Kind::Function, "fn relu(x: f32)"),
            entry("Range", None, Kind::Class, "pub struct Range"),
            entry(
                "width",
                Some("Range"),
                Kind::Function,
                "fn width(&self) -> f32",
            ),
        ];
        (known, Index { entries })
    }

    fn texts(code: &str) -> Vec<String> {
        let (known, index) = world();
        let found = complete(&known, &index, code, code.len());
        found.items.into_iter().map(|item| item.text).collect()
    }

    #[test]
    fn names_come_from_variables_library_items_and_the_language() {
        assert_eq!(texts("im"), ["images", "impl", "imread"]);
        assert_eq!(texts("own_f"), ["own_function"]);
        assert_eq!(texts("let counter = 1; cou"), ["counter"]);
        assert_eq!(texts("printl"), ["println!"]);
        assert_eq!(texts("cla"), ["claim!"]);
    }

    #[test]
    fn members_and_paths_are_looked_up_by_their_owner() {
        assert_eq!(texts("images.w"), ["width"]);
        assert_eq!(texts("Range::"), ["width"]);
        assert_eq!(texts("prelude::"), ["Range", "claim!", "imread", "relu"]);
        assert!(texts("unknown.").is_empty());
        assert_eq!(texts(":he"), [":help"]);
    }

    #[test]
    fn help_shows_types_signatures_and_documentation() {
        let (known, index) = world();
        let plain = |code: &str| {
            let found = inspect(&known, &index, code, code.len())?;
            Some(found["text/plain"].as_str()?.to_string())
        };
        assert_eq!(
            plain("images").unwrap(),
            "let images: &rebit::quant::Range<f32>"
        );
        assert_eq!(plain("imread(").unwrap(), "fn imread()\n\nSays more.");
        assert_eq!(
            plain("images.width").unwrap(),
            "fn width(&self) -> f32\n\nSays more."
        );
        assert!(plain("nothing_of_the_kind").is_none());
        for asked in ["relu", "relu(", "prelude::relu"] {
            assert_eq!(
                plain(asked).unwrap(),
                "fn relu(x: f32)\n\nSays more.",
                "{asked}"
            );
        }
        let own = "struct Range(u8); Range";
        assert!(is_library_type(&known, &index, "Range", 5));
        assert!(!is_library_type(&known, &index, own, own.len()));
        assert!(!is_library_type(&known, &index, "relu", 4));
        let of_type = plain("Range").unwrap();
        assert!(
            of_type.ends_with("\n- `fn width(&self) -> f32` Says more."),
            "{of_type}"
        );
        let named = describe_name(&known, &index, "claim!").unwrap();
        assert_eq!(
            named["text/markdown"],
            "```rust\nmacro claim!\n```\n\nSays more."
        );
    }
}
