//! The words that evcxr writes around a cell, by names that no cell can change.
//!
//! A cell's `use std::io::Result;` holds for what evcxr generates too; it writes `Result<(), E>`, and nothing compiles
//! any more. Here its words are replaced by others that mean the same whatever is in scope.

/// What evcxr writes, and what rustc gets, each on a line (or lines) of its own.
const WORDS: [(&str, &str); 16] = [
    (
        ") -> Result<(), EvcxrUserCodeError> {",
        ") -> ::core::result::Result<(), EvcxrUserCodeError> {",
    ),
    (
        "            impl<T: std::fmt::Display> From<T> for EvcxrUserCodeError {",
        "            impl<T: ::core::fmt::Display> ::core::convert::From<T> for EvcxrUserCodeError {",
    ),
    (
        "            impl<T: std::fmt::Debug> From<T> for EvcxrUserCodeError {",
        "            impl<T: ::core::fmt::Debug> ::core::convert::From<T> for EvcxrUserCodeError {",
    ),
    (
        "                    eprintln!(\"{}\", error);",
        "                    let evcxr_error = ::std::format!(\"{}\", error);",
    ),
    (
        "                    eprintln!(\"{:?}\", error);",
        "                    let evcxr_error = ::std::format!(\"{:?}\", error);",
    ),
    (
        "                    eprintln!(\"{:#?}\", error);",
        "                    let evcxr_error = ::std::format!(\"{:#?}\", error);",
    ),
    (
        "                    println!(\"{}\", evcxr_internal_runtime::USER_ERROR_OCCURRED);",
        "                    evcxr_internal_runtime::failed(&evcxr_error, ::core::panic::Location::caller());",
    ),
    (
        "                fn from(error: T) -> Self {",
        "                #[track_caller] fn from(error: T) -> Self {",
    ),
    (
        "let _ = (|| -> std::result::Result<(), EvcxrUserCodeError> {",
        "let _ = (|| -> ::core::result::Result<(), EvcxrUserCodeError> {",
    ),
    ("Ok(())})();", "::core::result::Result::Ok(())})();"),
    (
        "Ok::<(), EvcxrUserCodeError>(())",
        "::core::result::Result::Ok::<(), EvcxrUserCodeError>(())",
    ),
    (
        "match std::panic::catch_unwind(",
        "match ::std::panic::catch_unwind(",
    ),
    (
        "  std::panic::AssertUnwindSafe(||{",
        "  ::std::panic::AssertUnwindSafe(||{",
    ),
    (
        "if std::panic::catch_unwind(||{",
        "if ::std::panic::catch_unwind(||{",
    ),
    (
        "  Ok(_) => {}\n  Err(_) => {",
        "  ::core::result::Result::Ok(_) => {}\n  ::core::result::Result::Err(_) => {",
    ),
    (
        "mut x: *mut std::os::raw::c_void) -> *mut std::os::raw::c_void {x}",
        "mut x: *mut ::core::ffi::c_void) -> *mut ::core::ffi::c_void {x}",
    ),
];
/// How the runtime of asynchronous cells begins, and ends.
const RUNTIME: (&str, &str) = ("evcxr_variable_store.lazy_arc(", ".block_on(async {");
/// Names between them.
const IN_RUNTIME: [(&str, &str); 4] = [
    ("std::sync::", "::std::sync::"),
    ("tokio::", "::tokio::"),
    ("Ok(", "::core::result::Result::Ok("),
    ("Err(", "::core::result::Result::Err("),
];

/// What a session imports before its first cell.
const IMPORTS: [(&str, &str); 2] = [
    ("\nuse rebit::prelude::*;\n", "\nuse ::rebit::prelude::*;\n"),
    (
        "\nuse rebit::cell::ByDebug as _;\n",
        "\nuse ::rebit::cell::ByDebug as _;\n",
    ),
];

/// The cell with absolute names in what evcxr generated.
pub fn absolute(cell: &str) -> String {
    let mut cell = cell.to_string();
    for (words, absolute) in WORDS {
        // The last: text of a user that looks the same stands before it.
        let lines = format!("\n{words}\n");
        if let Some(at) = cell.rfind(&lines) {
            cell.replace_range(at + 1..at + 1 + words.len(), absolute);
        }
    }
    // evcxr takes the colons from the front of a path.
    for (import, absolute) in IMPORTS {
        cell = cell.replacen(import, absolute, 1);
    }
    // The end of what only `check` sees.
    if cell.contains("fn evcxr_analysis_wrapper(")
        && let Some(head) = cell.strip_suffix("\nOk(())\n}\n")
    {
        cell = format!("{head}\n::core::result::Result::Ok(())\n}}\n");
    }
    if let Some(begin) = cell.rfind(RUNTIME.0)
        && let Some(length) = cell[begin..].find(RUNTIME.1)
    {
        let mut runtime = cell[begin..begin + length].to_string();
        for (name, absolute) in IN_RUNTIME {
            runtime = runtime.replace(name, absolute);
        }
        cell.replace_range(begin..begin + length, &runtime);
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_scope_do_not_matter_and_no_line_moves() {
        let cell = "use std::io::Result;\nfn mine() -> Result<()> {\nOk(())\n}\n\
                    pub fn run_user_code_1() {\nmatch std::panic::catch_unwind(\n  \
                    std::panic::AssertUnwindSafe(||{\nlet mut mutex = \
                    evcxr_variable_store.lazy_arc(\"r\", || std::sync::Mutex::new(tokio::f()));\n\
                    match mutex.lock() { Ok(guard) => guard, Err(e) => e.into_inner(), }\n\
                    .block_on(async {\nOk(1)\n});\n})) { \n  Ok(_) => {}\n  Err(_) => {\n    \
                    ::rebit::cell::panicked();\n}}\n}\n";
        let found = absolute(cell);
        assert_eq!(found.lines().count(), cell.lines().count());
        for words in [
            "fn mine() -> Result<()> {\nOk(())\n}",
            "\nmatch ::std::panic::catch_unwind(\n  ::std::panic::AssertUnwindSafe(",
            "|| ::std::sync::Mutex::new(::tokio::f())",
            "{ ::core::result::Result::Ok(guard) => guard, ::core::result::Result::Err(e)",
            "\nOk(1)\n",
            "\n  ::core::result::Result::Err(_) => {\n    ::rebit::cell::panicked();",
        ] {
            assert!(found.contains(words), "{words}\n{found}");
        }
    }
}
