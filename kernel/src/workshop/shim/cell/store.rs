//! A cell without what the library has already compiled.

/// How the store of variables begins that evcxr writes into a cell.
const BEGIN: &str = "\nmod evcxr_internal_runtime {\n";
/// What stands behind it.
const END: &str = "\n}\n#[unsafe(no_mangle)]\npub extern \"C\" fn run_user_code_";
/// The library's.
const OURS: &str = "use ::rebit::cell::store as evcxr_internal_runtime;";

/// The cell with the library's store of variables, line for line where it was; `None` when it has no store.
///
/// Cells hand a pointer to the store on, so all cells of a session use the same one.
pub fn with_library_store(cell: &str) -> Option<String> {
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
}
