//! A cell as evcxr generates it, made into what rustc gets: line for line, so that places stay what they are.

mod fingerprint;
mod items;
mod names;
mod store;

/// What a cell is compiled with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings<'a> {
    /// The crate that holds the crates of `:dep` lines.
    pub bundle: Option<&'a str>,
}

/// The cell that rustc gets.
pub fn finished(generated: &str, surroundings: Surroundings<'_>) -> String {
    let cell = store::with_library_store(generated).unwrap_or_else(|| generated.to_string());
    let cell = fingerprint::with_fingerprints(&cell);
    let mut cell = names::absolute(&cell);
    if let Some(bundle) = surroundings.bundle {
        cell += &format!("\nextern crate {bundle} as _;\n");
    }
    cell
}
