//! Variables that a cell binds anew, kept until it has done so.
//!
//! evcxr takes all variables out of the store before a cell, and puts back those that the cell has not bound again. Where
//! the cell then fails, neither the old value nor the new one is there. Here the old one goes back at the end of the cell
//! when there is no new one.

use std::collections::HashSet;

use proc_macro2::{TokenStream, TokenTree};

const LOAD: &str = "evcxr_variable_store.take_variable::<";
const STORE: &str = "evcxr_variable_store.put_variable";
/// How the function that runs a cell ends.
const END: &str = "\nevcxr_variable_store\n}";
/// Types whose values can be used and still be there.
const COPY: [&str; 16] = [
    "bool", "char", "u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "u128", "i128", "usize",
    "isize", "f32", "f64",
];

/// The cell with a call of `put_back` for each variable that it binds anew; `None` when there is none.
pub fn kept(cell: &str) -> Option<String> {
    let end = cell.rfind(END)?;
    let begin = cell[..end].rfind("\npub extern \"C\" fn run_user_code_")?;
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
    let mut back = String::new();
    for Call { name, of } in loads {
        if COPY.contains(&of.trim()) || !is_moved(name, user.clone()) {
            let call = format!("put_back::<{of}>(stringify!({name}), {name}); ");
            back += &format!("evcxr_variable_store.{call}");
        }
    }
    let at = end + 1;
    (!back.is_empty()).then(|| format!("{}{back}{}", &cell[..at], &cell[at..]))
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

/// The cell without those calls, for rustc to try again.
pub fn not_kept(cell: &str) -> Option<String> {
    let begin = cell.find("evcxr_variable_store.put_back")?;
    let end = begin + cell[begin..].find(&END[1..])?;
    Some(format!("{}{}", &cell[..begin], &cell[end..]))
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

/// Whether code may use a variable by value, before it binds the name anew.
fn is_moved(name: &str, code: TokenStream) -> bool {
    let mut by_reference = false;
    let mut is_looked_at = false;
    let mut in_pattern = false;
    let mut is_bound = false;
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
                true => is_bound = true,
                // `&v` and `v = w` leave it where it is; `&v.f()` may be `&(v.f())`.
                false if next == '=' || (was_reference && next != '.') => {}
                false => return true,
            },
            TokenTree::Ident(word) => {
                by_reference = was_reference && word == "mut";
                is_looked_at = next == '!' && LOOKING.iter().any(|looking| word == looking);
            }
            TokenTree::Punct(mark) => match mark.as_char() {
                '&' => by_reference = true,
                '!' => is_looked_at = only_looks,
                '=' => in_pattern = false,
                // What follows means the new one.
                ';' if is_bound => return false,
                ';' => in_pattern = false,
                _ => {}
            },
            TokenTree::Group(group) if in_pattern => {
                is_bound |= mentions(name, group.stream());
            }
            TokenTree::Group(group) => {
                if !only_looks && is_moved(name, group.stream()) {
                    return true;
                }
            }
            TokenTree::Literal(_) => {}
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
            assert_eq!(is_moved("v", code.parse().unwrap()), moved, "{code}");
        }
    }

    fn cell(user: &str) -> String {
        format!(
            "use a::b;\n#[unsafe(no_mangle)]\npub extern \"C\" fn run_user_code_3(\n\
             let mut v = evcxr_variable_store.take_variable::<Vec<u8>>(stringify!(v));\n\
             let w = evcxr_variable_store.take_variable::<u8>(stringify!(w));\n\
             match std::panic::catch_unwind(\n  std::panic::AssertUnwindSafe(||{{\n{user}\n\
             evcxr_variable_store.put_variable::<u8>(stringify!(v), v);\n}})) {{ \n  Ok(_) => {{}}\n\
             }}\nevcxr_variable_store.put_variable::<u8>(stringify!(w), w);\nevcxr_variable_store\n}}\n"
        )
    }

    #[test]
    fn the_old_value_goes_back_unless_it_is_used() {
        let with = kept(&cell("let v = 1;")).unwrap();
        let back = "\nevcxr_variable_store.put_back::<Vec<u8>>(stringify!(v), v); \
                    evcxr_variable_store\n}\n";
        assert!(with.ends_with(back), "{with}");
        assert_eq!(with.lines().count(), cell("let v = 1;").lines().count());
        assert_eq!(not_kept(&with), Some(cell("let v = 1;")));
        assert_eq!(kept(&cell("let v = v.len();")), None);
        assert_eq!(not_kept(&cell("")), None);
    }
}
