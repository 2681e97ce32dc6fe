//! Statics of the user's items, of which a session has one each.
//!
//! Every cell is compiled with all items of the session, and so would have statics of its own: a counter would begin at
//! nought in each cell. Here the cell that defines a static exports it, and later cells declare it as a foreign one and
//! are linked to that cell. What is defined again (or has another type) begins anew.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use quote::ToTokens;
use sha2::{Digest, Sha256};
use syn::spanned::Spanned;
use syn::visit::Visit;

use super::items::{Definition, Items};

/// What symbols of statics begin with.
pub const SYMBOL: &str = "rebit_static_";

/// A cell whose statics are shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// Its source.
    pub cell: String,
    /// Statics that it defines, by symbol.
    pub defines: BTreeSet<String>,
    /// The libraries of earlier cells that define the others.
    pub providers: BTreeSet<String>,
}

/// Shares the statics of a cell with those that `known` libraries define, except for the items in `fresh`; `None` when
/// it has no statics.
pub fn shared(
    cell: &str,
    known: &BTreeMap<String, String>,
    fresh: &HashSet<String>,
) -> Option<Shared> {
    if !cell.contains("static ") {
        return None;
    }
    let file = syn::parse_file(cell).ok()?;
    let items = Items::of(&file);
    let mut finder = Finder::default();
    for item in &file.items {
        let generated = matches!(item, syn::Item::Fn(item)
            if item.sig.ident.to_string().starts_with("run_user_code_") || item.sig.ident == "evcxr_analysis_wrapper");
        if !generated {
            finder.visit_item(item);
        }
    }
    let mut shared = Shared::default();
    let mut done = 0;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for found in finder.found {
        let count = seen.entry(found.path.join("::")).or_default();
        *count += 1;
        let symbol = symbol(&found, *count, &items);
        shared.cell += &cell[done..found.bytes.start];
        let text = &cell[found.bytes.clone()];
        let is_fresh = found.path.first().is_some_and(|name| fresh.contains(name));
        match known.get(&symbol).filter(|_| !is_fresh) {
            Some(provider) => {
                shared.cell += &declaration(&found, &symbol, text);
                shared.providers.insert(provider.clone());
            }
            None => {
                let attribute = format!("#[unsafe(export_name = {symbol:?})] ");
                let at = before_line(&shared.cell).unwrap_or(shared.cell.len());
                shared.cell.insert_str(at, &attribute);
                shared.cell += text;
                shared.defines.insert(symbol);
            }
        }
        done = found.bytes.end;
    }
    shared.cell += &cell[done..];
    (done > 0).then_some(shared)
}

/// Where an attribute of what begins behind a text moves no column: at the end of the line before it.
fn before_line(text: &str) -> Option<usize> {
    let at = text.trim_end_matches([' ', '\t']).strip_suffix('\n')?.len();
    let line = text[..at].lines().last().unwrap_or_default();
    // It would be a part of a comment.
    (!line.contains("//") && !line.contains('"')).then_some(at)
}

/// A static of an earlier cell, on as many lines.
fn declaration(found: &Static, symbol: &str, text: &str) -> String {
    let Static { item, .. } = found;
    let (safe, mutable) = match item.mutability {
        syn::StaticMutability::Mut(_) => ("", "mut "),
        _ => ("safe ", ""),
    };
    let (seen, name, of) = (
        item.vis.to_token_stream(),
        &item.ident,
        item.ty.to_token_stream(),
    );
    let lines = "\n".repeat(text.matches('\n').count());
    format!(
        "#[allow(improper_ctypes)] unsafe extern \"C\" {{ #[link_name = {symbol:?}] \
         {seen} {safe}static {mutable}{name}: {of}; }}{lines}"
    )
}

/// The name of a static's symbol: another one for another definition.
fn symbol(found: &Static, count: usize, items: &Items) -> String {
    let mut hash = Sha256::new();
    let mut feed = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    feed(&found.path.join("::"));
    feed(&count.to_string());
    feed(&Definition::of(found.item.to_token_stream()).text);
    for text in items.below(&Definition::of(found.item.ty.to_token_stream())) {
        feed(&text);
    }
    let digits = hash.finalize();
    let digits: String = digits[..10].iter().map(|b| format!("{b:02x}")).collect();
    format!("{SYMBOL}{digits}")
}

/// A static in the user's items.
struct Static {
    /// The names of what it stands in, from outside, and its own.
    path: Vec<String>,
    item: syn::ItemStatic,
    bytes: Range<usize>,
}

#[derive(Default)]
struct Finder {
    path: Vec<String>,
    found: Vec<Static>,
}

impl Finder {
    fn inside(&mut self, name: String, visit: impl FnOnce(&mut Finder)) {
        self.path.push(name);
        visit(self);
        self.path.pop();
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.inside(item.ident.to_string(), |this| {
            syn::visit::visit_item_mod(this, item)
        });
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.inside(item.sig.ident.to_string(), |this| {
            syn::visit::visit_item_fn(this, item)
        });
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        let name = item.sig.ident.to_string();
        self.inside(name, |this| syn::visit::visit_impl_item_fn(this, item));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        let name = item.sig.ident.to_string();
        self.inside(name, |this| syn::visit::visit_trait_item_fn(this, item));
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let mut header = item.clone();
        header.items.clear();
        header.attrs.clear();
        let name = header.to_token_stream().to_string();
        self.inside(name, |this| syn::visit::visit_item_impl(this, item));
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.inside(item.ident.to_string(), |this| {
            syn::visit::visit_item_trait(this, item)
        });
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        let exported = ["no_mangle", "export_name", "link_section", "unsafe"];
        if item
            .attrs
            .iter()
            .any(|attr| exported.iter().any(|name| attr.path().is_ident(name)))
        {
            return;
        }
        let mut path = self.path.clone();
        path.push(item.ident.to_string());
        self.found.push(Static {
            path,
            item: item.clone(),
            bytes: item.span().byte_range(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: &str = "pub static COUNT: AtomicUsize =\n AtomicUsize::new(0);\n\
                        fn next() -> u8 { static mut N: u8 = 0; 1 }\n\
                        mod m { pub(crate) static F: Of = Of(1); }\nstruct Of(u8);\n\
                        pub extern \"C\" fn run_user_code_1() { static OWN: u8 = 1; }\n";

    #[test]
    fn the_first_cell_defines_and_later_ones_declare() {
        let first = shared(CELL, &BTreeMap::new(), &HashSet::new()).unwrap();
        assert_eq!((first.defines.len(), first.providers.len()), (3, 0));
        assert_eq!(
            first
                .cell
                .matches("#[unsafe(export_name = \"rebit_static_")
                .count(),
            3
        );
        // No column moves of one that begins a line.
        let later = shared(
            "fn f() {}\n  static A: u8 = 1;",
            &BTreeMap::new(),
            &HashSet::new(),
        );
        assert!(later.unwrap().cell.ends_with(")] \n  static A: u8 = 1;"));
        let known = first
            .defines
            .iter()
            .map(|symbol| (symbol.clone(), "a.so".to_string()));
        let known: BTreeMap<_, _> = known.collect();
        let later = shared(CELL, &known, &HashSet::new()).unwrap();
        assert_eq!((later.defines.len(), later.providers.len()), (0, 1));
        assert_eq!(later.cell.lines().count(), CELL.lines().count());
        for words in [
            "pub safe static COUNT: AtomicUsize; }\n",
            "  static mut N: u8; } 1 }",
            "pub (crate) safe static F: Of; } }",
            "static OWN: u8 = 1;",
        ] {
            assert!(later.cell.contains(words), "{words}\n{}", later.cell);
        }
        syn::parse_file(&later.cell).unwrap();
    }

    #[test]
    fn what_is_defined_again_begins_anew() {
        let defines = |cell: &str| {
            shared(cell, &BTreeMap::new(), &HashSet::new())
                .unwrap()
                .defines
        };
        let known = |cell: &str| {
            defines(cell)
                .into_iter()
                .map(|s| (s, "a".to_string()))
                .collect()
        };
        let again = shared(CELL, &known(CELL), &HashSet::from(["COUNT".to_string()])).unwrap();
        assert_eq!(again.defines.len(), 1);
        let other = CELL.replace("struct Of(u8);", "struct Of(u16);");
        assert_eq!(
            shared(&other, &known(CELL), &HashSet::new())
                .unwrap()
                .defines
                .len(),
            1
        );
        assert_eq!(shared("fn f() {}", &BTreeMap::new(), &HashSet::new()), None);
    }
}
