//! Macros whose calls make items.
//!
//! To evcxr a macro that is called in a cell is a statement, and what it defines ends with the cell. A call that makes items
//! becomes the body of a macro of ours with a name, which evcxr keeps and replaces like any item, and which our `cargo`
//! calls beside the other items.

use std::collections::HashMap;

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use sha2::{Digest, Sha256};

use crate::workshop::session_files::MADE;

/// Words that begin an item.
const ITEMS: [&str; 12] = [
    "struct", "enum", "union", "trait", "type", "fn", "static", "impl", "mod", "extern", "use",
    "unsafe",
];
/// Macros whose arguments may look like items, and are values.
const VALUES: [&str; 6] = [
    "quote",
    "quote_spanned",
    "parse_quote",
    "stringify",
    "html",
    "concat",
];

/// What is known of a macro of the user's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    /// Its calls make items.
    pub makes_items: bool,
    /// It speaks of statics.
    pub has_statics: bool,
}

impl Kind {
    /// Of a macro with this definition (`macro_rules!`).
    pub fn of(definition: &TokenStream) -> Kind {
        Kind {
            makes_items: makes_items(definition),
            has_statics: has_statics(definition.clone()),
        }
    }
}

/// What a reader must know of a call whose items have statics.
///
/// Each cell is compiled with all items. Statics that are written out are exported by the cell that defines them, and
/// those that a macro makes have no place where that could be said.
pub fn note(call: &syn::Macro) -> String {
    let name = call.path.segments.last();
    let name = name.map_or(String::new(), |last| last.ident.to_string());
    format!(
        "note: `{name}!` makes a static. What a macro makes is there once for each cell: a later cell finds the first \
         value in it, whatever this one has done. A static that is written out is one for all cells, for instance \
         `static A: LazyLock<..> = LazyLock::new(|| ..);`\n"
    )
}

/// Whether tokens define statics, at any depth.
pub fn has_statics(tokens: TokenStream) -> bool {
    let mut is_lifetime = false;
    tokens.into_iter().any(|token| {
        let was_lifetime = std::mem::take(&mut is_lifetime);
        match token {
            TokenTree::Ident(word) => word == "static" && !was_lifetime,
            TokenTree::Punct(mark) => {
                is_lifetime = mark.as_char() == '\'';
                false
            }
            TokenTree::Group(group) => has_statics(group.stream()),
            TokenTree::Literal(_) => false,
        }
    })
}

/// Whether a macro of this definition (`macro_rules!`) makes items, and nothing else, by each of its rules.
fn makes_items(definition: &TokenStream) -> bool {
    let mut rules = 0;
    let mut tokens = definition.clone().into_iter().peekable();
    while let Some(pattern) = tokens.next() {
        let (TokenTree::Group(pattern), Some(TokenTree::Punct(_)), Some(TokenTree::Punct(_))) =
            (pattern, tokens.next(), tokens.next())
        else {
            return false;
        };
        let Some(TokenTree::Group(body)) = tokens.next() else {
            return false;
        };
        let mut kinds = HashMap::new();
        read_kinds(pattern.stream(), &mut kinds);
        let body = filled(body.stream(), &kinds);
        let Ok(file) = syn::parse2::<syn::File>(body) else {
            return false;
        };
        let mut items = file.items.iter();
        if !items.any(|item| !matches!(item, syn::Item::Macro(_) | syn::Item::Verbatim(_))) {
            return false;
        }
        rules += 1;
        if let Some(TokenTree::Punct(_)) = tokens.peek() {
            tokens.next();
        }
    }
    rules > 0
}

/// Whether a call makes items: its macro is known to, or what it is given begins with one.
pub fn is_made(call: &syn::Macro, kind: Kind) -> bool {
    let name = call.path.segments.last().map(|last| &last.ident);
    let is_value = name.is_none_or(|name| VALUES.iter().any(|value| name == value));
    kind.makes_items || (!is_value && begins_item(call.tokens.clone()))
}

fn begins_item(tokens: TokenStream) -> bool {
    let mut tokens = tokens.into_iter().peekable();
    let mut is_attribute = false;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(mark) if mark.as_char() == '#' => is_attribute = true,
            TokenTree::Group(group) if is_attribute && group.delimiter() == Delimiter::Bracket => {
                is_attribute = false;
            }
            TokenTree::Ident(word) if word == "pub" => {
                let seen = |t: &TokenTree| matches!(t, TokenTree::Group(g) if g.delimiter() == Delimiter::Parenthesis);
                tokens.next_if(seen);
            }
            TokenTree::Ident(word) => {
                let named = matches!(tokens.peek(), Some(TokenTree::Ident(_)));
                return named && ITEMS.iter().any(|item| word == item);
            }
            _ => return false,
        }
    }
    false
}

/// The name of our macro for a call: the same for one whose text defines the same names, or that is the same.
///
/// Where another call makes what this one makes, rustc finds both, and the older one goes ([`super::in_the_way`]).
pub fn name(call: &syn::Macro) -> String {
    let mut names = defined(call.tokens.clone());
    if names.is_empty() {
        names.push(call.tokens.to_string());
    }
    let mut hash = Sha256::new();
    hash.update(call.path.to_token_stream().to_string());
    for name in names {
        hash.update([0]);
        hash.update(name);
    }
    let digits = hash.finalize();
    let digits: String = digits[..8].iter().map(|b| format!("{b:02x}")).collect();
    format!("{MADE}{digits}")
}

/// The names that items in a text have.
fn defined(tokens: TokenStream) -> Vec<String> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let named = tokens.windows(2).filter_map(|pair| match pair {
        [TokenTree::Ident(word), TokenTree::Ident(name)] => {
            let is_item = ITEMS[..7].iter().any(|item| word == item);
            // lazy_static's `static ref NAME`.
            (is_item || word == "ref" || word == "const").then(|| name.to_string())
        }
        _ => None,
    });
    named.filter(|name| name != "ref" && name != "fn").collect()
}

/// What the variables of a rule stand for.
fn read_kinds(pattern: TokenStream, kinds: &mut HashMap<String, String>) {
    let tokens: Vec<TokenTree> = pattern.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => read_kinds(group.stream(), kinds),
            TokenTree::Punct(mark) if mark.as_char() == '$' => {
                if let [
                    TokenTree::Ident(name),
                    TokenTree::Punct(colon),
                    TokenTree::Ident(kind),
                    ..,
                ] = &tokens[at + 1..]
                    && colon.as_char() == ':'
                {
                    kinds.insert(name.to_string(), kind.to_string());
                }
            }
            _ => {}
        }
    }
}

/// The body of a rule with something of the right kind for each variable, and each repetition once.
fn filled(body: TokenStream, kinds: &HashMap<String, String>) -> TokenStream {
    let mut out = TokenStream::new();
    let mut tokens = body.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(mark) if mark.as_char() == '$' => match tokens.next() {
                Some(TokenTree::Group(repeated)) => {
                    out.extend(filled(repeated.stream(), kinds));
                    // Its separator, then how often.
                    for _ in 0..2 {
                        let TokenTree::Punct(mark) = (match tokens.next() {
                            Some(token) => token,
                            None => break,
                        }) else {
                            continue;
                        };
                        if ['*', '+', '?'].contains(&mark.as_char()) {
                            break;
                        }
                    }
                }
                Some(TokenTree::Ident(name)) => {
                    let name = name.to_string();
                    let kind = kinds.get(&name).map_or("", String::as_str);
                    out.extend(example(&name, kind));
                }
                _ => {}
            },
            TokenTree::Group(group) => {
                let inner = filled(group.stream(), kinds);
                out.extend([TokenTree::Group(Group::new(group.delimiter(), inner))]);
            }
            token => out.extend([token]),
        }
    }
    out
}

fn example(name: &str, kind: &str) -> TokenStream {
    match kind {
        "block" => quote!({}),
        "vis" => quote!(),
        "item" => quote!(
            struct RebitItem;
        ),
        "literal" => quote!(0),
        "lifetime" => quote!('a),
        "stmt" => quote!(let _ = 0),
        _ if name == "crate" => quote!(crate),
        _ => Ident::new(&format!("rebit_{name}"), Span::call_site()).to_token_stream(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros_that_make_items_are_told_from_others() {
        for (rules, wanted) in [
            ("($n:ident) => { struct $n; }", true),
            (
                "($n:ident) => { struct $n; impl $n { fn f(&self) -> u8 { 1 } } };",
                true,
            ),
            (
                "($($n:ident: $t:ty),* $(,)?) => { $(pub struct $n($t);)* }",
                true,
            ),
            ("($v:vis $n:ident $b:block) => { $v fn $n() $b }", true),
            ("(a) => { struct A; }; (b) => { enum B { C } }", true),
            ("($x:expr) => { $x + 1 }", false),
            ("($x:expr) => { println!(\"{}\", $x); }", false),
            ("($x:expr) => { let a = $x; }", false),
            ("(a) => { struct A; }; ($x:expr) => { $x }", false),
            ("() => { fn f() -> u8 { 1 } f() }", false),
            ("", false),
        ] {
            assert_eq!(makes_items(&rules.parse().unwrap()), wanted, "{rules}");
        }
    }

    #[test]
    fn calls_that_make_items_are_told_from_others() {
        for (call, wanted) in [
            ("make!(Foo)", true),
            (
                "bitflags::bitflags! { #[derive(Debug)] pub struct A: u8 { const B = 1; } }",
                true,
            ),
            ("lazy_static! { static ref A: u8 = 1; }", true),
            ("println!(\"{}\", a)", false),
            ("quote! { struct A; }", false),
            ("vec![unsafe { 1 }]", false),
            ("f!(use_it)", false),
            ("f!()", false),
        ] {
            let call: syn::Macro = syn::parse_str(call).unwrap();
            let kind = Kind {
                makes_items: call.path.is_ident("make"),
                ..Kind::default()
            };
            assert_eq!(is_made(&call, kind), wanted, "{}", call.tokens);
        }
    }

    #[test]
    fn statics_are_told_from_lifetimes() {
        for (tokens, wanted) in [
            ("($n:ident) => { static $n: u8 = 1; }", true),
            ("($n:ident) => { fn $n() { static N: u8 = 1; } }", true),
            ("($n:ident) => { fn $n(a: &'static str) {} }", false),
        ] {
            assert_eq!(has_statics(tokens.parse().unwrap()), wanted, "{tokens}");
        }
    }

    #[test]
    fn a_call_that_defines_the_same_has_the_same_name() {
        let of = |call: &str| name(&syn::parse_str(call).unwrap());
        assert_eq!(of("make!(Foo)"), of("make!( Foo )"));
        assert_ne!(of("make!(Foo)"), of("make!(Bar)"));
        assert_ne!(of("of!(Tr, u8)"), of("of!(Tr, u16)"));
        assert_ne!(of("m! { impl A for B {} }"), of("m! { impl A for C {} }"));
        assert_ne!(of("make!(Foo)"), of("other!(Foo)"));
        assert_eq!(of("m! { pub struct A(u8); }"), of("m! { struct A(u16); }"));
        assert!(of("m!()").starts_with(MADE));
    }
}
