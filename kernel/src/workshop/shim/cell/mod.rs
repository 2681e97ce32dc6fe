//! A cell as evcxr generates it, made into what rustc gets: line for line, so that places stay what they are.

mod bodies;
mod fingerprint;
mod items;
mod macros;
mod names;
mod question_mark;
mod rebound;
mod statics;
mod store;

use std::collections::{BTreeMap, HashSet};

pub use bodies::without_bodies;
pub use question_mark::complaint;
pub use statics::{SYMBOL, Shared};

/// How the function of a cell begins, which evcxr calls; its number follows.
const FUNCTION: &str = "\npub extern \"C\" fn run_user_code_";
/// How cells begin.
const ALLOWED: &str = "#![allow(unused_imports, unused_mut, dead_code)]\n";
/// The same, with names that two glob imports bring as an error.
const AMBIGUOUS: &str =
    "#![allow(unused_imports, unused_mut, dead_code)] #![deny(ambiguous_glob_imports)]\n";

/// What a cell is compiled with.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The crate that holds the crates of `:dep` lines.
    pub bundle: Option<String>,
    /// Statics of earlier cells by symbol, with the libraries that define them.
    pub statics: BTreeMap<String, String>,
    /// Items that the cell itself defines.
    pub fresh: HashSet<String>,
    /// Names that are imported by themselves, with the module that they come from; none where that does not help.
    pub preferred: BTreeMap<String, String>,
    /// Old values of what a cell binds anew are taken out and end with the cell, whether it comes to its end or not.
    pub loses_old: bool,
}

/// Whether a finished cell keeps an old value of what it binds anew.
pub fn keeps_old(cell: &str) -> bool {
    cell.contains("evcxr_variable_store.put_back")
}

/// Whether evcxr has a cell compiled for the sake of a better message alone: without catching panics.
pub fn is_for_message(generated: &str) -> bool {
    let function = generated.rfind(FUNCTION);
    function.is_some_and(|at| !generated[at..].contains("std::panic::catch_unwind("))
}

/// The cell that rustc gets, with what it shares with others.
pub fn finished(generated: &str, surroundings: &Surroundings) -> Shared {
    let cell = store::with_library(generated);
    let kept = rebound::kept(&cell).filter(|_| !surroundings.loses_old);
    let cell = kept.unwrap_or(cell);
    let cell = fingerprint::with_fingerprints(&cell);
    let cell = names::absolute(&cell);
    let shared = statics::shared(&cell, &surroundings.statics, &surroundings.fresh);
    let mut shared = shared.unwrap_or(Shared {
        cell,
        ..Shared::default()
    });
    shared.cell += &macros::beside(&shared.cell);
    let preferred = surroundings
        .preferred
        .iter()
        .filter(|(_, module)| !module.is_empty());
    for (name, module) in preferred {
        shared.cell += &format!("#[allow(unused_imports)] use {module}::{name};\n");
    }
    if surroundings
        .preferred
        .values()
        .all(|module| !module.is_empty())
    {
        // Otherwise rustc takes one of two names and says so to nobody.
        shared.cell = shared.cell.replacen(ALLOWED, AMBIGUOUS, 1);
    }
    if let Some(bundle) = &surroundings.bundle {
        shared.cell += &format!("\nextern crate {bundle} as _;\n");
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_catches_nothing_is_for_a_message() {
        let cell = |body: &str| format!("fn f() {{}}{FUNCTION}3(\n{body}\n}}\n");
        assert!(is_for_message(&cell("let x = 1;")));
        assert!(!is_for_message(&cell(
            "match std::panic::catch_unwind(\nlet x = 1;\n) {}"
        )));
        assert!(!is_for_message("fn f() {}"));
    }
}
