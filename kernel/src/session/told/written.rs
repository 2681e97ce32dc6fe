//! Types as they are written, in a cell or in the library.

use syn::Item;
use syn::parse::{Parse, ParseStream, Parser};

use super::kind::{Home, Type};
use super::names::{Meaning, Names, one, split};
use crate::language::index::{Entry, Index, Kind};

/// Aliases in aliases that are looked through.
const DEPTH: usize = 8;

/// Where a signature stands.
#[derive(Clone, Copy)]
pub enum Scope<'a> {
    /// In a cell, perhaps in an implementation for this type.
    Cell(Option<&'a Type>),
    /// In this module of the library, perhaps in an implementation.
    Library(&'a str, Option<&'a Type>),
}

impl<'a> Names<'a> {
    /// The library's type of this name, that of a module where several have it.
    fn class(&self, name: &str, module: &str) -> Option<&'a Entry> {
        let index: &'a Index = self.index;
        let named = || {
            let free = index.entries.iter().filter(|entry| entry.owner.is_none());
            free.filter(|entry| entry.name == name && entry.kind == Kind::Class)
        };
        one(named()).or_else(|| one(named().filter(|entry| entry.module == module)))
    }

    /// A type of the library, by the shortest path to it.
    fn of_library(&self, entry: &Entry, args: Vec<Type>) -> Option<Type> {
        let (required, all) = parameters(entry)?;
        if args.len() < required || args.len() > all {
            return None;
        }
        if all == 0
            && let Some(of) = self.behind(entry)
        {
            return Some(of);
        }
        let same = self.index.entries.iter().filter(|other| {
            other.owner.is_none()
                && (&other.name, other.kind) == (&entry.name, entry.kind)
                && (&other.signature, &other.docs) == (&entry.signature, &entry.docs)
        });
        let module = same.map(|same| &same.module);
        let module = module.min_by_key(|m| (m.matches("::").count(), m.ends_with("::prelude")))?;
        Some(Type::Named {
            home: Home::Library(module.clone()),
            name: entry.name.clone(),
            args,
        })
    }

    /// What an alias of the library stands for, where that is known.
    fn behind(&self, entry: &Entry) -> Option<Type> {
        let alias: syn::ItemType = syn::parse_str(&entry.signature).ok()?;
        self.deeper(|| self.read(&alias.ty, Scope::Library(&entry.module, None)))
    }

    /// Reads what an alias stands for.
    fn deeper(&self, read: impl FnOnce() -> Option<Type>) -> Option<Type> {
        let depth = self.depth.get();
        if depth == DEPTH {
            return None;
        }
        self.depth.set(depth + 1);
        let of = read();
        self.depth.set(depth);
        of
    }

    /// A type as it is written somewhere; `None` where what it means is not sure.
    pub fn read(&self, of: &syn::Type, scope: Scope<'_>) -> Option<Type> {
        match of {
            syn::Type::Paren(inner) => self.read(&inner.elem, scope),
            syn::Type::Group(inner) => self.read(&inner.elem, scope),
            syn::Type::Tuple(tuple) => {
                let parts = tuple.elems.iter().map(|part| self.read(part, scope));
                parts.collect::<Option<_>>().map(Type::Tuple)
            }
            syn::Type::Array(array) => match &array.len {
                syn::Expr::Lit(syn::ExprLit {
                    lit: syn::Lit::Int(count),
                    ..
                }) => {
                    let of = self.read(&array.elem, scope)?;
                    Some(Type::Array(Box::new(of), count.base10_parse().ok()?))
                }
                _ => None,
            },
            syn::Type::Path(path) if path.qself.is_none() => self.read_path(&path.path, scope),
            syn::Type::Reference(to) => {
                let lasts = to.lifetime.as_ref().is_some_and(|l| l.ident == "static");
                let is_text =
                    matches!(&*to.elem, syn::Type::Path(path) if path.path.is_ident("str"));
                (lasts && is_text && to.mutability.is_none()).then_some(Type::Text)
            }
            _ => None,
        }
    }

    /// The same of a path.
    pub fn read_path(&self, path: &syn::Path, scope: Scope<'_>) -> Option<Type> {
        let (last, before) = split(path)?;
        let name = last.ident.to_string();
        let args = match &last.arguments {
            syn::PathArguments::None => Vec::new(),
            syn::PathArguments::AngleBracketed(args) => {
                let args = args.args.iter().map(|arg| match arg {
                    syn::GenericArgument::Type(of) => self.read(of, scope),
                    _ => None,
                });
                args.collect::<Option<_>>()?
            }
            syn::PathArguments::Parenthesized(_) => return None,
        };
        let is_std = ["std", "core", "alloc"].contains(&before.first().map_or("", String::as_str));
        match scope {
            _ if is_std => Type::std(&name, args),
            Scope::Cell(owner) | Scope::Library(_, owner) if name == "Self" => owner.cloned(),
            // A path inside of the library begins where nobody sees.
            Scope::Library(module, _) => match (self.class(&name, module), &before[..]) {
                (Some(entry), []) => self.of_library(entry, args),
                (Some(entry), [first, ..]) if self.is_inside(first) => self.of_library(entry, args),
                (None, []) => Type::std(&name, args),
                _ => None,
            },
            Scope::Cell(_) if before.is_empty() => {
                match self.meaning(&name, Kind::Class) {
                    Some(Meaning::Own(item)) if args.is_empty() => self.own(item, &name),
                    Some(Meaning::Own(_)) => None,
                    Some(Meaning::Library(entry)) => self.of_library(entry, args),
                    Some(Meaning::Std(name)) => Type::std(&name, args),
                    // Nobody else has the name.
                    None if self.is_free(&name) => Type::std_prelude(&name, args),
                    None => None,
                }
            }
            Scope::Cell(_) => {
                let entry = self.within(&self.module(&before)?, &name, Kind::Class)?;
                self.of_library(entry, args)
            }
        }
    }

    /// A type of the user's without parameters; for an alias what it stands for.
    fn own(&self, item: &Item, name: &str) -> Option<Type> {
        let Item::Type(alias) = item else {
            return own_type(item, name);
        };
        let is_plain = alias.generics.params.is_empty();
        let read = || self.read(&alias.ty, Scope::Cell(None));
        is_plain.then(|| self.deeper(read)).flatten()
    }

    /// Whether a path in the library that begins so stays in it.
    fn is_inside(&self, first: &str) -> bool {
        let mut entries = self.index.entries.iter();
        ["crate", "super", "self"].contains(&first)
            || entries.any(|entry| entry.kind == Kind::Module && entry.name == first)
    }
}

/// A type of the user's without parameters.
pub fn own_type(item: &Item, name: &str) -> Option<Type> {
    let generics = match item {
        Item::Struct(item) => &item.generics,
        Item::Enum(item) => &item.generics,
        _ => return None,
    };
    generics.params.is_empty().then(|| Type::Named {
        home: Home::Own,
        name: name.to_string(),
        args: Vec::new(),
    })
}

/// How many parameters a type of the library must have, and may have; `None` with lifetimes among them.
fn parameters(entry: &Entry) -> Option<(usize, usize)> {
    let kinds = ["pub struct ", "pub enum ", "pub type "];
    let rest = kinds
        .iter()
        .find_map(|kind| entry.signature.strip_prefix(kind))?;
    // An alias may have another name here.
    let rest = rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
    if !rest.starts_with('<') {
        return Some((0, 0));
    }
    struct Generics(syn::Generics);
    impl Parse for Generics {
        fn parse(input: ParseStream<'_>) -> syn::Result<Generics> {
            let generics = input.parse()?;
            input.parse::<proc_macro2::TokenStream>()?;
            Ok(Generics(generics))
        }
    }
    let generics = Generics::parse.parse_str(rest).ok()?.0;
    let mut required = 0;
    for param in &generics.params {
        match param {
            syn::GenericParam::Type(param) => required += usize::from(param.default.is_none()),
            _ => return None,
        }
    }
    Some((required, generics.params.len()))
}
