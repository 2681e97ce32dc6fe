//! A cell without what the library has already compiled, and with its words to the kernel.

/// How the store of variables begins that evcxr writes into a cell.
const BEGIN: &str = "\nmod evcxr_internal_runtime {\n";
/// What stands behind it.
const END: &str = "\n}\n#[unsafe(no_mangle)]\npub extern \"C\" fn run_user_code_";
/// The function that evcxr calls; its number follows.
const FUNCTION: &str = "pub extern \"C\" fn run_user_code_";
/// The library's.
const OURS: &str = "use ::rebit::cell::store as evcxr_internal_runtime;";

/// How the function of a cell begins, without a store and with one.
const STARTS: [&str; 2] = [
    "evcxr_variable_store: *mut u8) -> *mut u8 {",
    "let evcxr_variable_store = unsafe {&mut *evcxr_variable_store};",
];
/// What evcxr writes behind a cell that panics.
const PANICKED: &str = "println!(\"EVCXR_PANIC_NOTIFICATION\");";
/// Words of a cell that shows content blocks of its own accord. The kernel's own call is [`OF_VALUE`].
const SPEAKS_OF_BLOCKS: [&str; 2] = ["EVCXR_BEGIN_CONTENT", ".evcxr_display("];
const OF_VALUE: &str = "value.evcxr_display(); ::rebit::cell::value_end()";

/// The cell as it is compiled: with the library's store of variables, and with the library's words for what evcxr
/// lets cells print. Every line stays where it was.
pub fn with_library(cell: &str) -> String {
    let cell = with_library_store(cell).unwrap_or_else(|| cell.to_string());
    with_library_words(&cell)
}

/// Says behind the session's secret what evcxr says in plain words, which a cell may print as well.
fn with_library_words(cell: &str) -> String {
    let mut cell = cell.to_string();
    // The last one: the user's own text stands before it.
    if let Some(at) = cell.rfind(PANICKED) {
        cell.replace_range(at..at + PANICKED.len(), "::rebit::cell::panicked();");
    }
    let of_value = cell.matches(OF_VALUE).count();
    let words = SPEAKS_OF_BLOCKS
        .iter()
        .map(|word| cell.matches(word).count());
    if words.sum::<usize>() > of_value
        && let Some(function) = cell.rfind(FUNCTION)
        && let Some(start) = STARTS
            .iter()
            .filter_map(|start| Some(cell[function..].find(start)? + start.len()))
            .min()
    {
        cell.insert_str(function + start, " ::rebit::cell::blocks();");
    }
    cell
}

/// The cell with the library's store of variables, line for line where it was; `None` when it has no store.
///
/// Cells hand a pointer to the store on, so all cells of a session use the same one.
fn with_library_store(cell: &str) -> Option<String> {
    let begin = cell.find(BEGIN)? + 1;
    let end = begin + cell[begin..].find(END)? + "\n}".len();
    let lines = cell[begin..end].matches('\n').count();
    let (before, after) = (&cell[..begin], &cell[end..]);
    Some(format!("{before}{OURS}{}{after}", "\n".repeat(lines)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_replaced_and_no_line_moves() {
        let cell = "use a::b;\nmod evcxr_internal_runtime {\npub struct VariableStore {\n}\n}\n\
                    #[unsafe(no_mangle)]\npub extern \"C\" fn run_user_code_3(\nlet x = 1;\n}\n";
        let thin = with_library_store(cell).unwrap();
        let lines = |text: &str| text.lines().map(str::to_string).collect::<Vec<_>>();
        let (old, new) = (lines(cell), lines(&thin));
        assert_eq!(new[1], OURS);
        assert_eq!(new[2..5], ["", "", ""]);
        assert_eq!((&old[..1], &old[5..]), (&new[..1], &new[5..]));
    }

    #[test]
    fn a_cell_without_variables_stays_as_it_is() {
        assert_eq!(with_library_store("fn f() {}\n"), None);
        assert_eq!(with_library_store(BEGIN), None);
    }

    #[test]
    fn evcxrs_words_become_the_librarys_and_the_users_stay() {
        let cell = "pub extern \"C\" fn run_user_code_3(\nevcxr_variable_store: *mut u8) -> *mut u8 {\n\
                    println!(\"EVCXR_PANIC_NOTIFICATION\");\n\
                    }).is_err() {\n    println!(\"EVCXR_PANIC_NOTIFICATION\");\n}\n}";
        let thin = with_library(cell);
        assert_eq!(thin.matches("EVCXR_PANIC_NOTIFICATION").count(), 1);
        assert!(
            thin.ends_with("{\n    ::rebit::cell::panicked();\n}\n}"),
            "{thin}"
        );
        assert_eq!(thin.lines().count(), cell.lines().count());
    }

    #[test]
    fn blocks_are_for_cells_that_speak_of_them() {
        let cell = |code: &str| {
            with_library(&format!(
                "pub extern \"C\" fn run_user_code_1(\nevcxr_variable_store: *mut u8) -> *mut u8 {{\n{code}\n}}"
            ))
        };
        let shown = format!("::rebit::cell::value(); {OF_VALUE};");
        for (code, wanted) in [
            ("println!(\"a\");", false),
            (&shown, false),
            (&format!("figure.evcxr_display();\n{shown}"), true),
            ("println!(\"EVCXR_BEGIN_CONTENT text/html\");", true),
        ] {
            assert_eq!(
                cell(code).contains("u8 { ::rebit::cell::blocks();\n"),
                wanted,
                "{code}"
            );
        }
    }
}
