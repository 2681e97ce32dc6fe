//! What in a cell means something else than in a file of its own: files beside the notebook, and state of threads.
//!
//! Cells are compiled in the session's folder, so the paths of `include_str!` and its like are completed. Each cell is
//! compiled with all items of the session and would have its own `thread_local!` and `lazy_static!` variables; here they
//! become statics that are written out, of which a session has one each.

use std::ops::Range;
use std::path::Path;

use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;

use super::text::Edit;
use crate::language::lexer::{LiteralKind, Token, TokenKind, tokens};

/// Macros that read a file.
const READING: [&str; 3] = ["include_str", "include_bytes", "include"];
const LOCAL: &str = "thread_local";
const LAZY: &str = "lazy_static";

/// A call of a macro: its name, where it stands, and what stands between its brackets.
struct Call<'a> {
    name: &'a str,
    whole: Range<usize>,
    inner: Range<usize>,
}

/// The changes of a text that is code from byte `start` on; `folder` is where the cells run.
pub fn edits(text: &str, start: usize, folder: Option<&Path>) -> Vec<Edit> {
    let code = &text[start..];
    if ![LOCAL, LAZY, "include"]
        .iter()
        .any(|word| code.contains(word))
    {
        return Vec::new();
    }
    let mut edits = Vec::new();
    for call in calls(code) {
        if is_state(call.name) {
            edits.extend(shared(code, &call).unwrap_or_default());
        } else if let Some(folder) = folder {
            edits.extend(completed(code, &call, folder));
        }
    }
    if code.contains(LAZY) {
        edits.extend(forced(code));
    }
    for edit in &mut edits {
        edit.at = edit.at.start + start..edit.at.end + start;
    }
    edits
}

/// The change that makes the path in a `:dep` line begin at the root.
pub fn dependency_path(line: &str, folder: &Path) -> Option<Edit> {
    let tokens: Vec<Token> = tokens(line).filter(|token| !token.is_trivia()).collect();
    // The first name is the crate's.
    let inside = tokens
        .iter()
        .position(|token| token.kind == TokenKind::OpenBrace)?;
    let value = tokens[inside..].windows(3).find_map(|three| {
        let is_path = &line[three[0].range()] == "path" && three[1].kind == TokenKind::Eq;
        is_path.then_some(&three[2])
    })?;
    let path: syn::LitStr = syn::parse_str(&line[value.range()]).ok()?;
    if Path::new(&path.value()).is_absolute() || !line[value.range()].starts_with('"') {
        return None;
    }
    // One crate has one path.
    let path = folder.join(path.value());
    let path = path.canonicalize().unwrap_or(path);
    Some(Edit {
        at: value.start + 1..value.end - 1,
        text: path.to_str()?.replace('\\', "\\\\").replace('"', "\\\""),
    })
}

/// Whether a macro defines state that cells share.
fn is_state(name: &str) -> bool {
    name == LOCAL || name == LAZY
}

/// Whether a call defines state that cells share.
pub fn is_shared(call: &syn::Macro) -> bool {
    let last = call.path.segments.last();
    last.is_some_and(|last| is_state(&last.ident.to_string()))
}

/// The names of the variables that such a call defines.
pub fn shared_names(code: &str) -> Vec<String> {
    let calls = calls(code).into_iter().filter(|call| is_state(call.name));
    let found = calls.filter_map(|call| Variable::all(call.name, &code[call.inner]));
    let names = found.flatten().map(|variable| variable.name.to_string());
    names.collect()
}

/// The calls of those macros, none inside of another.
fn calls(code: &str) -> Vec<Call<'_>> {
    let tokens: Vec<Token> = tokens(code).filter(|token| !token.is_trivia()).collect();
    let mut found: Vec<Call<'_>> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let name = &code[token.range()];
        let is_one = token.is_word() && (READING.contains(&name) || is_state(name));
        let [bang, open, ..] = &tokens[at + 1..] else {
            break;
        };
        let is_open = |kind| {
            matches!(
                kind,
                TokenKind::OpenParen | TokenKind::OpenBrace | TokenKind::OpenBracket
            )
        };
        if !is_one || bang.kind != TokenKind::Bang || !is_open(open.kind) {
            continue;
        }
        if found
            .last()
            .is_some_and(|last| last.whole.end > token.start)
        {
            continue;
        }
        let Some(close) = closing(&tokens[at + 2..]) else {
            break;
        };
        // A path stands in front of the name.
        let before = tokens[..at].iter().rev();
        let path = before.take_while(|t| t.is_word() || t.kind == TokenKind::Colon);
        let path: Vec<&Token> = path.collect();
        let start = match path.first() {
            Some(first) if first.kind == TokenKind::Colon => {
                path.last().map_or(token.start, |t| t.start)
            }
            _ => token.start,
        };
        let semicolon = tokens.iter().find(|t| t.start >= close.end);
        let end = match semicolon {
            Some(t) if t.kind == TokenKind::Semi && is_state(name) => t.end,
            _ => close.end,
        };
        found.push(Call {
            name,
            whole: start..end,
            inner: open.end..close.start,
        });
    }
    found
}

/// The bracket that closes the first one.
fn closing(tokens: &[Token]) -> Option<&Token> {
    let mut depth = 0;
    tokens.iter().find(|token| {
        use TokenKind::*;
        match token.kind {
            OpenParen | OpenBrace | OpenBracket => depth += 1,
            CloseParen | CloseBrace | CloseBracket => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

/// The path of a file, from the root.
fn completed(code: &str, call: &Call<'_>, folder: &Path) -> Option<Edit> {
    let inner = &code[call.inner.clone()];
    let token = tokens(inner).find(|token| !token.is_trivia())?;
    let TokenKind::Literal { kind, .. } = token.kind else {
        return None;
    };
    let literal = &inner[token.range()];
    let path: syn::LitStr = syn::parse_str(literal).ok()?;
    if path.value().is_empty() || Path::new(&path.value()).is_absolute() {
        return None;
    }
    let open = literal.find('"')? + 1;
    let folder = format!("{}/", folder.to_str()?);
    let folder = match kind {
        LiteralKind::RawStr { .. } if folder.contains('"') => return None,
        LiteralKind::RawStr { .. } => folder,
        _ => folder.replace('\\', "\\\\").replace('"', "\\\""),
    };
    Some(Edit::insert(call.inner.start + token.start + open, folder))
}

/// The variables that a call defines, each as `static NAME: TYPE = VALUE;` (of `lazy_static!`: `static ref`).
struct Variables(Vec<Variable>);

struct Variable {
    /// Its bytes, with its semicolon.
    bytes: Range<usize>,
    seen: syn::Visibility,
    /// The word `ref`.
    by_ref: Option<Range<usize>>,
    name: syn::Ident,
    of: Range<usize>,
    value: Range<usize>,
}

impl Parse for Variables {
    fn parse(input: ParseStream<'_>) -> syn::Result<Variables> {
        let mut variables = Vec::new();
        while !input.is_empty() {
            let begin = input.span().byte_range().start;
            input.call(syn::Attribute::parse_outer)?;
            let seen = input.parse()?;
            input.parse::<syn::Token![static]>()?;
            let by_ref = input.parse::<Option<syn::Token![ref]>>()?;
            let name = input.parse()?;
            input.parse::<syn::Token![:]>()?;
            let of: syn::Type = input.parse()?;
            input.parse::<syn::Token![=]>()?;
            let value: syn::Expr = input.parse()?;
            let value = value.span().byte_range();
            let mut end = value.end;
            if let Some(semicolon) = input.parse::<Option<syn::Token![;]>>()? {
                end = semicolon.span().byte_range().end;
            }
            variables.push(Variable {
                bytes: begin..end,
                seen,
                by_ref: by_ref.map(|word| word.span().byte_range()),
                name,
                of: of.span().byte_range(),
                value,
            });
        }
        Ok(Variables(variables))
    }
}

impl Variable {
    /// Those of a call with these words inside; none where it is no call of this macro.
    fn all(name: &str, inner: &str) -> Option<Vec<Variable>> {
        let Variables(all) = syn::parse_str(inner).ok()?;
        let mut refs = all.iter().map(|variable| variable.by_ref.is_some());
        refs.all(|by_ref| by_ref == (name == LAZY)).then_some(all)
    }

    /// A variable of threads as a static that holds its key.
    fn local(&self, inner: &str) -> Vec<Edit> {
        let seen = match &self.seen {
            syn::Visibility::Inherited => "",
            seen => &inner[seen.span().byte_range()],
        };
        let (name, of) = (&self.name, inner[self.of.clone()].replace('\n', " "));
        let key = format!(
            "{seen} static {name}: ::std::thread::LocalKey<{of}> = {{ ::std::thread_local! {{ "
        );
        vec![
            Edit::insert(self.bytes.start, key.trim_start()),
            Edit::insert(self.bytes.end, format!(" }} {name} }};")),
        ]
    }

    /// What `lazy_static!` makes, as std has it.
    fn lazy(&self, inner: &str) -> Vec<Edit> {
        let word = self.by_ref.clone().unwrap_or_default();
        vec![
            Edit::blank(inner, word),
            Edit::insert(self.of.start, "::std::sync::LazyLock<"),
            Edit::insert(self.of.end, ">"),
            Edit::insert(self.value.start, "::std::sync::LazyLock::new(|| "),
            Edit::insert(self.value.end, ")"),
        ]
    }
}

/// `lazy_static::initialize` is std's `force`.
fn forced(code: &str) -> Vec<Edit> {
    let tokens: Vec<Token> = tokens(code).filter(|token| !token.is_trivia()).collect();
    let paths = tokens.windows(4).filter(|path| {
        let words = path.iter().map(|token| &code[token.range()]);
        words.eq([LAZY, ":", ":", "initialize"])
    });
    let edits = paths.map(|path| Edit {
        at: path[0].start..path[3].end,
        text: "std::sync::LazyLock::force".to_string(),
    });
    edits.collect()
}

/// Variables that cells would have for themselves as statics.
fn shared(code: &str, call: &Call<'_>) -> Option<Vec<Edit>> {
    let inner = &code[call.inner.clone()];
    let variables = Variable::all(call.name, inner)?;
    let offset = call.inner.start;
    let (first, last) = (variables.first()?, variables.last()?);
    let removed = |at| Edit::blank(code, at);
    let mut edits = vec![removed(call.whole.start..first.bytes.start + offset)];
    for variable in &variables {
        let of = match call.name {
            LAZY => variable.lazy(inner),
            _ => variable.local(inner),
        };
        edits.extend(of.into_iter().map(|edit| Edit {
            at: edit.at.start + offset..edit.at.end + offset,
            ..edit
        }));
    }
    edits.push(removed(last.bytes.end + offset..call.whole.end));
    Some(edits)
}

#[cfg(test)]
mod tests {
    use super::super::text::Text;
    use super::*;

    fn changed(code: &str) -> String {
        Text::new(code, &edits(code, 0, Some(Path::new("/n\"b")))).source
    }

    #[test]
    fn files_lie_beside_the_notebook() {
        for (code, wanted) in [
            (r#"include_str!("a.txt")"#, r#"include_str!("/n\"b/a.txt")"#),
            (
                r#"println!("{}", std::include_bytes! [ "../a.txt" ].len())"#,
                r#"println!("{}", std::include_bytes! [ "/n\"b/../a.txt" ].len())"#,
            ),
            (r#"include_str!("/a.txt")"#, r#"include_str!("/a.txt")"#),
            (
                r#"include_str!(concat!("a"))"#,
                r#"include_str!(concat!("a"))"#,
            ),
            (
                r#"let include = "include_str!(\"a\")";"#,
                r#"let include = "include_str!(\"a\")";"#,
            ),
            (r#"// include_str!("a")"#, r#"// include_str!("a")"#),
        ] {
            assert_eq!(changed(code), wanted);
        }
        let raw = "include!(r#\"a.rs\"#)";
        let folder = Some(Path::new("/n"));
        assert_eq!(
            Text::new(raw, &edits(raw, 0, folder)).source,
            "include!(r#\"/n/a.rs\"#)"
        );
        assert_eq!(edits(raw, 0, None), []);
    }

    #[test]
    fn crates_lie_beside_the_notebook() {
        let changed = |line: &str| {
            let edit = dependency_path(line, Path::new("/n"));
            Text::new(line, &Vec::from_iter(edit)).source
        };
        for (line, wanted) in [
            (
                ":dep a = { path = \"../a\" }",
                ":dep a = { path = \"/n/../a\" }",
            ),
            (":dep a = { path = \"/a\" }", ":dep a = { path = \"/a\" }"),
            (":dep path = \"1\"", ":dep path = \"1\""),
            (":dep a = \"1\"", ":dep a = \"1\""),
        ] {
            assert_eq!(changed(line), wanted);
        }
    }

    #[test]
    fn variables_of_threads_become_statics() {
        let code = "std::thread_local! {\n  /// One.\n  pub static A: Cell<u32> = Cell::new(1);\n\
                    static B: Vec<u8> = const { Vec::new() }\n}\nfn f() {}";
        let text = changed(code);
        assert_eq!(text.lines().count(), code.lines().count());
        let file: syn::File = syn::parse_str(&text).unwrap();
        let names: Vec<String> = file
            .items
            .iter()
            .map(|item| match item {
                syn::Item::Static(item) => item.ident.to_string(),
                _ => String::new(),
            })
            .collect();
        assert_eq!(names, ["A", "B", ""]);
        assert!(
            text.contains("pub static A: ::std::thread::LocalKey<Cell<u32>> = {"),
            "{text}"
        );
        assert_eq!(shared_names(code), ["A", "B"]);
        // Two in one cell, one inside of a function.
        let two = "thread_local!(static A: u8 = 1); fn f() { thread_local! { static B: u8 = 2; } }";
        assert_eq!(changed(two).matches("LocalKey<u8>").count(), 2);
        assert!(syn::parse_str::<syn::File>(&changed(two)).is_ok());
        assert_eq!(
            changed("thread_local! { broken }"),
            "thread_local! { broken }"
        );
    }

    #[test]
    fn lazy_variables_become_statics() {
        let code = "lazy_static::lazy_static! {\n  /// One.\n  pub static ref A: Mutex<u8> = Mutex::new(1);\n\
                    static ref B: Vec<u8> = {\n vec![1] };\n}\nfn f() {}";
        let text = changed(code);
        assert_eq!(text.lines().count(), code.lines().count());
        assert!(syn::parse_str::<syn::File>(&text).is_ok(), "{text}");
        for words in [
            "/// One.\n  pub static  A: ::std::sync::LazyLock<Mutex<u8>> = ",
            "= ::std::sync::LazyLock::new(|| Mutex::new(1));\n",
            "static  B: ::std::sync::LazyLock<Vec<u8>> = ::std::sync::LazyLock::new(|| {\n vec![1] });\n",
        ] {
            assert!(text.contains(words), "{text}");
        }
        assert_eq!(shared_names(code), ["A", "B"]);
        let code = "::lazy_static::initialize(&A); x.initialize()";
        assert_eq!(
            changed(code),
            "::std::sync::LazyLock::force(&A); x.initialize()"
        );
        for other in [
            "lazy_static! { static A: u8 = 1; }",
            "thread_local! { static ref A: u8 = 1; }",
        ] {
            assert_eq!(changed(other), other);
        }
    }
}
