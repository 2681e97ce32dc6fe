//! What a user may do, as tables of cells: each row is a cell and what it does. A row more is a test more.

mod common;

use common::Then::{Fails, Prints, Shows};
use common::{Bench, Then, folder_of_crate};

type Table = &'static [(&'static str, Then)];

/// Runs tables one after the other in one session.
#[track_caller]
fn follow(tables: &[Table]) -> Bench {
    let mut bench = Bench::new();
    for table in tables {
        bench.follow(table);
    }
    bench
}

#[test]
fn a_type_that_is_defined_again_is_another_type() {
    follow(&[
        &[
            ("struct F { a: usize }", Shows("")),
            ("let f = F { a: 8 };", Shows("")),
            ("struct F { a: Box<i64> }", Shows("")),
            ("f.a", Fails(&["cannot find value `f`"])),
        ],
        &[
            ("struct G(f32);", Shows("")),
            ("let g = G(1.0); let all = vec![G(2.0)];", Shows("")),
            // The same once more, with a method, or with a derive, is the same.
            ("struct G(f32);", Shows("")),
            (
                "impl G { fn twice(&self) -> f64 { 2.0 * self.0 as f64 } }",
                Shows(""),
            ),
            ("(g.twice(), all[0].0)", Shows("(2.0, 2.0)")),
            ("#[derive(Debug)]\nstruct G(f32);", Shows("")),
            ("g", Shows("G(1.0)")),
            ("struct G(u32);", Prints("")),
            ("all[0].0", Fails(&["cannot find value `all`"])),
        ],
        // However deep.
        &[
            (
                "struct Inner { a: u8 } struct Outer { inner: Option<Inner> }",
                Shows(""),
            ),
            (
                "let outer = Outer { inner: Some(Inner { a: 1 }) }; let other = 7;",
                Shows(""),
            ),
            ("struct Inner { a: u64, b: u64 }", Shows("")),
            (
                "outer.inner.is_some()",
                Fails(&["cannot find value `outer`"]),
            ),
            ("other", Shows("7")),
        ],
        &[
            (
                "trait Tr { fn one(&self) -> u8; fn two(&self) -> u8 { 2 } }",
                Shows(""),
            ),
            ("impl Tr for u8 { fn one(&self) -> u8 { 1 } }", Shows("")),
            ("let object: Box<dyn Tr> = Box::new(1u8);", Shows("")),
            ("object.two()", Shows("2")),
            (
                "trait Tr { fn two(&self) -> u8 { 2 } fn three(&self) -> u8 { 3 } fn one(&self) -> u8; }",
                Shows(""),
            ),
            ("object.one()", Fails(&["cannot find value `object`"])),
        ],
        &[
            ("const N: usize = 2; struct Few([u64; N]);", Shows("")),
            ("let few = Few([1, 2]);", Shows("")),
            ("few.0[1]", Shows("2")),
            ("const N: usize = 9;", Shows("")),
            ("few.0[8]", Fails(&["cannot find value `few`"])),
        ],
    ]);
}

#[test]
fn the_first_await_and_a_late_dependency_keep_variables() {
    let folder = folder_of_crate("late-crate", "pub struct S; pub fn nine() -> i32 { 9 }");
    let mut bench = follow(&[&[
        ("#[derive(Debug, PartialEq)] struct P { x: i32 }", Shows("")),
        (
            "let p = P { x: 3 }; let list = vec![P { x: 4 }]; let t = randn(2, 3, &mut rng(0));",
            Shows(""),
        ),
    ]]);
    bench.ok(&format!(
        ":dep late-crate = {{ path = {:?} }}",
        folder.path()
    ));
    bench.follow(&[
        ("late_crate::nine() + p.x", Shows("12")),
        (
            "async fn four() -> i32 { 4 } let four = four().await;",
            Shows(""),
        ),
        (
            "(four, &p, list.len(), t.shape())",
            Shows("(4, P { x: 3 }, 1, (2, 3))"),
        ),
        ("let later = async { p.x }.await; later", Shows("3")),
    ]);
}

#[test]
fn cells_of_items_run_again() {
    let twice: &[&str] = &[
        "impl std::fmt::Display for Q { fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result { write!(f, \"q\") } }",
        "impl Q { fn one(&self) -> i32 { 1 } fn two(&self) -> i32 { 2 } }",
        "impl Q { fn two(&self) -> i32 { 22 } }",
        "impl<T> From<Vec<T>> for Q { fn from(_: Vec<T>) -> Q { Q } }",
        "unsafe extern \"C\" { fn abs(x: i32) -> i32; }",
        "const _: () = { impl Clone for Q { fn clone(&self) -> Q { Q } } };",
        "mod m { pub fn f() {} }",
        "macro_rules! mm { () => { 1 } }",
        "pub trait Sized2 { fn z(&self) -> u8 { 1 } }\nimpl Sized2 for Q {}",
        "use std::fmt::Write as _;",
        "type A = Vec<Q>;",
    ];
    let mut bench = Bench::new();
    bench.ok("struct Q;");
    for code in twice {
        for _ in 0..2 {
            bench.ok(code);
        }
    }
    bench.follow(&[
        (
            "(Q.one(), Q.two(), Q.to_string(), Q.clone().z())",
            Shows("(1, 22, \"q\", 1)"),
        ),
        // Edited: what it no longer has is gone with its type.
        (
            "struct R { a: i32 } impl R { fn get(&self) -> i32 { self.a } }",
            Shows(""),
        ),
        ("R { a: 1 }.get()", Shows("1")),
        ("struct R { b: i32 }", Shows("")),
        ("R { b: 1 }.b", Shows("1")),
        // Edited where it stands alone.
        ("impl R { fn b(&self) -> i32 { self.b } }", Shows("")),
        (
            "impl R { fn b(&self) -> i32 { 10 * self.b } fn c(&self) -> i32 { 3 } }",
            Shows(""),
        ),
        ("let r = R { b: 2 }; r.b() + r.c()", Shows("23")),
        // A cell that fails has defined nothing.
        (
            "impl R { fn b(&self) -> i32 { nothing } }",
            Fails(&["cannot find value `nothing`"]),
        ),
        ("r.b()", Shows("20")),
    ]);
}

#[test]
fn a_session_works_after_any_command() {
    let commands = [
        ":clear",
        ":restart",
        ":vars",
        ":version",
        ":show_deps",
        ":timing",
        ":timing",
        ":types",
        ":types",
        ":efmt {:?}",
        ":opt 1",
        ":opt 0",
        ":offline 1",
        ":allow_static_linking 0",
        ":allow_static_linking 1",
        ":preserve_vars_on_panic 0",
        ":preserve_vars_on_panic 1",
        ":explain",
        ":last_error_json",
        ":last_compile_dir",
        ":internal_debug",
        ":internal_debug",
        ":sccache 1",
        ":sccache 0",
        ":linker mold",
        ":linker system",
        ":opt high",
        ":fmt {:#?}",
        ":fmt",
        ":toolchain no-such",
        ":load_config",
        ":env A=b",
        ":build_env A=b",
        ":no_such",
        ":cache 100",
        ":cache 0",
        ":clear_cache",
        ":time_passes",
        ":codegen_backend none",
    ];
    let mut bench = Bench::new();
    for command in commands {
        let _ = bench.run(command);
        assert_eq!(bench.ok("1 + 1"), "2", "{command}");
    }
    bench.follow(&[
        ("let x = 1; fn f() -> i32 { 2 }", Shows("")),
        (":restart", Prints("")),
        ("f()", Shows("2")),
        ("x", Fails(&["cannot find value `x`"])),
        ("let x = 1;", Shows("")),
        (":clear\nlet y = 5;", Shows("")),
        ("y", Shows("5")),
        ("f()", Fails(&["cannot find function `f`"])),
        ("panic!(\"told\")", Fails(&["panic: told", "cell:1:1"])),
        ("randn(2, 3, &mut rng(0)).shape()", Shows("(2, 3)")),
    ]);
}

#[test]
fn names_in_scope_do_not_reach_what_is_generated() {
    let scopes = [
        "use std::io::Result;",
        "use std::fmt::Result;",
        "enum Verdict { Ok, Err } use Verdict::*;",
        "struct Result; struct Option; struct Vec; struct String; struct Box;",
        "mod std { }",
        "mod core { } mod alloc { }",
        "mod rebit { } mod tokio { }",
        "macro_rules! println { ($($t:tt)*) => { compile_error!(\"theirs\") } }",
        "macro_rules! eprintln { ($($t:tt)*) => { compile_error!(\"theirs\") } }",
        "macro_rules! stringify { ($($t:tt)*) => { compile_error!(\"theirs\") } }",
        "trait From<T> {} trait Display {} trait Debug {}",
        "fn drop(_: u8) {} fn main() {}",
        "const value: u8 = 1; static end: u8 = 2;",
        "use std::prelude::v1::*; use std::any::*;",
    ];
    for scope in scopes {
        let mut bench = Bench::new();
        bench.ok(scope);
        bench.follow(&[
            ("let v = vec![1, 2, 3];", Shows("")),
            ("v.len()", Shows("3")),
            ("let n: i32 = \"12\".parse()?; n", Shows("12")),
            ("let m: i32 = \"x\".parse()?;", Fails(&["invalid digit"])),
            ("panic!(\"told\")", Fails(&["panic: told"])),
            ("(v, n)", Shows("([1, 2, 3], 12)")),
        ]);
    }
}

#[test]
fn statics_are_one_for_all_cells() {
    follow(&[
        &[
            (
                "use std::sync::atomic::{AtomicUsize, Ordering::SeqCst}; use std::sync::{OnceLock, Mutex, LazyLock};",
                Shows(""),
            ),
            (
                "static COUNT: AtomicUsize = AtomicUsize::new(0);",
                Shows(""),
            ),
            ("COUNT.fetch_add(1, SeqCst)", Shows("0")),
            ("COUNT.fetch_add(1, SeqCst)", Shows("1")),
            ("fn count() -> usize { COUNT.load(SeqCst) }", Shows("")),
            ("count()", Shows("2")),
            // Run again, it begins anew.
            (
                "static COUNT: AtomicUsize = AtomicUsize::new(0);",
                Shows(""),
            ),
            ("count()", Shows("0")),
        ],
        &[
            (
                "static ONCE: OnceLock<String> = OnceLock::new();\nONCE.set(\"a\".to_string())",
                Shows("Ok(())"),
            ),
            ("ONCE.get()", Shows("Some(\"a\")")),
            (
                "static LIST: Mutex<Vec<i32>> = Mutex::new(Vec::new()); static LAZY: LazyLock<Vec<u8>> = LazyLock::new(|| { println!(\"made\"); vec![7] });",
                Shows(""),
            ),
            ("LIST.lock().unwrap().push(1); LAZY[0]", Prints("made")),
            (
                "LIST.lock().unwrap().push(2); (LIST.lock().unwrap().len(), LAZY[0])",
                Shows("(2, 7)"),
            ),
        ],
        &[
            (
                "fn next() -> usize { static N: AtomicUsize = AtomicUsize::new(5); N.fetch_add(1, SeqCst) }",
                Shows(""),
            ),
            ("next()", Shows("5")),
            ("next()", Shows("6")),
            ("static mut RAW: i32 = 1;", Shows("")),
            ("unsafe { RAW += 1; }", Shows("")),
            ("unsafe { RAW += 1; let now = RAW; now }", Shows("3")),
            (
                "mod inner { pub static M: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(1); }",
                Shows(""),
            ),
            ("inner::M.fetch_add(1, SeqCst)", Shows("1")),
            ("inner::M.load(SeqCst)", Shows("2")),
            (
                "static NAMES: [&str; 2] = [\"a\", \"b\"]; const FIRST: &str = NAMES[0];",
                Shows(""),
            ),
            ("(FIRST, NAMES[1])", Shows("(\"a\", \"b\")")),
        ],
    ]);
}

#[test]
fn what_a_failing_cell_binds_anew_keeps_its_value() {
    follow(&[&[
        ("#[derive(Debug)] struct Net(i32);", Shows("")),
        (
            "let mut net = Net(1); let n = 1; let list = vec![1];",
            Shows(""),
        ),
        (
            "let mut net = Net(2); panic!(\"no\");",
            Fails(&["panic: no"]),
        ),
        ("net.0 += 1; net", Shows("Net(2)")),
        (
            "let n = n + 1; let list = list.len(); let net = Net(9); \"x\".parse::<i32>()?;",
            Fails(&["invalid digit"]),
        ),
        ("(n, &net)", Shows("(1, Net(2))")),
        ("let net = Net(3); show::check_interrupt()?;", Shows("")),
        ("net", Shows("Net(3)")),
        // What was used up is gone, and said to be.
        (
            "let net = { let used = net; panic!(\"used {used:?}\"); };",
            Fails(&["used Net(3)", "lost: net"]),
        ),
        ("net", Fails(&["cannot find value `net`"])),
    ]]);
}

#[test]
fn moved_variables_are_missed_by_name() {
    follow(&[&[
        ("let words = vec![\"a\".to_string()];", Shows("")),
        ("drop(words);", Shows("")),
        (
            "words.len()",
            Fails(&["cannot find value `words`", "`words` was moved by cell 2"]),
        ),
        ("let words = 1;", Shows("")),
        ("words", Shows("1")),
    ]]);
}

#[test]
fn messages_have_a_place_and_the_readers_words() {
    follow(&[
        // A function of an earlier cell no longer fits.
        &[
            ("fn g(x: i32) -> i32 { x }", Shows("")),
            ("fn h() -> i32 {\n    g(1)\n}", Shows("")),
            (
                "fn g(x: &str) -> usize { x.len() }",
                Fails(&["mismatched types", "cell 2:2:7", "    g(1)"]),
            ),
            (
                "fn deep(n: i32) -> i32 {\n    assert!(n < 3, \"too deep\");\n    n\n}",
                Shows(""),
            ),
            (
                "deep(1) +\n  deep(5)",
                Fails(&["panic: too deep", "cell 4:2:5"]),
            ),
        ],
        // Columns are those that the user typed, wide characters included.
        &[
            (
                "let ä = vec![1]; let 日本 = ä.len(); 日本 + nothing",
                Fails(&["cell:1:41", "nothing"]),
            ),
            ("let a = vec![1]; a.push(2);", Fails(&["cell:1:18"])),
            (
                "let (a, b) = (vec![1], 2); a.nothing(b)",
                Fails(&["cell:1:30"]),
            ),
        ],
        // What cannot be shown or kept.
        &[
            ("struct Plain;", Shows("")),
            (
                "Plain",
                Fails(&["cannot be shown", "#[derive(Debug)]", "semicolon"]),
            ),
            ("vec![Plain]", Fails(&["cannot be shown"])),
            ("Plain;", Shows("")),
            ("let f = |x: i32| x;", Fails(&["closure"])),
            (
                "let text = String::from(\"a\"); let part = &text[..];",
                Fails(&["reference"]),
            ),
        ],
    ]);
}
