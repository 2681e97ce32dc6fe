//! A cell as evcxr generates it, made into what rustc gets: line for line, so that places stay what they are.

mod fingerprint;
mod items;
mod names;
mod rebound;
mod statics;
mod store;

use std::collections::{BTreeMap, HashSet};

pub use rebound::not_kept;
pub use statics::{SYMBOL, Shared};

/// What a cell is compiled with.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The crate that holds the crates of `:dep` lines.
    pub bundle: Option<String>,
    /// Statics of earlier cells by symbol, with the libraries that define them.
    pub statics: BTreeMap<String, String>,
    /// Items that the cell itself defines.
    pub fresh: HashSet<String>,
}

/// The cell that rustc gets, with what it shares with others.
pub fn finished(generated: &str, surroundings: &Surroundings) -> Shared {
    let cell = store::with_library(generated);
    let cell = rebound::kept(&cell).unwrap_or(cell);
    let cell = fingerprint::with_fingerprints(&cell);
    let cell = names::absolute(&cell);
    let shared = statics::shared(&cell, &surroundings.statics, &surroundings.fresh);
    let mut shared = shared.unwrap_or(Shared {
        cell,
        ..Shared::default()
    });
    if let Some(bundle) = &surroundings.bundle {
        shared.cell += &format!("\nextern crate {bundle} as _;\n");
    }
    shared
}
