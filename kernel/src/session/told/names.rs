//! What names mean in a cell: items of the user's cells, what they import, and the library's prelude.

use std::cell::{Cell, OnceCell};

use syn::{Item, UseTree};

use crate::language::index::{Entry, Index, Kind};
use crate::language::lexer;
use crate::session::in_the_way;

/// The names that a cell can use.
pub struct Names<'a> {
    /// Texts of items, newest first, and what is in those that somebody has asked about.
    items: Vec<(&'a str, OnceCell<Option<Item>>)>,
    /// The library.
    pub index: &'a Index,
    /// How many aliases the type that is read stands in: two may mean each other.
    pub depth: Cell<usize>,
}

/// What a name means.
pub enum Meaning<'a> {
    /// An item of the user's.
    Own(&'a Item),
    /// What the library calls so.
    Library(&'a Entry),
    /// What the standard library calls so.
    Std(String),
}

impl<'a> Names<'a> {
    /// Of these items, the newest first.
    pub fn new(items: Vec<&'a str>, index: &'a Index) -> Names<'a> {
        let items = items.into_iter().map(|text| (text, OnceCell::new()));
        Names {
            items: items.collect(),
            index,
            depth: Cell::new(0),
        }
    }

    /// Items in which a word stands, newest first; `None` for what is made by a macro, or cannot be read.
    pub fn with_word(&self, word: &str) -> impl Iterator<Item = Option<&Item>> {
        let with = self.items.iter().filter(move |item| item.0.contains(word));
        with.filter_map(move |of| match read(of) {
            Some(item) => Some(Some(item)),
            None => {
                let mut words = lexer::tokens(of.0).filter(|token| token.is_word());
                words
                    .any(|token| &of.0[token.range()] == word)
                    .then_some(None)
            }
        })
    }

    /// What a name means that stands alone, if it is of the kind (a function, or a type).
    pub fn meaning(&self, name: &str, kind: Kind) -> Option<Meaning<'_>> {
        for item in self.with_word(name) {
            // What a macro makes nobody knows.
            match item? {
                Item::Use(item) => {
                    let mut paths = Vec::new();
                    imports(&item.tree, &mut Vec::new(), &mut paths);
                    if let Some((path, _)) = paths.iter().find(|(_, own)| own == name) {
                        let is_std = path.first().is_some_and(|root| root == "std");
                        return match (is_std, path.last()) {
                            (true, Some(last)) => Some(Meaning::Std(last.clone())),
                            _ => self.library(path, kind).map(Meaning::Library),
                        };
                    }
                }
                item if in_the_way::names(item).iter().any(|own| own == name) => {
                    return Some(Meaning::Own(item));
                }
                _ => {}
            }
        }
        if self.has_glob() {
            return None;
        }
        let free = self.index.free().filter(|entry| entry.name == name);
        one(free.filter(|entry| entry.kind == kind)).map(Meaning::Library)
    }

    /// Whether the user has imported all of a module.
    fn has_glob(&self) -> bool {
        let mut imports = self.items.iter().filter(|item| item.0.contains("use "));
        imports.any(|item| {
            item.0.contains('*')
                && matches!(read(item), Some(Item::Use(item)) if has_glob(&item.tree))
        })
    }

    /// What the library calls by a path that begins with its name.
    fn library(&self, path: &[String], kind: Kind) -> Option<&'a Entry> {
        let (name, module) = path.split_last()?;
        let is_library = module.first().is_some_and(|first| first == "rebit");
        is_library
            .then(|| self.within(&module.join("::"), name, kind))
            .flatten()
    }

    /// What stands in the module that a path ends with.
    pub fn within(&self, module: &str, name: &str, kind: Kind) -> Option<&'a Entry> {
        let index: &'a Index = self.index;
        let named = index.within(module).filter(|entry| entry.name == name);
        one(named.filter(|entry| entry.kind == kind))
    }

    /// Whether no item of the user's speaks of a name, and the prelude does not have it.
    pub fn is_free(&self, name: &str) -> bool {
        let is_own = |item: Option<&Item>| {
            item.is_none_or(|item| in_the_way::names(item).iter().any(|own| own == name))
        };
        let is_class = |entry: &Entry| entry.name == name && entry.kind == Kind::Class;
        !self.with_word(name).any(is_own) && !self.index.free().any(is_class)
    }

    /// The module of the library that a path of a cell means.
    pub fn module(&self, path: &[String]) -> Option<String> {
        let (first, rest) = path.split_first()?;
        let rest: String = rest.iter().map(|name| format!("::{name}")).collect();
        for item in self.with_word(first) {
            match item? {
                Item::Mod(item) if item.ident == first => return None,
                Item::Use(item) => {
                    let mut paths = Vec::new();
                    imports(&item.tree, &mut Vec::new(), &mut paths);
                    if let Some((path, _)) = paths.iter().find(|(_, own)| own == first) {
                        let is_library = path.first().is_some_and(|root| root == "rebit");
                        return is_library.then(|| path.join("::") + &rest);
                    }
                }
                _ => {}
            }
        }
        let is_module = |entry: &Entry| entry.kind == Kind::Module && entry.name == *first;
        let is_known = first == "rebit" || self.index.free().any(is_module);
        is_known.then(|| first.clone() + &rest)
    }
}

/// What is in a text, unless that is made by a macro.
fn read<'n>((text, item): &'n (&str, OnceCell<Option<Item>>)) -> Option<&'n Item> {
    let item = item.get_or_init(|| syn::parse_str(text).ok()).as_ref();
    item.filter(|item| !matches!(item, Item::Macro(_) | Item::Verbatim(_)))
}

/// The only entry, under however many paths.
pub fn one<'a>(mut entries: impl Iterator<Item = &'a Entry>) -> Option<&'a Entry> {
    let first = entries.next()?;
    let same = |other: &Entry| (&other.signature, &other.docs) == (&first.signature, &first.docs);
    entries.all(same).then_some(first)
}

/// The last part of a path, and the names before it; `None` where those have arguments.
pub fn split(path: &syn::Path) -> Option<(&syn::PathSegment, Vec<String>)> {
    let last = path.segments.last()?;
    let before = path.segments.iter().take(path.segments.len() - 1);
    let plain = before.map(|part| part.arguments.is_none().then(|| part.ident.to_string()));
    Some((last, plain.collect::<Option<_>>()?))
}

/// Whether a word stands among tokens, at any depth.
pub fn mentions(tokens: proc_macro2::TokenStream, name: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        proc_macro2::TokenTree::Ident(word) => word == name,
        proc_macro2::TokenTree::Group(group) => mentions(group.stream(), name),
        _ => false,
    })
}

/// The paths that a `use` brings, with the names that they get.
fn imports(tree: &UseTree, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, String)>) {
    let mut add = |name: &syn::Ident, renamed: &syn::Ident| {
        let mut path = path.clone();
        if name != "self" {
            path.push(name.to_string());
        }
        let own = match renamed == "self" {
            true => path.last().cloned().unwrap_or_default(),
            false => renamed.to_string(),
        };
        found.push((path, own));
    };
    match tree {
        UseTree::Name(name) => add(&name.ident, &name.ident),
        UseTree::Rename(name) => add(&name.ident, &name.rename),
        UseTree::Glob(_) => {}
        UseTree::Path(inner) => {
            path.push(inner.ident.to_string());
            imports(&inner.tree, path, found);
            path.pop();
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                imports(tree, path, found);
            }
        }
    }
}

fn has_glob(tree: &UseTree) -> bool {
    match tree {
        UseTree::Path(path) => has_glob(&path.tree),
        UseTree::Group(group) => group.items.iter().any(has_glob),
        UseTree::Glob(_) => true,
        UseTree::Name(_) | UseTree::Rename(_) => false,
    }
}
