//! What the sources of a crate declare, and what of it can be seen from outside.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use proc_macro2::TokenTree;

use super::index::{Entry, Kind};

/// The public declarations of a crate, by the module that they stand in.
#[derive(Default)]
pub struct Declared {
    modules: BTreeMap<String, Module>,
    /// Methods, fields and variants.
    members: Vec<Entry>,
    /// Types with an implementation of `Copy` that is written out.
    copies: BTreeSet<String>,
    /// Macros without arguments, and types in whose implementations they are called.
    macros: BTreeMap<String, syn::ItemImpl>,
    calls: Vec<(String, String)>,
}

#[derive(Default)]
struct Module {
    items: Vec<Entry>,
    /// Modules inside it, public or not.
    children: Vec<(bool, Entry)>,
    reexports: Vec<Reexport>,
}

/// `pub use path::name as renamed`, or all of `path`.
struct Reexport {
    path: Vec<String>,
    name: Option<(String, String)>,
}

/// Something that a module lets others see; a module with its own path.
#[derive(Clone)]
struct Export<'a> {
    entry: &'a Entry,
    module: Option<String>,
}

/// The entries of everything that can be seen from outside, each under the modules in which it is seen.
pub fn visible(declared: &Declared, root: &str) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut owners = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut waiting = VecDeque::from([(root.to_string(), root.to_string())]);
    while let Some((place, path)) = waiting.pop_front() {
        // The shortest way to a module comes first.
        if !seen.insert(path.clone()) {
            continue;
        }
        for (name, export) in declared.exports(root, &path, false, &mut Vec::new()) {
            if export.entry.kind == Kind::Class {
                owners.insert(export.entry.name.clone());
            }
            found.push(Entry {
                name: name.clone(),
                module: place.clone(),
                is_copy: export.entry.is_copy || declared.copies.contains(&export.entry.name),
                ..export.entry.clone()
            });
            if let Some(module) = export.module {
                waiting.push_back((format!("{place}::{name}"), module));
            }
        }
    }
    let of_visible = |e: &&Entry| e.owner.as_ref().is_some_and(|owner| owners.contains(owner));
    found.extend(declared.members.iter().filter(of_visible).cloned());
    found
}

impl Declared {
    /// What a module lets others see, with the names it has there; from `within` the crate, private modules too.
    fn exports(
        &self,
        root: &str,
        path: &str,
        within: bool,
        asking: &mut Vec<String>,
    ) -> Vec<(String, Export<'_>)> {
        let Some(module) = self.modules.get(path) else {
            return Vec::new();
        };
        // Two modules may take everything from each other.
        if asking.iter().any(|asked| asked == path) {
            return Vec::new();
        }
        asking.push(path.to_string());
        let children = module
            .children
            .iter()
            .filter(|(public, _)| *public || within);
        let children = children.map(|(_, entry)| {
            let module = Some(format!("{path}::{}", entry.name));
            (entry.name.clone(), Export { entry, module })
        });
        let items = module.items.iter().map(|entry| {
            let module = None;
            (entry.name.clone(), Export { entry, module })
        });
        let mut found: Vec<_> = children.chain(items).collect();
        for reexport in &module.reexports {
            let Some(from) = self.resolve(root, path, &reexport.path) else {
                continue;
            };
            let glob = reexport.name.is_none();
            let inside = self.exports(root, &from, !glob, asking);
            match &reexport.name {
                None => found.extend(inside),
                Some((name, renamed)) => {
                    let named = inside.into_iter().filter(|(n, _)| n == name);
                    found.extend(named.map(|(_, export)| (renamed.clone(), export)));
                }
            }
        }
        asking.pop();
        found
    }

    /// The module that a path means in another module; `None` for other crates.
    fn resolve(&self, root: &str, path: &str, names: &[String]) -> Option<String> {
        let mut at = path.to_string();
        for (i, name) in names.iter().enumerate() {
            match name.as_str() {
                "crate" if i == 0 => at = root.to_string(),
                "self" if i == 0 => {}
                "super" => at = at.rsplit_once("::")?.0.to_string(),
                name => {
                    at = format!("{at}::{name}");
                    self.modules.get(&at)?;
                }
            }
        }
        Some(at)
    }

    /// Reads a file and those of the modules in it, which lie in `folder`; returns its own documentation. What
    /// cannot be read or parsed is left out.
    pub fn file(&mut self, file: &Path, folder: &Path, module: &str) -> String {
        self.of(module);
        let Ok(text) = std::fs::read_to_string(file) else {
            return String::new();
        };
        let Ok(parsed) = syn::parse_file(&text) else {
            return String::new();
        };
        self.items(&parsed.items, folder, module);
        docs(&parsed.attrs)
    }

    fn items(&mut self, items: &[syn::Item], folder: &Path, module: &str) {
        use syn::Item;
        for item in items {
            if attributes(item).iter().any(is_left_out) {
                continue;
            }
            match item {
                Item::Use(u) if public(&u.vis) => {
                    let found = &mut self.of(module).reexports;
                    reexports(&u.tree, &mut Vec::new(), found);
                }
                Item::Mod(m) => self.module(m, folder, module),
                Item::Fn(f) if public(&f.vis) => {
                    let name = f.sig.ident.to_string();
                    self.add(
                        module,
                        entry(&name, Kind::Function, source(&f.sig), &f.attrs),
                    );
                }
                Item::Struct(s) if public(&s.vis) => {
                    let owner = s.ident.to_string();
                    self.add(module, entry(&owner, Kind::Class, head(s), &s.attrs));
                    for field in s.fields.iter().filter(|field| public(&field.vis)) {
                        if let Some(name) = &field.ident {
                            let text = format!("{name}: {}", source(&field.ty));
                            let name = name.to_string();
                            self.member(&owner, entry(&name, Kind::Instance, text, &field.attrs));
                        }
                    }
                }
                Item::Enum(e) if public(&e.vis) => {
                    let owner = e.ident.to_string();
                    self.add(module, entry(&owner, Kind::Class, head(e), &e.attrs));
                    for v in &e.variants {
                        let name = v.ident.to_string();
                        self.member(
                            &owner,
                            entry(&name, Kind::Instance, declaration(v), &v.attrs),
                        );
                    }
                }
                Item::Trait(t) if public(&t.vis) => {
                    let owner = t.ident.to_string();
                    self.add(module, entry(&owner, Kind::Class, head(t), &t.attrs));
                    for item in &t.items {
                        if let syn::TraitItem::Fn(f) = item {
                            let name = f.sig.ident.to_string();
                            self.member(
                                &owner,
                                entry(&name, Kind::Function, source(&f.sig), &f.attrs),
                            );
                        }
                    }
                }
                Item::Type(t) if public(&t.vis) => {
                    let name = t.ident.to_string();
                    self.add(module, entry(&name, Kind::Class, declaration(t), &t.attrs));
                }
                Item::Const(c) if public(&c.vis) => {
                    let text = format!("const {}: {}", c.ident, source(&c.ty));
                    self.add(
                        module,
                        entry(&c.ident.to_string(), Kind::Instance, text, &c.attrs),
                    );
                }
                Item::Macro(m) => {
                    if let (Some(name), Some(body)) = (&m.ident, without_arguments(&m.mac)) {
                        self.macros.insert(name.to_string(), body);
                    }
                    let exported = m.attrs.iter().any(|a| a.path().is_ident("macro_export"));
                    if let Some(name) = m.ident.as_ref().filter(|_| exported) {
                        let name = name.to_string();
                        let root = module.split("::").next().unwrap_or(module);
                        let text = format!("macro {name}!");
                        self.add(root, entry(&name, Kind::Macro, text, &m.attrs));
                    }
                }
                Item::Impl(i) if i.trait_.is_none() => self.implementation(i),
                Item::Impl(i) => {
                    let of = i
                        .trait_
                        .as_ref()
                        .and_then(|(_, path, _)| path.segments.last());
                    if of.is_some_and(|last| last.ident == "Copy")
                        && let syn::Type::Path(path) = &*i.self_ty
                    {
                        let last = path.path.segments.last();
                        self.copies.extend(last.map(|last| last.ident.to_string()));
                    }
                }
                _ => {}
            }
        }
    }

    /// Private modules are read too: what is public in them may be exported elsewhere.
    fn module(&mut self, m: &syn::ItemMod, folder: &Path, parent: &str) {
        let name = m.ident.to_string();
        let module = format!("{parent}::{name}");
        let inside = folder.join(&name);
        let mut entry = entry(&name, Kind::Module, format!("mod {name}"), &m.attrs);
        match &m.content {
            Some((_, items)) => {
                self.of(&module);
                self.items(items, &inside, &module);
            }
            None => {
                let flat = folder.join(format!("{name}.rs"));
                let file = match flat.exists() {
                    true => flat,
                    false => inside.join("mod.rs"),
                };
                let docs = self.file(&file, &inside, &module);
                if entry.docs.is_empty() {
                    entry.docs = docs;
                }
            }
        }
        self.of(parent).children.push((public(&m.vis), entry));
    }

    fn implementation(&mut self, i: &syn::ItemImpl) {
        let syn::Type::Path(path) = &*i.self_ty else {
            return;
        };
        let Some(last) = path.path.segments.last() else {
            return;
        };
        let owner = last.ident.to_string();
        self.methods(&owner, i);
    }

    fn methods(&mut self, owner: &str, i: &syn::ItemImpl) {
        for item in &i.items {
            if let syn::ImplItem::Macro(call) = item
                && let Some(name) = call.mac.path.get_ident()
            {
                self.calls.push((owner.to_string(), name.to_string()));
            }
            if let syn::ImplItem::Fn(f) = item
                && public(&f.vis)
                && !f.attrs.iter().any(is_left_out)
            {
                let name = f.sig.ident.to_string();
                self.member(
                    owner,
                    entry(&name, Kind::Function, source(&f.sig), &f.attrs),
                );
            }
        }
    }

    /// Adds what macros write into implementations.
    pub fn expand(&mut self) {
        for (owner, name) in std::mem::take(&mut self.calls) {
            if let Some(body) = self.macros.remove(&name) {
                self.methods(&owner, &body);
                self.macros.insert(name, body);
            }
        }
    }

    fn of(&mut self, module: &str) -> &mut Module {
        self.modules.entry(module.to_string()).or_default()
    }

    fn add(&mut self, module: &str, entry: Entry) {
        self.of(module).items.push(entry);
    }

    fn member(&mut self, owner: &str, entry: Entry) {
        let owner = Some(owner.to_string());
        self.members.push(Entry { owner, ..entry });
    }
}

fn entry(name: &str, kind: Kind, signature: String, attrs: &[syn::Attribute]) -> Entry {
    Entry {
        name: name.to_string(),
        module: String::new(),
        owner: None,
        kind,
        signature,
        docs: docs(attrs),
        is_copy: attrs.iter().any(derives_copy),
    }
}

fn derives_copy(attribute: &syn::Attribute) -> bool {
    let is_copy = |word: TokenTree| matches!(word, TokenTree::Ident(word) if word == "Copy");
    attribute.path().is_ident("derive")
        && attribute
            .meta
            .require_list()
            .is_ok_and(|list| list.tokens.clone().into_iter().any(is_copy))
}

/// The members that a macro (`macro_rules!`) of one rule without arguments writes into an implementation.
fn without_arguments(rules: &syn::Macro) -> Option<syn::ItemImpl> {
    let rules: Vec<TokenTree> = rules.tokens.clone().into_iter().collect();
    let [
        TokenTree::Group(pattern),
        TokenTree::Punct(_),
        TokenTree::Punct(_),
        TokenTree::Group(body),
        ..,
    ] = &rules[..]
    else {
        return None;
    };
    let body = body.stream();
    let is_empty = pattern.stream().is_empty();
    let parsed = syn::parse2(quote::quote! { impl Owner { #body } });
    is_empty.then(|| parsed.ok()).flatten()
}

/// A declaration as it stands in the sources, without its documentation.
fn declaration(node: &impl syn::spanned::Spanned) -> String {
    let text = source(node);
    let lines = text.lines();
    let kept = lines.filter(|line| !line.trim_start().starts_with("///"));
    kept.collect::<Vec<_>>().join("\n")
}

/// The first line of a struct, enum or trait, without documentation, attributes and body.
fn head(item: &impl syn::spanned::Spanned) -> String {
    let text = source(item);
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("pub"))
        .unwrap_or_default();
    let line = line.trim_end_matches(['{', ';']).trim_end();
    line.to_string()
}

fn source(node: &impl syn::spanned::Spanned) -> String {
    node.span().source_text().unwrap_or_default()
}

fn public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

/// What is only there for tests, with a feature, or not for readers.
fn is_left_out(attribute: &syn::Attribute) -> bool {
    let text = source(attribute);
    let is = |name: &str| attribute.path().is_ident(name);
    let conditional = text.contains("test") || text.contains("feature") && !text.contains("not(");
    let hidden = matches!(attribute.meta, syn::Meta::List(_)) && text.contains("hidden");
    is("cfg") && conditional || is("doc") && hidden
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    use syn::Item::*;
    match item {
        Const(i) => &i.attrs,
        Enum(i) => &i.attrs,
        Fn(i) => &i.attrs,
        Impl(i) => &i.attrs,
        Macro(i) => &i.attrs,
        Mod(i) => &i.attrs,
        Struct(i) => &i.attrs,
        Trait(i) => &i.attrs,
        Type(i) => &i.attrs,
        Use(i) => &i.attrs,
        _ => &[],
    }
}

/// The names that a `pub use` gives to a module, one by one.
fn reexports(tree: &syn::UseTree, path: &mut Vec<String>, found: &mut Vec<Reexport>) {
    let mut add = |path: &[String], name: &syn::Ident, renamed: &syn::Ident| {
        let mut path = path.to_vec();
        let renamed = renamed.to_string();
        // `quant::{self}` is `quant`.
        let (name, renamed) = match (name == "self").then(|| path.pop()).flatten() {
            Some(module) if renamed == "self" => (module.clone(), module),
            Some(module) => (module, renamed),
            None => (name.to_string(), renamed),
        };
        let name = Some((name, renamed));
        found.push(Reexport { path, name });
    };
    match tree {
        syn::UseTree::Name(n) => add(path, &n.ident, &n.ident),
        syn::UseTree::Rename(r) => add(path, &r.ident, &r.rename),
        syn::UseTree::Glob(_) => found.push(Reexport {
            path: path.clone(),
            name: None,
        }),
        syn::UseTree::Path(p) => {
            path.push(p.ident.to_string());
            reexports(&p.tree, path, found);
            path.pop();
        }
        syn::UseTree::Group(group) => {
            for tree in &group.items {
                reexports(tree, path, found);
            }
        }
    }
}

fn docs(attrs: &[syn::Attribute]) -> String {
    let mut lines = Vec::new();
    for attr in attrs {
        if let syn::Meta::NameValue(meta) = &attr.meta
            && meta.path.is_ident("doc")
            && let syn::Expr::Lit(literal) = &meta.value
            && let syn::Lit::Str(text) = &literal.lit
        {
            let text = text.value();
            lines.push(text.strip_prefix(' ').unwrap_or(&text).to_string());
        }
    }
    // Lines of examples that documentation hides.
    let mut example = false;
    lines.retain(|line| {
        example ^= line.starts_with("```");
        !(example && (line == "#" || line.starts_with("# ")))
    });
    lines.join("\n")
}
