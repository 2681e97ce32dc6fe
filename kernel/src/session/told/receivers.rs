//! Whether methods take what they are called on.

use super::kind::Type;
use super::uses::{Watched, is_name};

/// Methods of the standard library that borrow what they are called on, whatever that is.
const BORROWING: [&str; 3] = ["clone", "to_string", "to_owned"];
/// Those of its own types, which have no others of these names.
const OF_STD: [&str; 36] = [
    "as_mut",
    "as_ref",
    "as_secs_f32",
    "as_secs_f64",
    "as_slice",
    "as_str",
    "chars",
    "chunks",
    "clear",
    "concat",
    "contains",
    "display",
    "elapsed",
    "ends_with",
    "extend",
    "first",
    "get",
    "insert",
    "is_empty",
    "is_err",
    "is_none",
    "is_ok",
    "is_some",
    "iter",
    "iter_mut",
    "join",
    "last",
    "len",
    "lines",
    "pop",
    "push",
    "push_str",
    "remove",
    "sort",
    "to_vec",
    "windows",
];
/// Those of its own types that take what they are called on.
const TAKING: [&str; 10] = [
    "expect",
    "into_boxed_slice",
    "into_iter",
    "into_string",
    "ok",
    "unwrap",
    "unwrap_or",
    "unwrap_or_default",
    "unwrap_or_else",
    "and_then",
];

impl Watched<'_> {
    /// Whether a method only looks at what it is called on.
    pub fn looks(&self, call: &syn::ExprMethodCall) -> Option<bool> {
        let method = call.method.to_string();
        let of = match is_name(&call.receiver, self.name) {
            true => self.of.cloned(),
            false => self.reader.of(&call.receiver),
        };
        let names = self.reader.names;
        if self.is_copied(of.as_ref()) {
            return Some(true);
        }
        if let Some(member) = of.as_ref().and_then(|of| names.member(of, &method)) {
            return member.looks;
        }
        let is = |list: &[&str]| list.contains(&method.as_str());
        match of.as_ref().and_then(Type::as_std) {
            Some(_) if is(&TAKING) => Some(false),
            Some(_) if is(&OF_STD) || is(&BORROWING) => Some(true),
            Some(_) => None,
            None if is(&BORROWING) => Some(true),
            // Of a trait, whose methods that take something could take a reference to it.
            None => names.of_traits(&method).filter(|looks| *looks),
        }
    }
}
