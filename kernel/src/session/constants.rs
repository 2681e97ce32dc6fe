//! Names that mean a constant in a pattern: `let None = x else { .. }` binds nothing.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Fields, Item, UseTree};

/// The constants that cells have defined, or imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constants {
    names: BTreeSet<String>,
    /// Variants without fields, by their type.
    variants: BTreeMap<String, BTreeSet<String>>,
    /// Types whose variants are imported, all or one.
    opened: BTreeSet<(String, Option<String>)>,
}

impl Constants {
    /// Notes an item.
    pub fn read(&mut self, item: &Item) {
        match item {
            Item::Const(item) => {
                self.names.insert(item.ident.to_string());
            }
            Item::Static(item) => {
                self.names.insert(item.ident.to_string());
            }
            Item::Struct(item) if matches!(item.fields, Fields::Unit) => {
                self.names.insert(item.ident.to_string());
            }
            Item::Enum(item) => {
                let units = item
                    .variants
                    .iter()
                    .filter(|v| matches!(v.fields, Fields::Unit));
                let units = units.map(|variant| variant.ident.to_string());
                self.variants
                    .insert(item.ident.to_string(), units.collect());
            }
            Item::Use(item) => self.import(&item.tree, ""),
            _ => {}
        }
    }

    fn import(&mut self, tree: &UseTree, of: &str) {
        match tree {
            UseTree::Path(path) => self.import(&path.tree, &path.ident.to_string()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, of)),
            UseTree::Glob(_) => {
                self.opened.insert((of.to_string(), None));
            }
            UseTree::Name(name) => {
                let name = name.ident.to_string();
                if is_shouted(&name) {
                    self.names.insert(name.clone());
                }
                self.opened.insert((of.to_string(), Some(name)));
            }
            UseTree::Rename(renamed) => {
                let name = renamed.rename.to_string();
                if is_shouted(&name) {
                    self.names.insert(name);
                }
            }
        }
    }

    /// Adds those of a later cell.
    pub fn add(&mut self, later: &Constants) {
        self.names.extend(later.names.iter().cloned());
        let variants = later.variants.iter();
        self.variants
            .extend(variants.map(|(of, names)| (of.clone(), names.clone())));
        self.opened.extend(later.opened.iter().cloned());
    }

    /// What stands in front of a name, so that it cannot be a variable's; `None` for a name that is one.
    pub fn path(name: &str, cells: &[Option<&Constants>]) -> Option<&'static str> {
        let cells = || cells.iter().flatten();
        let has_variant = |of: &str| {
            let mut variants = cells().filter_map(|cell| cell.variants.get(of));
            variants.any(|names| names.contains(name))
        };
        let is_opened = |(of, one): &(String, Option<String>)| {
            one.as_ref().is_none_or(|one| one == name) && has_variant(of)
        };
        let is_own =
            cells().any(|cell| cell.names.contains(name) || cell.opened.iter().any(is_opened));
        match name {
            _ if is_own => Some("self::"),
            "None" => Some("::core::option::Option::"),
            _ => None,
        }
    }
}

/// Whether a name is written as constants are.
fn is_shouted(name: &str) -> bool {
    name.len() > 1 && !name.contains(char::is_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_told_from_variables() {
        let mut earlier = Constants::default();
        let mut here = Constants::default();
        let read = |into: &mut Constants, code: &str| {
            let file: syn::File = syn::parse_str(code).unwrap();
            file.items.iter().for_each(|item| into.read(item));
        };
        read(
            &mut earlier,
            "enum E { A, B(u8) } enum F { C, D } struct U; struct T(u8); const N: u8 = 1;",
        );
        read(
            &mut here,
            "use E::*; use F::C; use std::f64::consts::{PI, E as EULER}; use a::Name;",
        );
        let path = |name: &str| Constants::path(name, &[Some(&here), None, Some(&earlier)]);
        for name in ["A", "C", "U", "N", "PI", "EULER"] {
            assert_eq!(path(name), Some("self::"), "{name}");
        }
        for name in ["B", "D", "T", "Name", "X", "x"] {
            assert_eq!(path(name), None, "{name}");
        }
        assert_eq!(path("None"), Some("::core::option::Option::"));
    }
}
