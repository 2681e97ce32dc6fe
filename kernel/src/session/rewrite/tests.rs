use super::*;
use crate::session::types;
use crate::workshop::hidden::Hider;

fn source(code: &str) -> String {
    Cell::new(code).source().source
}

#[test]
fn the_last_value_is_shown_once() {
    let cell = Cell::new("let a = 1;\na + 1 // next\n");
    let text = cell.source().source;
    assert!(
        text.starts_with("let a = 1;\nmatch &(a + 1) { rebit_value =>"),
        "{text}"
    );
    assert!(text.ends_with("::rebit::cell::end(); // next\n"), "{text}");
    let question = cell
        .type_question(types::Question::Pattern, |_| true)
        .source;
    assert_eq!(
        question,
        "let a = 1;\nlet _ = a + 1; // next\n\nlet () = a;"
    );
    assert_eq!(cell.bound[0].name, "a");
    assert_eq!(cell.bound[0].end, 10);
}

#[test]
fn places_are_mapped_back() {
    let text = Cell::new("let a = 1; a + b").source();
    assert_eq!(text.original(1, 5), (1, 5));
    assert_eq!(text.original(1, 24), (1, 16));
    assert_eq!(text.original(9, 1), (1, 17));
    let two = Cell::new("let a = 1;\n  foo(\n  c)").source();
    assert_eq!(two.original(2, 12), (2, 4));
    assert_eq!(two.original(3, 3), (3, 3));
    let types = [("a".to_string(), "i32".to_string())];
    let typed = Cell::new("let a = 1; a + b").with_types(&types);
    assert!(
        typed
            .source
            .starts_with("let a = 1; let a: i32 = a; match &(a + b)")
    );
    assert_eq!(typed.original(1, 40), (1, 16));
}

#[test]
fn types_are_written_guessed_or_asked() {
    for (code, wanted) in [
        ("1 + 1", TypesAre::Guessed),
        (
            "let a = -1.5; let (b, c) = (\"x\", [1, 2]);",
            TypesAre::Guessed,
        ),
        ("let a: u8 = f()?; let b = 1;", TypesAre::Guessed),
        ("let mut a: Vec<u8> = f()?;", TypesAre::Written),
        (
            "let (a, (b, mut c)): (u8, (A<3>, &str)) = f();",
            TypesAre::Written,
        ),
        ("let a: Vec<_> = f();", TypesAre::Asked),
        ("let a: [u8; _] = f();", TypesAre::Asked),
        ("let (a, ..): (u8, u8) = f();", TypesAre::Asked),
        ("let ref a: u8 = f();", TypesAre::Asked),
        ("let a: u8; a = f();", TypesAre::Asked),
        ("let a = f();", TypesAre::Asked),
        ("let Some(a) = 5 else { return };", TypesAre::Asked),
    ] {
        assert_eq!(Cell::new(code).types_are(|| None), wanted, "{code}");
    }
}

#[test]
fn all_but_the_types_is_hidden() {
    let hider = Hider::of(Path::new("h"));
    let types = [
        ("a".to_string(), "A".to_string()),
        ("late".to_string(), "u8".to_string()),
    ];
    let typed = |code: &str, moved: &str| {
        let cell = Cell::new(code);
        cell.with_all_types(&types, |name| name != moved, &hider)
    };
    let code = "let late;\nlet mut a = f()?; use x::y;\nlate = 1; g(a)";
    let text = typed(code, "").unwrap();
    let wanted = "rebit_hidden_h!{let late;/*rebit_hidden_h*/};\n\
         rebit_hidden_h!{let mut a = f()?;/*rebit_hidden_h*/}; let mut a: A = a; use x::y;\n\
         rebit_hidden_h!{late = 1;/*rebit_hidden_h*/}; rebit_hidden_h!{match &(g(a)) ";
    assert!(text.source.starts_with(wanted), "{}", text.source);
    let end = "::rebit::cell::end();/*rebit_hidden_h*/}; let late: u8 = late;";
    assert!(text.source.ends_with(end), "{}", text.source);
    let revealed = hider.revealed(&text.source);
    let column = revealed.lines().nth(2).unwrap().find("g(a)").unwrap() + 1;
    assert_eq!(text.original(3, column), (3, 11));
    let moved = typed(code, "a").unwrap().source;
    assert!(!moved.contains("let mut a: A"), "{moved}");
    // Its type is not known, or it stands too close to the next.
    for code in ["let b = f();", "let a = f();g()"] {
        assert_eq!(typed(code, ""), None, "{code}");
    }
    let all = Cell::new("let late; let a = f(); late = g(a)").with_types(&types);
    let wanted = "let late; let a = f(); let a: A = a; late = g(a);\n\
         ::rebit::cell::end(); let late: u8 = late;";
    assert_eq!(all.source, wanted);
}

#[test]
fn statements_and_loops_show_nothing() {
    for code in [
        "x = 1",
        "x += 1",
        "for i in 0..3 { f(i) }",
        "println!(\"a\")",
        "loop { }",
    ] {
        assert_eq!(source(code), format!("{code};\n::rebit::cell::end();"));
    }
    assert_eq!(source("let x = 1;"), "let x = 1;\n::rebit::cell::end();");
}

#[test]
fn values_of_blocks_and_macros_are_shown() {
    for code in [
        "vec![1, 2]",
        "if a { 1 } else { 2 }",
        "f()?",
        "{ 3 }",
        "a == b",
    ] {
        assert!(source(code).starts_with("match &("), "{code}");
    }
}

#[test]
fn items_alone_run_nothing() {
    let code = "use std::fmt;\nfn f() {}\nmacro_rules! m { () => {} }";
    assert_eq!(source(code), code);
    assert_eq!(Cell::new(code).items.len(), 3);
}

#[test]
fn calls_that_make_items_are_items() {
    let cell =
        Cell::new("macro_rules! make { ($n:ident) => { struct $n; } } let a = 1; make!(Foo)");
    let text = cell.source().source;
    assert!(
        text.contains("let a = 1; macro_rules! rebit_made_"),
        "{text}"
    );
    assert!(
        text.ends_with(" { () => { make!(Foo); } }\n::rebit::cell::end();"),
        "{text}"
    );
    assert_eq!((cell.items.len(), cell.statements.len()), (2, 1));
    let cell = Cell::new("thread_local! { static A: u8 = 1; }");
    assert!(
        cell.source()
            .source
            .starts_with("static A: ::std::thread::LocalKey<u8> = {")
    );
    assert_eq!(cell.defined_names(), ["A"]);
}

#[test]
fn what_is_in_the_way_is_taken_out() {
    let mut cell = Cell::new("let v = make(); make!(Foo, struct)");
    assert!(!cell.make_way(&InTheWay::default()));
    let found = InTheWay {
        calls: ["rebit_made_1".to_string()].into(),
        items: ["Foo".to_string()].into(),
        ..InTheWay::default()
    };
    assert!(cell.make_way(&found));
    let question = cell.type_question(types::Question::Pattern, |_| true);
    for text in [cell.source(), question, cell.with_types(&[])] {
        let text = text.source;
        assert!(
            text.contains("\nmacro_rules! rebit_made_1 { () => {} }\nmacro_rules! Foo {"),
            "{text}"
        );
    }
}

#[test]
fn statics_that_are_not_shared_are_told() {
    for (code, told) in [
        (
            "macro_rules! m { ($n:ident) => { static $n: u8 = 1; } } m!(A);",
            true,
        ),
        (
            "macro_rules! m { ($n:ident) => { struct $n; } } m!(A);",
            false,
        ),
        ("m! { static A: u8 = 1; }", true),
        ("lazy_static! { static ref A: Vec<u8> = vec![]; }", false),
        ("thread_local! { static A: u8 = 1; }", false),
        ("static A: u8 = 1;", false),
    ] {
        assert_eq!(!Cell::new(code).notes.is_empty(), told, "{code}");
    }
}

#[test]
fn a_line_for_a_shell_may_be_rust() {
    let cell = Cell::new(":opt 0\n!flag");
    assert_eq!(cell.source().source, ":opt 0\n!flag");
    let code = cell.as_code.unwrap().source().source;
    assert!(code.starts_with(":opt 0\n match &(!flag) {"), "{code}");
    assert!(Cell::new("!ls *.rs").as_code.is_none());
}

#[test]
fn comments_in_front_of_commands_are_not_sent() {
    let table = [
        ("  // note\n:vars", "\n:vars"),
        ("/* a\nb */\n:opt 0\n  // c\n1;", "\n\n:opt 0\n  // c\n1;"),
        ("// a\n1;", "// a\n1;"),
    ];
    for (cell, wanted) in table {
        let text = Cell::new(cell).source().source;
        assert!(text.starts_with(wanted), "{text}");
    }
}

#[test]
fn constants_in_patterns_are_named_by_paths() {
    let cell = Cell::new(
        "const N: u8 = 1; let (N, None, Some(a), B) = x else { return }; let C = y else { return };",
    );
    let text = cell.source().source;
    assert!(
        text.contains("let (self::N, ::core::option::Option::None, Some(a), B) = x"),
        "{text}"
    );
    assert!(text.contains("let self::C = y"), "{text}");
    let bound: Vec<&str> = cell.bound.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(bound, ["a", "B"]);
    assert_eq!(&cell.user[cell.bound[1].at..][..1], "B");
}

#[test]
fn an_implementation_is_given_a_name() {
    let text = source("impl F {\n fn f() {} }");
    assert!(text.starts_with("const REBIT_BLOCK_"), "{text}");
    assert!(
        text.ends_with(": () = (); impl F {\n fn f() {} }"),
        "{text}"
    );
    let mut cell = Cell::new("impl F { fn g() {} fn f() {} }");
    let mut before = Cell::new("impl F { fn f() {} }");
    before.after(&Blocks::default());
    cell.after(before.known_blocks());
    assert_eq!(
        cell.source().source.matches("const REBIT_BLOCK_").count(),
        2
    );
}

#[test]
fn commands_stay_in_front() {
    let cell = Cell::new(":dep rand = \"0.9\"\n// note\n\n1 + 1");
    assert!(
        cell.source()
            .source
            .starts_with(":dep rand = \"0.9\"\n// note\n\nmatch &(1 + 1")
    );
    assert_eq!(cell.dependencies, [":dep rand = \"0.9\""]);
    assert_eq!(source(":vars"), ":vars");
    assert_eq!(source(""), "");
}

#[test]
fn what_begins_anew_is_told_apart() {
    let cell = Cell::new(":dep a = \"1\"\n:clear\n:dep b = \"1\"\nlet x = 1;");
    let before = ":dep a = \"1\"\n".to_string();
    assert_eq!(cell.resets, [(before, Reset::Everything)]);
    assert_eq!(cell.dependencies, [":dep b = \"1\""]);
    let text = cell.source();
    assert!(
        text.source.starts_with("\n\n:dep b = \"1\"\nlet x = 1;"),
        "{text:?}"
    );
    assert_eq!(text.original(4, 5), (4, 5));
}

#[test]
fn broken_code_is_left_alone() {
    for code in ["let x = ", "fn (", "\"", "let s = 5"] {
        assert_eq!(source(code), code);
    }
}

#[test]
fn broken_code_is_asked_about_as_it_stands() {
    let cell = Cell::new(":dep a = \"1\"\n\nlet = 1;\nf()");
    let question = cell.syntax_question().unwrap();
    assert_eq!(question.source, "fn rebit_cell() {\nlet = 1;\nf()\n}");
    assert_eq!(question.original(2, 5), (3, 5));
    assert!(Cell::new("let x = 1;").syntax_question().is_none());
    assert!(Cell::new("f(").syntax_question().is_none());
}

#[test]
fn patterns_bind_their_names() {
    let cell =
        Cell::new("let (mut a, [b, ..]) = f(); let P { c, d: Some(e) } = p else { return };");
    let names: Vec<_> = cell
        .bound
        .iter()
        .map(|v| (v.name.as_str(), v.mutable))
        .collect();
    assert_eq!(
        names,
        [("a", true), ("b", false), ("c", false), ("e", false)]
    );
}
