//! The first `?` of a session, which evcxr learns of by an error.
//!
//! evcxr puts a cell into a function that returns a `Result` once rustc has complained of a `?`, from then on for the
//! whole session. Whether there is one can be seen without rustc.

use proc_macro2::{TokenStream, TokenTree};

use super::FUNCTION;

/// What stands in front of the user's code, and what where there may be a `?` already.
const BEGINS: [&str; 2] = ["AssertUnwindSafe(||{\n", "catch_unwind(||{\n"];
const ALLOWED: [&str; 2] = [
    "let _ = (|| -> std::result::Result<(), EvcxrUserCodeError> {\n",
    "\nOk::<(), EvcxrUserCodeError>(())\n",
];
/// What stands behind it.
const END: &str = "\n})";

/// What rustc would say of a cell with a `?` that has nowhere to go, as far as evcxr reads it.
pub fn complaint(cell: &str) -> Option<String> {
    let function = cell.rfind(FUNCTION)?;
    let code = BEGINS
        .iter()
        .filter_map(|begin| Some(function + cell[function..].find(begin)? + begin.len()))
        .min()?;
    let inside = &cell[code..code + cell[code..].rfind(END)?];
    if inside.starts_with(ALLOWED[0]) || inside.contains(ALLOWED[1]) {
        return None;
    }
    let at = code + mark(inside.parse().ok()?)?;
    let line = cell[..at].matches('\n').count() + 1;
    let message = serde_json::json!({
        "message": "the `?` operator can only be used in a function that returns `Result` or `Option`",
        "code": {"code": "E0277", "explanation": null},
        "level": "error",
        "spans": [{
            "file_name": "src/lib.rs", "line_start": line, "line_end": line,
            "column_start": 1, "column_end": 1, "is_primary": true, "label": null, "text": [],
        }],
        "children": [],
    });
    Some(message.to_string())
}

/// The byte of a `?` behind a value; that of `?Sized` stands behind no value.
fn mark(tokens: TokenStream) -> Option<usize> {
    let mut behind_value = false;
    for token in tokens {
        let is_mark = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '?');
        if is_mark && behind_value {
            return Some(token.span().byte_range().start);
        }
        if let TokenTree::Group(group) = &token
            && let Some(at) = mark(group.stream())
        {
            return Some(at);
        }
        behind_value = !matches!(token, TokenTree::Punct(_));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(code: &str) -> String {
        format!(
            "fn f() -> Option<u8> {{ None?; None }}\n#[unsafe(no_mangle)]{FUNCTION}0(\n\
             match std::panic::catch_unwind(\n  std::panic::AssertUnwindSafe(||{{\n{code}\n}})) {{ \n  Ok(_) => {{}}\n"
        )
    }

    #[test]
    fn a_question_mark_is_seen_where_it_matters() {
        for (code, line) in [
            ("let a = 1;\nlet b = f()?;", Some(7)),
            ("println!(\"{}\", a?);", Some(6)),
            ("let b = vec![1]\n  .get(0)?;", Some(7)),
            ("let b = \"f()?\"; // f()?", None),
            ("fn g<T: ?Sized + ?Sized>(_: &T) {}", None),
            (
                "let _ = (|| -> std::result::Result<(), EvcxrUserCodeError> {\nf()?;\nOk(())})();",
                None,
            ),
            (
                ".block_on(async {\nf()?;\nOk::<(), EvcxrUserCodeError>(())\n});",
                None,
            ),
        ] {
            let found = complaint(&cell(code)).map(|text| {
                let json: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(json["code"]["code"], "E0277");
                json["spans"][0]["line_start"].as_u64().unwrap()
            });
            assert_eq!(found, line, "{code}");
        }
        assert_eq!(complaint("fn f() { a?; }"), None);
    }
}
