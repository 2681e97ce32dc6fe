//! What the README says of the notebooks is what the committed notebooks say.

use std::path::Path;

#[test]
fn the_tables_of_claims_are_those_of_the_committed_notebooks() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let new = rebit_tests::readme::updated(&readme, &root).unwrap();
    assert!(
        readme.contains("<!-- claims of notebooks/01-lts.ipynb -->"),
        "the table of notebook 01 has lost its markers"
    );
    let differ = readme
        .lines()
        .zip(new.lines())
        .find(|(old, new)| old != new);
    assert!(
        new == readme,
        "README.md is not up to date, beginning with {differ:?}; \
         run cargo run --release -p rebit-tests --bin readme"
    );
}
