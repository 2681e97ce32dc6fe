//! The types of what a cell binds, where signatures tell them, so that rustc need not be asked.
//!
//! | file | what is in it |
//! |---|---|
//! | [`kind`] | types |
//! | [`names`], [`written`], `members` | what names and types mean in a cell, and what belongs to them |
//! | [`expr`] | the type of an expression |
//! | [`uses`], `macros`, `receivers` | whether the cell takes a variable away |
//!
//! A type that is told is written behind the variable (`let net: T = net;`), so that a wrong one is an error to rustc, never
//! another program; the session then asks as if nothing had been told.

mod expr;
mod kind;
mod macros;
mod members;
mod names;
mod receivers;
#[cfg(test)]
mod tests;
mod uses;
mod written;

use syn::parse::Parser;
use syn::visit::Visit;
use syn::{Pat, Stmt};

use super::history::History;
use super::rewrite::Cell;
use super::types::Answers;
use crate::language::commands::head;
use crate::language::index::Index;
use expr::{Reader, Variables};
use kind::Type;
use names::Names;
use uses::{Fate, Watched};
use written::Scope;

/// What is known before a cell.
pub struct Before<'a> {
    /// The cells before it.
    pub history: &'a History,
    /// Variables and their types.
    pub variables: &'a [(String, String)],
    /// The library's names.
    pub index: &'a Index,
}

/// The types of all variables that a cell binds, and which of them it takes away; `None` where one of this is not sure.
pub fn told(cell: &Cell, before: &Before<'_>) -> Option<Answers> {
    // Commands would be followed again where the types do not fit.
    if head(&cell.user).iter().any(|line| line.is_command()) {
        return None;
    }
    let earlier: Vec<&str> = before.history.items().collect();
    let own = cell.items.iter().map(|item| item.text.as_str());
    let items = own.chain(earlier.into_iter().rev()).collect();
    let names = Names::new(items, before.index);
    let has_macro = |name: &str| {
        cell.macros.iter().any(|(own, _)| own == name) || before.history.has_macro(name)
    };
    let mut variables = Variables::new();
    for (name, of) in before.variables {
        let of = syn::parse_str(of).ok();
        variables.insert(name.clone(), of.and_then(|of| written(&of, &names)));
    }
    let parse = |part: &super::rewrite::Part| {
        let parsed = syn::Block::parse_within.parse_str(&part.text).ok()?;
        <[Stmt; 1]>::try_from(parsed).ok()
    };
    let statements = cell
        .statements
        .iter()
        .map(|part| parse(part).map(|[one]| one));
    let statements: Vec<Stmt> = statements.collect::<Option<_>>()?;
    // Of names that are bound twice the last binding is kept.
    let mut bound: Vec<Bound> = Vec::new();
    let mut unsteady: Vec<String> = Vec::new();
    for (at, statement) in statements.iter().enumerate() {
        let Stmt::Local(local) = statement else {
            continue;
        };
        let reader = Reader {
            names: &names,
            variables: &variables,
            has_macro: &has_macro,
        };
        let plain = local.init.as_ref().filter(|init| init.diverge.is_none());
        let of = plain.and_then(|init| reader.of(&init.expr));
        let mut here = Vec::new();
        bind(&local.pat, of, &names, &mut here);
        for (name, of) in here {
            bound.retain(|old| old.name != name);
            let before = variables.insert(name.clone(), of.clone());
            if before.is_some_and(|before| before != of) {
                unsteady.push(name.clone());
            }
            bound.push(Bound { name, of, at });
        }
    }
    // Which of its types a name has at one place is not worth knowing.
    for name in unsteady {
        variables.insert(name, None);
    }
    let reader = Reader {
        names: &names,
        variables: &variables,
        has_macro: &has_macro,
    };
    let mut answers = Answers::default();
    for variable in &cell.bound {
        let Bound { name, of, at } = bound.iter().find(|bound| bound.name == variable.name)?;
        let written = variable.of.clone();
        let of_text = written.or_else(|| of.as_ref().map(Type::to_string))?;
        let watched = Watched {
            name,
            of: of.as_ref(),
            reader: &reader,
        };
        match watched.fate(&statements[at + 1..]) {
            Fate::Kept => {}
            Fate::Moved => answers.moved.push((name.clone(), of_text.clone())),
            Fate::Unsure => return None,
        }
        answers.named.push((name.clone(), of_text));
    }
    Some(answers)
}

/// A variable that the cell binds, and the statement that does so.
struct Bound {
    name: String,
    of: Option<Type>,
    at: usize,
}

/// What a pattern binds to a value of a type.
fn bind(pat: &Pat, of: Option<Type>, names: &Names<'_>, found: &mut Vec<(String, Option<Type>)>) {
    match (pat, of) {
        (Pat::Ident(ident), of) if ident.by_ref.is_none() && ident.subpat.is_none() => {
            found.push((ident.ident.to_string(), of));
        }
        (Pat::Type(typed), _) => bind(&typed.pat, written(&typed.ty, names), names, found),
        (Pat::Paren(inner), of) => bind(&inner.pat, of, names, found),
        (Pat::Tuple(pats), Some(Type::Tuple(parts)))
            if pats.elems.len() == parts.len()
                && !pats.elems.iter().any(|pat| matches!(pat, Pat::Rest(_))) =>
        {
            for (pat, of) in pats.elems.iter().zip(parts) {
                bind(pat, Some(of), names, found);
            }
        }
        (Pat::Slice(pats), Some(Type::Array(of, count)))
            if pats.elems.len() == count
                && !pats.elems.iter().any(|pat| matches!(pat, Pat::Rest(_))) =>
        {
            for pat in &pats.elems {
                bind(pat, Some((*of).clone()), names, found);
            }
        }
        (pat, _) => {
            let mut all = AllNames::default();
            all.visit_pat(pat);
            found.extend(all.0.into_iter().map(|name| (name, None)));
        }
    }
}

#[derive(Default)]
struct AllNames(Vec<String>);

impl<'ast> Visit<'ast> for AllNames {
    fn visit_pat_ident(&mut self, ident: &'ast syn::PatIdent) {
        self.0.push(ident.ident.to_string());
        syn::visit::visit_pat_ident(self, ident);
    }
}

/// A type that somebody has written; `None` with something left to infer.
fn written(of: &syn::Type, names: &Names<'_>) -> Option<Type> {
    use quote::ToTokens;
    if let syn::Type::Tuple(tuple) = of {
        let parts = tuple.elems.iter().map(|part| written(part, names));
        return parts.collect::<Option<_>>().map(Type::Tuple);
    }
    if let Some(of) = names.read(of, Scope::Cell(None)) {
        return Some(of);
    }
    let known = match of {
        syn::Type::Path(path) if path.qself.is_none() => known_outside(&path.path, names),
        _ => None,
    };
    let text = of.to_token_stream();
    let is_whole = !names::mentions(text.clone(), "_");
    is_whole.then(|| known.unwrap_or_else(|| Type::Other(text.to_string())))
}

/// A type of the standard library, whatever it is made of.
fn known_outside(path: &syn::Path, names: &Names<'_>) -> Option<Type> {
    let (last, before) = names::split(path)?;
    let name = last.ident.to_string();
    let syn::PathArguments::AngleBracketed(args) = &last.arguments else {
        return None;
    };
    let args = args.args.iter().map(|arg| match arg {
        syn::GenericArgument::Type(of) => written(of, names),
        _ => None,
    });
    let args = args.collect::<Option<_>>()?;
    match before.first().map(String::as_str) {
        None if names.is_free(&name) => Type::std_prelude(&name, args),
        Some("std" | "core" | "alloc") => Type::std(&name, args),
        _ => None,
    }
}
