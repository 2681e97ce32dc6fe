//! The items of a cell, by the names that types mention.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::Item;

use crate::workshop::session_files::MADE;

/// Attributes that change neither what a type holds nor what may be done with its bytes.
const HARMLESS: [&str; 8] = [
    "doc", "derive", "allow", "warn", "deny", "expect", "must_use", "inline",
];

/// Types that no call of a macro makes.
const COMMON: [&str; 14] = [
    "Vec", "String", "Option", "Some", "None", "Result", "Ok", "Err", "Box", "Self", "Debug",
    "Clone", "Copy", "Default",
];

/// A definition: its tokens in one string, and the names in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// Its tokens, without comments, derives and the bodies of functions.
    pub text: String,
    /// Every name in it.
    pub names: BTreeSet<String>,
    /// Names behind `::`, which may be types that an `impl` gives.
    pub members: BTreeSet<String>,
}

impl Definition {
    /// The definition that tokens make.
    pub fn of(tokens: TokenStream) -> Definition {
        let mut this = Definition::default();
        this.add(tokens);
        this
    }

    fn add(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        let mut colons = 0;
        let mut is_const = false;
        while let Some(token) = tokens.next() {
            let after_colons = std::mem::take(&mut colons) == 2;
            let after_const = std::mem::take(&mut is_const);
            match token {
                TokenTree::Punct(mark) if mark.as_char() == '#' => {
                    let harmless = matches!(tokens.peek(), Some(TokenTree::Group(group))
                        if group.delimiter() == Delimiter::Bracket && is_harmless(group.stream()));
                    if harmless {
                        tokens.next();
                    } else {
                        self.word("#");
                    }
                }
                TokenTree::Punct(mark) => {
                    colons = match (mark.as_char(), after_colons) {
                        (':', false) if self.text.ends_with(':') => 2,
                        (':', _) => 1,
                        _ => 0,
                    };
                    self.text.push(mark.as_char());
                }
                TokenTree::Ident(name) => {
                    let name = name.to_string();
                    let named = matches!(tokens.peek(), Some(TokenTree::Ident(_)));
                    is_const = name == "const" || (after_const && name == "unsafe");
                    self.word(&name);
                    if name == "fn" && named && !after_const {
                        // What a function does is no part of a type; what it is called with may be.
                        for token in tokens.by_ref() {
                            match token {
                                TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => {
                                    break;
                                }
                                TokenTree::Punct(mark) if mark.as_char() == ';' => break,
                                token => self.add(TokenStream::from(token)),
                            }
                        }
                    }
                    if after_colons {
                        self.members.insert(name.clone());
                    }
                    self.names.insert(name);
                }
                TokenTree::Literal(literal) => self.word(&literal.to_string()),
                TokenTree::Group(group) => {
                    let (open, close) = match group.delimiter() {
                        Delimiter::Parenthesis => ("(", ")"),
                        Delimiter::Brace => ("{", "}"),
                        Delimiter::Bracket => ("[", "]"),
                        Delimiter::None => ("", ""),
                    };
                    self.text.push_str(open);
                    self.add(group.stream());
                    self.text.push_str(close);
                }
            }
        }
    }

    fn word(&mut self, word: &str) {
        self.text.push(' ');
        self.text.push_str(word);
    }
}

fn is_harmless(attribute: TokenStream) -> bool {
    let first = attribute.into_iter().next();
    matches!(first, Some(TokenTree::Ident(name)) if HARMLESS.iter().any(|harmless| name == harmless))
}

/// The items of a cell's source.
#[derive(Debug, Default)]
pub struct Items {
    named: BTreeMap<String, Vec<Definition>>,
    /// What modules define.
    inside: BTreeMap<String, BTreeSet<String>>,
    /// Modules whose names all cells see without saying so.
    opened: HashSet<String>,
    /// What implementations give: (names in the header, name of the member, definition).
    members: Vec<(BTreeSet<String>, String, Definition)>,
}

impl Items {
    /// Those of a file.
    pub fn of(file: &syn::File) -> Items {
        let mut this = Items::default();
        for item in &file.items {
            this.add(item);
        }
        this.add_made();
        this
    }

    /// What a call of a macro makes: any name in it, and in the macro, may be a type of its making.
    fn add_made(&mut self) {
        let calls = self.named.iter().filter(|(name, _)| name.starts_with(MADE));
        let calls: Vec<Definition> = calls.flat_map(|(_, calls)| calls).cloned().collect();
        for call in calls {
            let mut names = call.names.clone();
            for of in call.names.iter().filter_map(|name| self.named.get(name)) {
                names.extend(of.iter().flat_map(|of| of.names.iter().cloned()));
            }
            let is_type = |name: &String| {
                name.starts_with(char::is_uppercase) && !COMMON.contains(&name.as_str())
            };
            for name in names.into_iter().filter(is_type) {
                self.named.entry(name).or_default().push(call.clone());
            }
        }
    }

    fn add(&mut self, item: &Item) {
        let name = match item {
            Item::Struct(item) => &item.ident,
            Item::Enum(item) => &item.ident,
            Item::Union(item) => &item.ident,
            Item::Trait(item) => &item.ident,
            Item::TraitAlias(item) => &item.ident,
            Item::Type(item) => &item.ident,
            Item::Const(item) => &item.ident,
            Item::Static(item) => &item.ident,
            Item::Mod(item) => {
                let inner = item.content.as_ref().map_or(&[][..], |(_, items)| items);
                let inside = self.inside.entry(item.ident.to_string()).or_default();
                defined(inner, inside);
                &item.ident
            }
            Item::Fn(item) if item.sig.constness.is_some() => &item.sig.ident,
            Item::Macro(item) => match &item.ident {
                Some(name) => name,
                None => return,
            },
            Item::Use(item) => return self.import(&item.tree, &mut Vec::new()),
            Item::Impl(item) => return self.implementation(item),
            _ => return,
        };
        let definitions = self.named.entry(name.to_string()).or_default();
        definitions.push(Definition::of(item.to_token_stream()));
    }

    fn import(&mut self, tree: &syn::UseTree, path: &mut Vec<String>) {
        match tree {
            syn::UseTree::Path(inner) => {
                path.push(inner.ident.to_string());
                self.import(&inner.tree, path);
                path.pop();
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, path);
                }
            }
            syn::UseTree::Name(name) => self.imported(name.ident.to_string(), path, &name.ident),
            syn::UseTree::Rename(renamed) => {
                self.imported(renamed.rename.to_string(), path, &renamed.ident);
            }
            syn::UseTree::Glob(_) => self.opened.extend(path.iter().cloned()),
        }
    }

    fn imported(&mut self, name: String, path: &[String], last: &syn::Ident) {
        let mut names: BTreeSet<String> = path.iter().cloned().collect();
        names.insert(last.to_string());
        let definition = Definition {
            text: format!("use {}::{last}", path.join("::")),
            names,
            members: BTreeSet::new(),
        };
        self.named.entry(name).or_default().push(definition);
    }

    fn implementation(&mut self, item: &syn::ItemImpl) {
        let mut header = item.clone();
        header.items.clear();
        let header = Definition::of(header.to_token_stream());
        for member in &item.items {
            let name = match member {
                syn::ImplItem::Const(member) => &member.ident,
                syn::ImplItem::Type(member) => &member.ident,
                syn::ImplItem::Fn(member) if member.sig.constness.is_some() => &member.sig.ident,
                _ => continue,
            };
            let definition = Definition::of(member.to_token_stream());
            let names = header.names.clone();
            self.members.push((names, name.to_string(), definition));
        }
    }

    /// All that a type stands on: the texts of the definitions that it mentions, and of those that they mention.
    /// Empty for a type that mentions none of the user's.
    pub fn below(&self, of: &Definition) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut members = of.members.clone();
        let mut left: Vec<String> = of.names.iter().cloned().collect();
        while !left.is_empty() {
            while let Some(name) = left.pop() {
                if !seen.insert(name.clone()) {
                    continue;
                }
                for definition in self.named.get(&name).into_iter().flatten() {
                    found.insert(format!("{name}:{}", definition.text));
                    left.extend(definition.names.iter().cloned());
                    members.extend(definition.members.iter().cloned());
                }
                let opened = self.opened.iter().filter(|module| {
                    let inside = self.inside.get(*module);
                    inside.is_some_and(|inside| inside.contains(&name))
                });
                left.extend(opened.cloned());
            }
            for (header, name, definition) in &self.members {
                let text = format!("{name}:{}", definition.text);
                if members.contains(name) && !header.is_disjoint(&seen) && found.insert(text) {
                    left.extend(definition.names.iter().cloned());
                    members.extend(definition.members.iter().cloned());
                }
            }
        }
        found
    }
}

/// The names of types and constants that a module defines, at any depth.
fn defined(items: &[Item], names: &mut BTreeSet<String>) {
    for item in items {
        let name = match item {
            Item::Struct(item) => &item.ident,
            Item::Enum(item) => &item.ident,
            Item::Union(item) => &item.ident,
            Item::Trait(item) => &item.ident,
            Item::Type(item) => &item.ident,
            Item::Const(item) => &item.ident,
            Item::Mod(item) => {
                let inner = item.content.as_ref().map_or(&[][..], |(_, items)| items);
                defined(inner, names);
                &item.ident
            }
            _ => continue,
        };
        names.insert(name.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(code: &str) -> Definition {
        Definition::of(code.parse().unwrap())
    }

    #[test]
    fn what_does_not_change_a_type_is_not_seen() {
        let same = [
            (
                "struct A { a: u8 }",
                "/// A.\n#[derive(Debug)]\nstruct A {\n  a: u8 }",
            ),
            (
                "trait T { fn f(&self) { 1; } }",
                "trait T { fn f(&self) { 2; } }",
            ),
            (
                "mod m { fn f() -> u8 { 1 } }",
                "mod m { fn f() -> u8 { 2 } }",
            ),
        ];
        for (one, other) in same {
            assert_eq!(definition(one).text, definition(other).text, "{one}");
        }
        let different = [
            ("struct A { a: u8 }", "struct A { a: i8 }"),
            ("struct A(u8);", "#[repr(C)] struct A(u8);"),
            (
                "trait T { fn f(&self); }",
                "trait T { fn f(&self); fn g(&self); }",
            ),
            ("const fn f() -> usize { 1 }", "const fn f() -> usize { 2 }"),
            ("const N: usize = 1;", "const N: usize = 2;"),
        ];
        for (one, other) in different {
            assert_ne!(definition(one).text, definition(other).text, "{one}");
        }
    }

    #[test]
    fn a_type_stands_on_all_that_it_mentions() {
        let items = |code: &str| Items::of(&syn::parse_str(code).unwrap());
        let code = "struct A { b: B } struct B([u8; N]); const N: usize = f(); const fn f() -> usize { 1 }
                    struct Other; fn unrelated(a: A) {} use m::C; mod m { pub struct C; } use m::*;
                    trait Tr { type Out; } struct D<T: Tr>(T::Out); impl Tr for Other { type Out = B; }
                    impl Iterator for Other { type Item = A; }";
        let names = |of: &str| -> Vec<String> {
            let found = items(code).below(&definition(of));
            found
                .iter()
                .map(|text| text.split(':').next().unwrap().to_string())
                .collect()
        };
        assert_eq!(names("Vec<i32>"), [""; 0]);
        assert_eq!(names("Option<A>"), ["A", "B", "N", "f"]);
        assert_eq!(names("C"), ["C", "m"]);
        assert_eq!(names("Other"), ["Other"]);
        let made = "macro_rules! make { ($n:ident) => { struct $n(Inner); } } struct Inner(u8);
                    macro_rules! rebit_made_1 { () => { make!(Foo); } }";
        let below = |code: &str| items(code).below(&definition("Vec<Foo>"));
        assert!(!below(made).is_empty());
        assert_ne!(below(made), below(&made.replace("u8", "u16")));
        assert_ne!(
            below(made),
            below(&made.replace("(Inner)", "(Inner, Inner)"))
        );
        assert_eq!(
            names("D<Other>"),
            ["B", "D", "N", "Other", "Out", "Tr", "f"]
        );
    }
}
