//! What of earlier cells stands in the way of what a cell defines.
//!
//! evcxr replaces an item when another of its name comes. What calls of macros make it does not see, and rustc then finds
//! both; its errors tell which of them an earlier cell has defined. That one goes.

use std::collections::BTreeSet;

use evcxr::CompilationError;
use quote::ToTokens;
use serde_json::Value;
use syn::spanned::Spanned;
use syn::{Item, UseTree};

use super::errors::local;
use super::unnamed::BLOCK;
use crate::workshop::session_files::MADE;

/// Errors about a name that is defined twice.
const NAMES: [&str; 5] = ["E0252", "E0254", "E0255", "E0260", "E0428"];
/// Errors about what is implemented twice.
const BLOCKS: [&str; 2] = ["E0119", "E0592"];
/// Errors about names that nobody has defined.
const UNKNOWN: [&str; 11] = [
    "E0404", "E0405", "E0412", "E0422", "E0423", "E0425", "E0432", "E0433", "E0531", "E0532",
    "E0574",
];

/// What stands in the way, by the names that evcxr knows it by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InTheWay {
    /// Calls of macros: our macros for them.
    pub calls: BTreeSet<String>,
    /// Items that are written out.
    pub items: BTreeSet<String>,
    /// Implementations, with the member that is in the way where it is not all of one.
    pub blocks: BTreeSet<(String, Option<String>)>,
}

impl InTheWay {
    /// What these errors name; the cell's own calls are known by `made`, and `is_own` tells the names of its items.
    pub fn of(
        errors: &[CompilationError],
        made: &[String],
        is_own: &dyn Fn(&str) -> bool,
        source: &str,
    ) -> InTheWay {
        let json: Vec<&Value> = errors.iter().map(|error| &error.json).collect();
        InTheWay::find(&json, made, is_own, source)
    }

    fn find(
        errors: &[&Value],
        made: &[String],
        is_own: &dyn Fn(&str) -> bool,
        source: &str,
    ) -> InTheWay {
        let mut found = InTheWay::default();
        let mut file = None;
        for error in errors {
            let code = error["code"]["code"].as_str().unwrap_or_default();
            if !NAMES.contains(&code) && !BLOCKS.contains(&code) {
                continue;
            }
            let mut is_made_here = false;
            let mut written = Vec::new();
            for span in error["spans"].as_array().into_iter().flatten() {
                match maker(span) {
                    Some(name) if made.iter().any(|own| own == name) => is_made_here = true,
                    Some(name) => drop(found.calls.insert(name.to_string())),
                    None => {
                        written.extend(local(span).and_then(|span| span["byte_start"].as_u64()))
                    }
                }
            }
            if !is_made_here || written.is_empty() {
                continue;
            }
            let file = file.get_or_insert_with(|| syn::parse_file(source).ok());
            let Some(file) = file else { continue };
            for byte in written {
                let names = owners(file, byte as usize);
                for name in names.into_iter().filter(|name| !is_own(name)) {
                    match (name.starts_with(BLOCK), code) {
                        (true, "E0592") => {
                            let message = error["message"].as_str().unwrap_or_default();
                            let member = message.split('`').nth(1).map(str::to_string);
                            found.blocks.insert((name, member));
                        }
                        (true, "E0119") => drop(found.blocks.insert((name, None))),
                        (false, _) if NAMES.contains(&code) => drop(found.items.insert(name)),
                        // What a type derives goes with it alone.
                        _ => {}
                    }
                }
            }
        }
        found
    }
}

/// Whether names are missed for which something else was taken out of the way: all were known when implementations
/// were compared.
pub fn took_names(before: &[CompilationError], after: &[CompilationError]) -> bool {
    let has = |errors: &[CompilationError], codes: &[&str]| {
        let mut codes_of = errors.iter().filter_map(CompilationError::code);
        codes_of.any(|code| codes.contains(&code))
    };
    has(before, &BLOCKS) && !has(before, &NAMES) && has(after, &UNKNOWN)
}

/// Our macro by which something was made.
fn maker(span: &Value) -> Option<&str> {
    let mut expansion = &span["expansion"];
    while expansion.is_object() {
        let name = expansion["macro_decl_name"].as_str().unwrap_or_default();
        if name.starts_with(MADE) {
            return Some(name.trim_end_matches('!'));
        }
        expansion = &expansion["span"]["expansion"];
    }
    None
}

/// The names by which evcxr knows the item at a byte of a file.
fn owners(file: &syn::File, byte: usize) -> Vec<String> {
    let mut items = file.items.iter();
    let Some(at) = items.position(|item| item.span().byte_range().contains(&byte)) else {
        return Vec::new();
    };
    match &file.items[at] {
        Item::Impl(_) | Item::ForeignMod(_) => {
            let before = at.checked_sub(1).map(|before| names(&file.items[before]));
            let names = before.unwrap_or_default();
            names
                .into_iter()
                .filter(|name| name.starts_with(BLOCK))
                .collect()
        }
        item => names(item),
    }
}

/// The names that an item has, or brings.
pub fn names(item: &Item) -> Vec<String> {
    let name = match item {
        Item::Struct(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Union(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Mod(item) => &item.ident,
        Item::Static(item) => &item.ident,
        Item::Const(item) if item.ident != "_" => &item.ident,
        Item::Macro(syn::ItemMacro {
            ident: Some(name), ..
        }) => name,
        Item::Use(item) => {
            let mut names = Vec::new();
            imported(&item.tree, &mut names);
            return names;
        }
        _ => return Vec::new(),
    };
    vec![name.to_string()]
}

fn imported(tree: &UseTree, names: &mut Vec<String>) {
    match tree {
        UseTree::Path(path) => imported(&path.tree, names),
        UseTree::Group(group) => group.items.iter().for_each(|tree| imported(tree, names)),
        UseTree::Name(name) => names.push(name.ident.to_string()),
        UseTree::Rename(name) => names.push(name.rename.to_token_stream().to_string()),
        UseTree::Glob(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SOURCE: &str = "#![allow(unused)]\nuse a::B;\nstruct Foo;\nconst REBIT_BLOCK_1: () = ();\n\
                          impl Foo {\nfn one() {}\n}\nfn f() {}\nrebit_made_1! {}\nrebit_made_2! {}\n";

    /// An error whose places are calls of our macros, or words of the source.
    fn error(code: &str, message: &str, places: &[&str]) -> Value {
        let spans = places.iter().map(|place| match SOURCE.find(place) {
            Some(byte) if !place.starts_with(MADE) => {
                json!({"file_name": "src/lib.rs", "byte_start": byte})
            }
            _ => json!({"file_name": "src/lib.rs", "byte_start": 0, "expansion": {
                "macro_decl_name": "make!", "span": {"file_name": "src/lib.rs", "expansion": {
                    "macro_decl_name": format!("{place}!"), "span": {"file_name": "src/lib.rs"}
                }}
            }}),
        });
        let spans: Vec<Value> = spans.collect();
        json!({"code": {"code": code}, "message": message, "spans": spans})
    }

    #[test]
    fn what_an_earlier_cell_has_defined_is_in_the_way() {
        let (here, before) = ("rebit_made_1", "rebit_made_2");
        let find = |error: Value, own: &str| {
            let found = InTheWay::find(&[&error], &[here.into()], &|name| name == own, SOURCE);
            let blocks = found.blocks.into_iter();
            let blocks = blocks.map(|(name, member)| name + " " + &member.unwrap_or_default());
            let names: Vec<String> = found
                .calls
                .into_iter()
                .chain(found.items)
                .chain(blocks)
                .collect();
            names.join(", ")
        };
        let twice = "the name `Foo` is defined multiple times";
        for (code, places, own, wanted) in [
            // Made here, and by an earlier call or by hand.
            ("E0428", [here, before], "", before),
            ("E0428", [here, "struct Foo"], "", "Foo"),
            ("E0428", ["fn f()", here], "", "f"),
            ("E0255", [here, "a::B"], "", "B"),
            // Written here, and made before.
            ("E0428", ["struct Foo", before], "Foo", before),
            // Twice in one cell.
            ("E0428", [here, "struct Foo"], "Foo", ""),
            ("E0428", [here, here], "", ""),
            // What it implements.
            ("E0592", [here, "fn one"], "", "REBIT_BLOCK_1 Foo"),
            ("E0119", ["impl Foo", here], "", "REBIT_BLOCK_1 "),
            ("E0119", ["impl Foo", here], "REBIT_BLOCK_1", ""),
            ("E0119", ["struct Foo", here], "", ""),
            ("E0308", ["struct Foo", here], "", ""),
        ] {
            let found = find(error(code, twice, &places), own);
            assert_eq!(found, wanted, "{code} {places:?} {own}");
        }
    }
}
