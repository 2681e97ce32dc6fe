//! Variables that a cell binds anew, kept until it has done so.
//!
//! evcxr takes all variables out of the store before a cell, and puts back those that the cell has not bound again. Where
//! the cell then fails, neither the old value nor the new one is there. Here the old one goes back at the end of the cell
//! when there is no new one.
//!
//! What the cell binds anew without having looked at it stays in the store. Its type may have another definition by now,
//! in this very cell: then it could not be read, and evcxr would take the loss of the old value for that of the new one.

use std::collections::HashSet;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::FUNCTION;

const LOAD: &str = "evcxr_variable_store.take_variable::<";
const STORE: &str = "evcxr_variable_store.put_variable";
const CHECK: &str = "evcxr_variable_store.check_variable::<";
/// How the function that runs a cell ends.
const END: &str = "\nevcxr_variable_store\n}";
/// Types whose values can be used and still be there.
const COPY: [&str; 16] = [
    "bool", "char", "u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "u128", "i128", "usize",
    "isize", "f32", "f64",
];

/// The cell without reading what it binds anew and never looks at, and with a call of `put_back` for each other variable
/// that it binds anew; `None` when there is none.
pub fn kept(cell: &str) -> Option<String> {
    let end = cell.rfind(END)?;
    let begin = cell[..end].rfind(FUNCTION)?;
    let body = &cell[begin..end];
    // New variables are stored inside of what is caught, the others behind it.
    let caught = body.rfind("\n})) { \n")?;
    let new: HashSet<&str> = calls(&body[..caught], STORE)
        .map(|call| call.name)
        .collect();
    let loaded = &body[..body.find("AssertUnwindSafe(")?];
    let mut loads = calls(loaded, LOAD)
        .filter(|call| new.contains(call.name))
        .peekable();
    loads.peek()?;
    let user = user_code(&body[..caught])?;
    let loaded_end = begin + loaded.len();
    let mut before = cell[..loaded_end].to_string();
    let mut back = String::new();
    for Call { name, of } in loads {
        if !is_used(name, user.clone(), Use::Any) {
            leave_in_store(&mut before, name, of);
            back += &format!("evcxr_variable_store.put_back_unread(::core::stringify!({name})); ");
        } else if COPY.contains(&of.trim()) || !is_used(name, user.clone(), Use::ByValue) {
            let call = format!("put_back::<{of}>(stringify!({name}), {name}); ");
            back += &format!("evcxr_variable_store.{call}");
        }
    }
    let at = end + 1;
    let (rest, last) = (&cell[loaded_end..at], &cell[at..]);
    (!back.is_empty()).then(|| format!("{before}{rest}{back}{last}"))
}

/// A variable that is not read: where its type has another definition now, its value ends.
fn leave_in_store(code: &mut String, name: &str, of: &str) {
    let check = format!("{CHECK}{of}>(stringify!({name}))");
    let left = format!("evcxr_variable_store.keep_variable::<{of}>(stringify!({name}))");
    *code = code.replace(&check, &left);
    for mutable in ["", "mut "] {
        let load = format!("let {mutable}{name} = {LOAD}{of}>(stringify!({name}));");
        *code = code.replace(&load, "");
    }
}

/// What the user wrote, of all that is caught.
fn user_code(caught: &str) -> Option<TokenStream> {
    let begins = [
        "AssertUnwindSafe(||{\n",
        "Result<(), EvcxrUserCodeError> {\n",
        ".block_on(async {\n",
    ];
    let begin = begins
        .iter()
        .filter_map(|words| Some(caught.rfind(words)? + words.len()))
        .max()?;
    let code = &caught[begin..];
    code[..code.find(STORE)?].parse().ok()
}

struct Call<'a> {
    name: &'a str,
    of: &'a str,
}

/// The calls that evcxr generated: for which variables, of which types.
fn calls<'a>(text: &'a str, function: &'a str) -> impl Iterator<Item = Call<'a>> {
    text.match_indices(function).filter_map(move |(at, _)| {
        let call = &text[at..];
        let (_, rest) = call.split_once("::<")?;
        let (of, rest) = rest.split_once(">(")?;
        let (_, rest) = rest.split_once("stringify!(")?;
        let (name, _) = rest.split_once(')')?;
        Some(Call { name, of })
    })
}

/// Macros that only look at what they are given.
const LOOKING: [&str; 13] = [
    "println",
    "print",
    "eprintln",
    "eprint",
    "format",
    "write",
    "writeln",
    "assert",
    "assert_eq",
    "assert_ne",
    "panic",
    "claim",
    "finding",
];

/// A use of a variable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Any, the name in a text that a macro may format included.
    Any,
    /// One that takes the value away.
    ByValue,
}

/// Whether code may use a variable before it binds the name anew.
fn is_used(name: &str, code: TokenStream, what: Use) -> bool {
    let mut by_reference = false;
    let mut is_looked_at = false;
    let mut in_pattern = false;
    let mut is_bound = false;
    // `if let` and `while let` bind for the braces behind them.
    let mut is_condition = false;
    let mut tokens = code.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let was_reference = std::mem::take(&mut by_reference);
        let only_looks = std::mem::take(&mut is_looked_at);
        let next = match tokens.peek() {
            Some(TokenTree::Punct(mark)) => mark.as_char(),
            _ => ' ',
        };
        match token {
            TokenTree::Ident(word) if word == "let" => in_pattern = true,
            TokenTree::Ident(word) if word == name => match in_pattern {
                true => is_bound |= !is_condition,
                false if what == Use::Any => return true,
                // `&v` and `v = w` leave it where it is; `&v.f()` may be `&(v.f())`.
                false if next == '=' || (was_reference && next != '.') => {}
                false => return true,
            },
            TokenTree::Ident(word) => {
                is_condition |= word == "if" || word == "while";
                by_reference = was_reference && word == "mut";
                is_looked_at = next == '!' && LOOKING.iter().any(|looking| word == looking);
            }
            TokenTree::Punct(mark) => match mark.as_char() {
                '&' => by_reference = true,
                '!' => is_looked_at = only_looks,
                '=' => in_pattern = false,
                // What follows means the new one.
                ';' if is_bound => return false,
                ';' => (in_pattern, is_condition) = (false, false),
                _ => {}
            },
            TokenTree::Group(group) if in_pattern => {
                is_bound |= !is_condition && mentions(name, group.stream());
            }
            TokenTree::Group(group) => {
                if group.delimiter() == Delimiter::Brace {
                    is_condition = false;
                }
                if !(only_looks && what == Use::ByValue) && is_used(name, group.stream(), what) {
                    return true;
                }
            }
            TokenTree::Literal(text) => {
                if what == Use::Any && text.to_string().contains(name) {
                    return true;
                }
            }
        }
    }
    false
}

fn mentions(name: &str, code: TokenStream) -> bool {
    code.into_iter().any(|token| match token {
        TokenTree::Ident(word) => word == name,
        TokenTree::Group(group) => mentions(name, group.stream()),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_by_value_is_told_from_a_look() {
        let table = [
            ("let v = 1;", false),
            ("let v = &v;", false),
            ("let v = f(&mut v);", false),
            ("println!(\"{}\", v); let v = 1;", false),
            ("let (v, w) = f(); g(v);", false),
            ("let v: u8 = 1; drop(v);", false),
            ("v = 2; let v = 1;", false),
            ("let w = 1; let v = w;", false),
            ("let v = v;", true),
            ("let v = v.next();", true),
            ("let v = &v.next();", true),
            ("let v = { let w = v; w };", true),
            ("let v = vec![v];", true),
            ("f(v); let v = 1;", true),
            ("let w = v; let v = 1;", true),
        ];
        for (code, moved) in table {
            let used = is_used("v", code.parse().unwrap(), Use::ByValue);
            assert_eq!(used, moved, "{code}");
        }
    }

    #[test]
    fn any_use_is_seen() {
        let table = [
            ("let v = 1;", false),
            ("let w = 1; let v = w; v.f();", false),
            ("let (v, w) = f(); g(v);", false),
            ("{ let v = 1; } let v = 2;", false),
            ("let v = &v;", true),
            ("println!(\"{v}\"); let v = 1;", true),
            ("println!(\"{}\", v); let v = 1;", true),
            ("{ v.push(1); } let v = 1;", true),
            (
                "if let Some(v) = f() { 1 } else { 2 }; g(&v); let v = 1;",
                true,
            ),
            ("while let Some(v) = f() {}; g(&v); let v = 1;", true),
            ("if true {} let v = 1; g(v);", false),
        ];
        for (code, used) in table {
            assert_eq!(
                is_used("v", code.parse().unwrap(), Use::Any),
                used,
                "{code}"
            );
        }
    }

    fn cell(user: &str) -> String {
        format!(
            "use a::b;\n#[unsafe(no_mangle)]\npub extern \"C\" fn run_user_code_3(\n\
             {{let mut vars_ok = true;\nvars_ok &= evcxr_variable_store.check_variable::<Vec<u8>>(stringify!(v));\n}}\n\
             let mut v = evcxr_variable_store.take_variable::<Vec<u8>>(stringify!(v));\n\
             let w = evcxr_variable_store.take_variable::<u8>(stringify!(w));\n\
             match std::panic::catch_unwind(\n  std::panic::AssertUnwindSafe(||{{\n{user}\n\
             evcxr_variable_store.put_variable::<u8>(stringify!(v), v);\n}})) {{ \n  Ok(_) => {{}}\n\
             }}\nevcxr_variable_store.put_variable::<u8>(stringify!(w), w);\nevcxr_variable_store\n}}\n"
        )
    }

    #[test]
    fn the_old_value_goes_back_unless_it_is_used() {
        let code = "println!(\"{v:?}\"); let v = 1;";
        let with = kept(&cell(code)).unwrap();
        let back = "\nevcxr_variable_store.put_back::<Vec<u8>>(stringify!(v), v); \
                    evcxr_variable_store\n}\n";
        assert!(with.ends_with(back), "{with}");
        assert_eq!(with.lines().count(), cell(code).lines().count());
        assert_eq!(kept(&cell("let v = v.len();")), None);
    }

    #[test]
    fn what_is_never_looked_at_stays_in_the_store() {
        let with = kept(&cell("let v = 1;")).unwrap();
        assert!(!with.contains("take_variable::<Vec<u8>>"), "{with}");
        assert!(
            with.contains(
                "vars_ok &= evcxr_variable_store.keep_variable::<Vec<u8>>(stringify!(v));"
            )
        );
        assert!(with.contains("put_back_unread(::core::stringify!(v));"));
        assert!(with.contains("take_variable::<u8>(stringify!(w));"));
        assert_eq!(with.lines().count(), cell("let v = 1;").lines().count());
    }
}
