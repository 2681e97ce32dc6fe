//! The library's public names with their signatures and documentation, read from its sources.
//!
//! It answers completion and help at once, long before the analyser is ready, and without any part of
//! the toolchain's sources.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What a name stands for, in Jupyter's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A function, an associated function or a method.
    Function,
    /// A struct, enum, trait or type alias.
    Class,
    /// A macro.
    Macro,
    /// A constant, a static, an enum's variant or a field.
    Instance,
    /// A module.
    Module,
}

impl Kind {
    /// The word front ends choose an icon by.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Function => "function",
            Kind::Class => "class",
            Kind::Macro => "magic",
            Kind::Instance => "instance",
            Kind::Module => "module",
        }
    }
}

/// A public name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name itself.
    pub name: String,
    /// The modules it lies in, `rebit::quant` for instance.
    pub module: String,
    /// The type or trait it belongs to, for methods, fields and variants.
    pub owner: Option<String>,
    /// What it is.
    pub kind: Kind,
    /// Its declaration without body.
    pub signature: String,
    /// Its documentation, Markdown.
    pub docs: String,
}

/// All public names of a library.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// The names, in the order of the sources.
    pub entries: Vec<Entry>,
}

/// The index of the library that sessions load; read once, in a few tens of milliseconds.
pub fn library() -> &'static Index {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX.get_or_init(|| {
        // A thread of its own gives back what the lexer keeps for its spans.
        let read = || Index::read("rebit", &crate::workshop::library_folder().join("src"));
        std::thread::scope(|scope| scope.spawn(read).join().unwrap_or_default())
    })
}

impl Index {
    /// Reads the crate `name` whose `lib.rs` lies in `src`; files that cannot be read or parsed are
    /// left out.
    pub fn read(name: &str, src: &Path) -> Index {
        let mut index = Index::default();
        index.file(&src.join("lib.rs"), src, name);
        index
    }

    fn file(&mut self, file: &Path, folder: &Path, module: &str) {
        let Ok(text) = std::fs::read_to_string(file) else {
            return;
        };
        if let Ok(parsed) = syn::parse_file(&text) {
            self.items(&parsed.items, folder, module);
        }
    }

    fn items(&mut self, items: &[syn::Item], folder: &Path, module: &str) {
        use syn::Item;
        for item in items {
            match item {
                Item::Mod(m) => self.module(m, folder, module),
                Item::Fn(f) if public(&f.vis) => {
                    self.add(&f.sig.ident, module, None, Kind::Function, &f.sig, &f.attrs);
                }
                Item::Struct(s) if public(&s.vis) => {
                    self.add(&s.ident, module, None, Kind::Class, &head(s), &s.attrs);
                    let owner = s.ident.to_string();
                    for field in s.fields.iter().filter(|field| public(&field.vis)) {
                        if let Some(name) = &field.ident {
                            let owner = Some(owner.clone());
                            let text = Text(format!("{name}: {}", source(&field.ty)));
                            self.add(name, module, owner, Kind::Instance, &text, &field.attrs);
                        }
                    }
                }
                Item::Enum(e) if public(&e.vis) => {
                    self.add(&e.ident, module, None, Kind::Class, &head(e), &e.attrs);
                    for variant in &e.variants {
                        let owner = Some(e.ident.to_string());
                        let name = &variant.ident;
                        let text = Text(source(variant));
                        self.add(name, module, owner, Kind::Instance, &text, &variant.attrs);
                    }
                }
                Item::Trait(t) if public(&t.vis) => {
                    self.add(&t.ident, module, None, Kind::Class, &head(t), &t.attrs);
                    let owner = Some(t.ident.to_string());
                    for item in &t.items {
                        if let syn::TraitItem::Fn(f) = item {
                            let (name, owner) = (&f.sig.ident, owner.clone());
                            self.add(name, module, owner, Kind::Function, &f.sig, &f.attrs);
                        }
                    }
                }
                Item::Type(t) if public(&t.vis) => {
                    self.add(&t.ident, module, None, Kind::Class, t, &t.attrs);
                }
                Item::Const(c) if public(&c.vis) => {
                    let text = Text(format!("const {}: {}", c.ident, source(&c.ty)));
                    self.add(&c.ident, module, None, Kind::Instance, &text, &c.attrs);
                }
                Item::Macro(m) => {
                    let exported = m.attrs.iter().any(|a| a.path().is_ident("macro_export"));
                    if let Some(name) = m.ident.as_ref().filter(|_| exported) {
                        let text = Text(format!("macro {name}!"));
                        self.add(name, module, None, Kind::Macro, &text, &m.attrs);
                    }
                }
                Item::Impl(i) => self.implementation(i, module),
                _ => {}
            }
        }
    }

    /// Private modules are read too: what is public in them is usually exported further up.
    fn module(&mut self, m: &syn::ItemMod, folder: &Path, parent: &str) {
        let test = |a: &syn::Attribute| a.path().is_ident("cfg") && source(a).contains("test");
        if m.attrs.iter().any(test) {
            return;
        }
        let name = m.ident.to_string();
        let module = match public(&m.vis) {
            true => format!("{parent}::{name}"),
            false => parent.to_string(),
        };
        let inside = folder.join(&name);
        if public(&m.vis) {
            let text = Text(format!("mod {name}"));
            self.add(&m.ident, parent, None, Kind::Module, &text, &m.attrs);
        }
        match &m.content {
            Some((_, items)) => self.items(items, &inside, &module),
            None => {
                let flat: PathBuf = folder.join(format!("{name}.rs"));
                let file = match flat.exists() {
                    true => flat,
                    false => inside.join("mod.rs"),
                };
                self.file(&file, &inside, &module);
            }
        }
    }

    fn implementation(&mut self, i: &syn::ItemImpl, module: &str) {
        let syn::Type::Path(path) = &*i.self_ty else {
            return;
        };
        let Some(last) = path.path.segments.last() else {
            return;
        };
        let of_trait = i.trait_.is_some();
        for item in &i.items {
            if let syn::ImplItem::Fn(f) = item
                && !of_trait
                && public(&f.vis)
            {
                let owner = Some(last.ident.to_string());
                self.add(
                    &f.sig.ident,
                    module,
                    owner,
                    Kind::Function,
                    &f.sig,
                    &f.attrs,
                );
            }
        }
    }

    fn add(
        &mut self,
        name: &syn::Ident,
        module: &str,
        owner: Option<String>,
        kind: Kind,
        signature: &dyn Source,
        attrs: &[syn::Attribute],
    ) {
        let hidden = |a: &syn::Attribute| a.path().is_ident("doc") && source(a).contains("hidden");
        if attrs.iter().any(hidden) {
            return;
        }
        self.entries.push(Entry {
            name: name.to_string(),
            module: module.to_string(),
            owner,
            kind,
            signature: signature.text(),
            docs: docs(attrs),
        });
    }

    /// Free names: everything that belongs to no type.
    pub fn free(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.owner.is_none())
    }

    /// What belongs to the type or trait `owner`.
    pub fn of(&self, owner: &str) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.owner.as_deref() == Some(owner))
    }

    /// The names in the module that a path ends with (`quant`, `rebit::quant`).
    pub fn within(&self, module: &str) -> impl Iterator<Item = &Entry> {
        let end = format!("::{module}");
        self.free()
            .filter(move |entry| entry.module == end[2..] || entry.module.ends_with(&end))
    }
}

/// A declaration as it stands in the sources.
trait Source {
    fn text(&self) -> String;
}

struct Text(String);

impl Source for Text {
    fn text(&self) -> String {
        self.0.clone()
    }
}

impl Source for syn::Signature {
    fn text(&self) -> String {
        source(self)
    }
}

impl Source for syn::ItemType {
    fn text(&self) -> String {
        source(self)
            .lines()
            .filter(|line| !line.trim_start().starts_with("///"))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// The first line of a struct, enum or trait, without documentation, attributes and body.
fn head(item: &impl syn::spanned::Spanned) -> Text {
    let text = source(item);
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("pub"))
        .unwrap_or_default();
    let line = line.trim_end_matches(['{', ';']).trim_end();
    Text(line.to_string())
}

fn source(node: &impl syn::spanned::Spanned) -> String {
    node.span().source_text().unwrap_or_default()
}

fn public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
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
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        write(
            "lib.rs",
            "pub mod quant;\nmod inner;\npub use inner::*;\n#[cfg(test)]\nmod tests { pub fn t() {} }",
        );
        write(
            "quant/mod.rs",
            "/// Rounds.\n///\n/// Half to even.\npub fn round(x: f32) -> f32 { x }\nfn hidden() {}\n\
             /// A range.\n#[derive(Debug)]\npub struct Range {\n    /// Lower end.\n    pub low: f32,\n    \
             high: f32,\n}\nimpl Range {\n    /// Its width.\n    pub fn width(&self) -> f32 { 0.0 }\n}\n\
             #[macro_export]\nmacro_rules! claim { () => {} }\npub enum Side { Left, Right(u8) }",
        );
        write("inner.rs", "pub type Matrix<T = u8> = Vec<T>;");
        Index::read("demo", folder.path())
    }

    #[test]
    fn public_names_are_found_with_signature_and_documentation() {
        let index = index();
        let round = index.free().find(|e| e.name == "round").unwrap();
        assert_eq!(round.signature, "fn round(x: f32) -> f32");
        assert_eq!(round.docs, "Rounds.\n\nHalf to even.");
        assert_eq!(round.module, "demo::quant");
        let of_range: Vec<_> = index.of("Range").map(|e| e.signature.as_str()).collect();
        assert_eq!(of_range, ["low: f32", "fn width(&self) -> f32"]);
        let sides: Vec<_> = index.of("Side").map(|e| e.signature.as_str()).collect();
        assert_eq!(sides, ["Left", "Right(u8)"]);
        let range = index.free().find(|e| e.name == "Range").unwrap();
        assert_eq!(range.signature, "pub struct Range");
    }

    #[test]
    fn private_modules_are_seen_through_and_private_names_are_not() {
        let index = index();
        let matrix = index.free().find(|e| e.name == "Matrix").unwrap();
        assert_eq!(matrix.module, "demo");
        assert!(
            index
                .entries
                .iter()
                .all(|e| e.name != "hidden" && e.name != "t")
        );
        let names: Vec<_> = index.within("quant").map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["round", "Range", "claim", "Side"]);
    }
}
