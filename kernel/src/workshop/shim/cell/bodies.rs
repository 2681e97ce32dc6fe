//! What functions of earlier cells do, left out where a cell is only asked for the types of its variables.
//!
//! All items of a session are one crate, so that rustc would read what every function of every earlier cell does, only to tell
//! a type. The signatures say all that matters; each body becomes a loop without end, line for line.

use std::collections::HashSet;
use std::iter::Peekable;
use std::ops::Range;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree, token_stream::IntoIter};

/// How the function begins into which evcxr puts what is only to be checked.
const CHECKED: &str = "\nasync fn evcxr_analysis_wrapper(";
/// What is run while rustc compiles, or is more than its signature says; the type of a static may be a `fn`.
const UNTOLD: [&str; 3] = ["const", "static", "async"];
/// What a body becomes: of any type.
const ENDLESS: &str = "loop{}";

/// The cell without the bodies of functions, but for those that it defines itself (`fresh`) and those that say more than
/// their signatures do: what is returned as `impl Trait` or `async`, what constants call, implementations within.
pub fn without_bodies(cell: &str, fresh: &HashSet<String>) -> String {
    let Some(end) = cell.rfind(CHECKED) else {
        return cell.to_string();
    };
    let Ok(tokens) = cell[..end].parse::<TokenStream>() else {
        return cell.to_string();
    };
    let mut bodies = Vec::new();
    find(tokens, fresh, &mut bodies);
    let mut out = String::with_capacity(cell.len());
    let mut from = 0;
    for body in bodies {
        out += &cell[from..body.start];
        out += ENDLESS;
        out.extend(cell[body.start..body.end].matches('\n'));
        from = body.end;
    }
    out + &cell[from..]
}

/// The bodies among these items, what lies between the braces of each.
fn find(tokens: TokenStream, fresh: &HashSet<String>, bodies: &mut Vec<Range<usize>>) {
    let mut tokens = tokens.into_iter().peekable();
    // Words since the item began.
    let mut before: Vec<String> = Vec::new();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(word) if word == "fn" => {
                let name = tokens.peek().map(ToString::to_string).unwrap_or_default();
                let is_told = !before.iter().any(|word| UNTOLD.contains(&word.as_str()));
                let body = body(&mut tokens).filter(|_| is_told && !fresh.contains(&name));
                bodies.extend(body);
                before.clear();
            }
            TokenTree::Ident(word) => before.push(word.to_string()),
            TokenTree::Punct(mark) if mark.as_char() == ';' => before.clear(),
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                let is_own = before.iter().any(|word| fresh.contains(word));
                let holds_items = ["impl", "trait", "mod"]
                    .iter()
                    .any(|item| before.iter().any(|word| word == item));
                // A function in there has a name of its own only within.
                if holds_items && !is_own {
                    find(group.stream(), &HashSet::new(), bodies);
                }
                before.clear();
            }
            TokenTree::Punct(_) | TokenTree::Group(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Reads on to the end of a function; its body, where the signature says what it returns.
fn body(tokens: &mut Peekable<IntoIter>) -> Option<Range<usize>> {
    let mut returns = false;
    let mut hides_type = false;
    let mut last = ' ';
    for token in tokens {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                let inside = inside(&group);
                let is_long = inside.len() >= ENDLESS.len() && inside_is_simple(group.stream());
                return (is_long && !hides_type).then_some(inside);
            }
            TokenTree::Group(group) => hides_type |= returns && mentions(group.stream(), "impl"),
            TokenTree::Ident(word) => hides_type |= returns && word == "impl",
            TokenTree::Punct(mark) => {
                if mark.as_char() == ';' {
                    return None;
                }
                returns |= last == '-' && mark.as_char() == '>';
                last = mark.as_char();
            }
            TokenTree::Literal(_) => {}
        }
    }
    None
}

/// Whether nothing in a body counts outside of it.
fn inside_is_simple(body: TokenStream) -> bool {
    !["impl", "extern", "no_mangle"]
        .iter()
        .any(|word| mentions(body.clone(), word))
}

fn mentions(tokens: TokenStream, name: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(word) => word == name,
        TokenTree::Group(group) => mentions(group.stream(), name),
        _ => false,
    })
}

fn inside(group: &Group) -> Range<usize> {
    group.span_open().byte_range().end..group.span_close().byte_range().start
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: &str = "fn evcxr_variable_store<T: 'static>(_: T) {}\n\
        async fn evcxr_analysis_wrapper(\n) { let r = g(&p); }\n";

    fn emptied(items: &str, fresh: &[&str]) -> String {
        let cell = format!("{items}\n{CELL}");
        let fresh = fresh.iter().map(|name| name.to_string()).collect();
        let found = without_bodies(&cell, &fresh);
        assert_eq!(found.lines().count(), cell.lines().count());
        found
            .strip_suffix(&format!("\n{CELL}"))
            .unwrap()
            .to_string()
    }

    #[test]
    fn bodies_become_loops_line_for_line() {
        assert_eq!(
            emptied("fn g(p: &P) -> u8 { p.f() + 1 }", &[]),
            "fn g(p: &P) -> u8 {loop{}}"
        );
        assert_eq!(
            emptied(
                "struct P { a: u8 }\nimpl P {\n  fn f(&self) -> u8 {\n    self.a\n  }\n}",
                &[]
            ),
            "struct P { a: u8 }\nimpl P {\n  fn f(&self) -> u8 {loop{}\n\n}\n}"
        );
        let generic = "trait T<const N: usize> { fn f<A: Into<u8>>(x: [A; 3]) -> Vec<A> where A: Copy { x.to_vec() } }";
        let found = emptied(generic, &[]);
        assert!(
            found.contains("where A: Copy {loop{}") && !found.contains("to_vec"),
            "{found}"
        );
    }

    #[test]
    fn what_a_cell_defines_itself_stays() {
        for item in [
            "fn g() -> u8 { let b = 2; b }",
            "impl Layer for Own { fn f(&self) -> u8 { self.long() } }",
        ] {
            assert_eq!(emptied(item, &["g", "Own"]), item);
        }
    }

    #[test]
    fn what_signatures_do_not_say_stays() {
        for item in [
            "fn h(p: &P) -> impl Fn() -> usize { let v = p.f(); move || v }",
            "fn h(p: &P) -> Vec<Box<(impl Fn() + 'static)>> { let v = p.f(); many(v) }",
            "async fn later(n: u64) -> u64 { sleep(n).await; n }",
            "const fn size() -> usize { let a = 3; a * 4 }",
            "fn outer() { struct A; impl Show for A { fn f(&self) {} } }",
            "macro_rules! make { () => { fn made() -> u8 { 1 + 2 + 3 } } }",
            "make! { fn made() -> u8 { 1 + 2 + 3 } }",
            "static S: Lazy<u8> = Lazy::new(|| { let a = 3; a });",
            "static F: fn(u8) -> u8 = { let a = |x| x + 1; a };",
            "type F = fn(u8) -> u8; struct S { f: fn(u8) -> u8 }",
            "fn empty() {}",
            "unsafe extern \"C\" { fn outside(a: u8) -> u8; }",
        ] {
            assert_eq!(emptied(item, &[]), item);
        }
        let taken = emptied("fn h(f: impl Fn() -> u8) -> u8 { f() + f() }", &[]);
        assert_eq!(taken, "fn h(f: impl Fn() -> u8) -> u8 {loop{}}");
    }

    #[test]
    fn what_does_not_parse_is_left_to_rustc() {
        assert_eq!(
            emptied("fn g( { long_enough() }", &[]),
            "fn g( { long_enough() }"
        );
    }
}
