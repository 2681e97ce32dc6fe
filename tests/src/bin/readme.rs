//! Brings the README's tables of claims up to date with the committed notebooks:
//! `cargo run --release -p rebit-tests --bin readme`.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = root.join("README.md");
    let readme = std::fs::read_to_string(&path)?;
    let new = rebit_tests::readme::updated(&readme, &root)?;
    if new == readme {
        println!("README.md is up to date");
        return Ok(());
    }
    // Whole or not at all: written under another name first.
    let written = path.with_extension("md.new");
    std::fs::write(&written, new)?;
    std::fs::rename(written, &path)?;
    println!("README.md was brought up to date");
    Ok(())
}
