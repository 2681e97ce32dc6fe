//! Variables whose types are the user's carry a fingerprint of those types' definitions.
//!
//! All cells of a session are one crate to rustc, so that a type of an earlier cell is the same type in a later one.
//! Of two definitions with one name it therefore says the same (`TypeId`), and reading a value by the other one reads
//! its bytes as what they are not. The store of variables tells them apart by this number.

use proc_macro2::{Group, TokenStream, TokenTree};
use sha2::{Digest, Sha256};

use super::items::{Definition, Items};

/// How evcxr writes a call of the store.
const CALL: &str = "evcxr_variable_store.";
/// What it calls, and whether the value's definition matters.
const FUNCTIONS: [(&str, bool); 5] = [
    ("check_variable", true),
    ("keep_variable", true),
    ("put_variable", true),
    ("put_back", true),
    ("take_variable", false),
];
const NAME: &str = ">(stringify!(";
/// Without one of these there is no type of the user's.
const DEFINING: [&str; 7] = [
    "struct ",
    "enum ",
    "union ",
    "type ",
    "trait ",
    "mod ",
    "macro_rules!",
];

/// The cell whose calls of the store say what the user's types are, wherever that matters.
pub fn with_fingerprints(cell: &str) -> String {
    if !cell.contains(CALL) {
        return cell.to_string();
    }
    let defines = DEFINING.iter().any(|word| cell.contains(word));
    // Where it does not parse, rustc has more to say to it.
    let file = defines.then(|| syn::parse_file(cell).ok()).flatten();
    let items = file.map(|file| Items::of(&file));
    let mut out = String::with_capacity(cell.len() + 256);
    let mut rest = cell;
    while let Some((before, call)) = rest.split_once(CALL) {
        out += before;
        out += CALL;
        rest = call;
        let Some(parts) = Parts::of(call) else {
            continue;
        };
        let Parts {
            function,
            of,
            name,
            rest: after,
        } = parts;
        let is_told = FUNCTIONS.contains(&(function, true));
        let print = items.as_ref().filter(|_| is_told);
        let print = print.and_then(|items| {
            let own = without_outside(of.parse().ok()?);
            of_type(&Definition::of(own), items)
        });
        out += &match print {
            None => format!("{function}::<{of}>(::core::stringify!({name})"),
            Some(print) => {
                format!("{function}_defined::<{of}>({print:#018x}, ::core::stringify!({name})")
            }
        };
        rest = after;
    }
    out + rest
}

/// A call of the store, behind its beginning.
struct Parts<'a> {
    function: &'a str,
    of: &'a str,
    name: &'a str,
    rest: &'a str,
}

impl<'a> Parts<'a> {
    fn of(call: &'a str) -> Option<Parts<'a>> {
        let function = FUNCTIONS.iter().map(|(name, _)| *name);
        let function = function.into_iter().find(|name| call.starts_with(name))?;
        let rest = call[function.len()..].strip_prefix("::<")?;
        let (of, rest) = rest.split_once(NAME)?;
        let (name, rest) = rest.split_once(')')?;
        Some(Parts {
            function,
            of,
            name,
            rest,
        })
    }
}

/// Crates that no path within a cell begins with but for their own types.
const CRATES: [&str; 5] = ["std", "core", "alloc", "rebit", "dfdx"];

/// A type without the names in paths that begin outside of the cell: `rebit::nn::Net` is not what a cell calls `Net`.
fn without_outside(of: TokenStream) -> TokenStream {
    let mut out = Vec::new();
    // Colons since the last token that is none, whether a name stood before them, and whether the path is another crate's.
    let (mut colons, mut named, mut is_outside) = (0, false, false);
    for token in of {
        match token {
            TokenTree::Punct(mark) if mark.as_char() == ':' => {
                colons += 1;
                out.push(TokenTree::Punct(mark));
                continue;
            }
            TokenTree::Ident(name) => {
                let goes_on = colons == 2 && named;
                if !goes_on {
                    is_outside = colons == 2 || CRATES.iter().any(|one| name == one);
                }
                named = true;
                if !is_outside {
                    out.push(TokenTree::Ident(name));
                }
            }
            TokenTree::Group(group) => {
                named = false;
                let inner = without_outside(group.stream());
                out.push(TokenTree::Group(Group::new(group.delimiter(), inner)));
            }
            other => {
                named = false;
                out.push(other);
            }
        }
        colons = 0;
    }
    out.into_iter().collect()
}

/// The fingerprint of a type that mentions definitions of the user.
fn of_type(of: &Definition, items: &Items) -> Option<u64> {
    let below = items.below(of);
    if below.is_empty() {
        return None;
    }
    let mut hash = Sha256::new();
    for text in below {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    let bytes = hash.finalize();
    Some(u64::from_le_bytes(
        bytes[..8].try_into().expect("eight bytes"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(items: &str, of: &str) -> String {
        format!(
            "{items}\npub fn run() {{\nevcxr_variable_store.check_variable::<{of}>(stringify!(a));\n\
             let a = evcxr_variable_store.take_variable::<{of}>(stringify!(a));\n\
             evcxr_variable_store.put_variable::<{of}>(stringify!(a), a);\n}}\n"
        )
    }

    fn prints(text: &str) -> Vec<&str> {
        text.match_indices("0x")
            .map(|(at, _)| &text[at..at + 18])
            .collect()
    }

    #[test]
    fn only_users_types_have_one() {
        let plain = cell("struct F(u8);", "Vec<u8>");
        assert_eq!(
            with_fingerprints(&plain),
            plain.replace("stringify!", "::core::stringify!")
        );
        let of_user = with_fingerprints(&cell("struct F(u8);", "Vec<F>"));
        assert!(
            of_user.contains("store.check_variable_defined::<Vec<F>>(0x"),
            "{of_user}"
        );
        assert!(
            of_user.contains("store.put_variable_defined::<Vec<F>>(0x"),
            "{of_user}"
        );
        assert!(of_user.contains("store.take_variable::<Vec<F>>(::core::stringify!(a))"));
        assert!(
            of_user.contains(", ::core::stringify!(a), a);\n}"),
            "{of_user}"
        );
        let prints = prints(&of_user);
        assert_eq!((prints.len(), prints[0]), (2, prints[1]));
    }

    #[test]
    fn a_type_of_the_librarys_is_not_the_users_of_that_name() {
        for of in [
            "rebit::nn::Net",
            "::rebit::nn::Net",
            "Vec<rebit::nn::Net>",
            "(rebit::nn::Net, ::rebit::Images<::std::vec::Vec<u8>>)",
        ] {
            let told = with_fingerprints(&cell("struct Net(u8); struct Images;", of));
            assert!(prints(&told).is_empty(), "{of}: {told}");
        }
        for of in [
            "Net",
            "rebit::Wrapped<Net>",
            "crate::Net",
            "inner::Net",
            "(rebit::A, Net)",
        ] {
            let told = with_fingerprints(&cell("struct Net(u8);", of));
            assert_eq!(prints(&told).len(), 2, "{of}: {told}");
        }
    }

    #[test]
    fn another_definition_has_another() {
        let of = |items: &str| prints(&with_fingerprints(&cell(items, "F")))[0].to_string();
        assert_ne!(of("struct F { a: usize }"), of("struct F { a: Box<i64> }"));
        assert_eq!(
            of("struct F { a: usize }"),
            of("#[derive(Clone)] struct F { a: usize } impl F { fn f() {} }")
        );
    }
}
