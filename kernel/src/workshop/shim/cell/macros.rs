//! Macros of the user's: known wherever they stand, before those of glob imports, and called where they make items.
//!
//! evcxr writes the items of a session in no order, and a macro is known by its bare name only behind its definition.

use syn::Item;

use crate::workshop::session_files::{GONE, MADE};

/// Imports and calls that stand at the end of a cell.
pub fn beside(cell: &str) -> String {
    if !cell.contains("macro_rules!") {
        return String::new();
    }
    let Ok(file) = syn::parse_file(cell) else {
        return String::new();
    };
    let mut text = String::new();
    for item in &file.items {
        let Item::Macro(item) = item else { continue };
        let Some(name) = item
            .ident
            .as_ref()
            .filter(|_| item.mac.path.is_ident("macro_rules"))
        else {
            continue;
        };
        let is_exported = item
            .attrs
            .iter()
            .any(|attr| attr.path().is_ident("macro_export"));
        if item.mac.tokens.to_string().contains(GONE) {
            continue;
        }
        if name.to_string().starts_with(MADE) {
            text += &format!("{name}! {{}}\n");
        } else if !is_exported {
            text += &format!("#[allow(unused_imports)] use {name};\n");
        }
    }
    match text.is_empty() || cell.ends_with('\n') {
        true => text,
        false => format!("\n{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros_are_imported_or_called() {
        let cell = "macro_rules! a { () => { 1 } }\n#[macro_export] macro_rules! b { () => {} }\n\
                    macro_rules! rebit_made_1 { () => { make!(A); } }\nfn f() { macro_rules! c { () => {} } }\n\
                    macro_rules! Gone { () => { rebit_gone } }\n";
        let wanted = "#[allow(unused_imports)] use a;\nrebit_made_1! {}\n";
        assert_eq!(beside(cell), wanted);
        assert_eq!(beside("fn f() {}"), "");
    }
}
