//! What a user may do, as tables of cells: each row is a cell and what it does. A row more is a test more.

mod common;

use common::Then::{Fails, Prints, Shows};
use common::{Bench, OURS, Then, folder_of_crate, plain};
use rebit_kernel::output::{Reply, StreamName};

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
        // In the cell that binds the variable anew: the value is of the new one, whatever the old one was.
        &[
            (
                "#[derive(Debug)] struct H(u8); let h = H(1); let kept = 5;",
                Shows(""),
            ),
            (
                "#[derive(Debug)] struct H(String); let mut h = H(\"a\".into());",
                Shows(""),
            ),
            ("(&h, kept)", Shows("(H(\"a\"), 5)")),
            (
                "let h = H(\"b\".into()); panic!(\"before it is kept\");",
                Fails(&["before it is kept"]),
            ),
            ("h", Shows("H(\"a\")")),
            (
                "#[derive(Debug)] struct H(Vec<u64>); let h = H(vec![1]); panic!(\"of neither\");",
                Fails(&["of neither"]),
            ),
            ("h", Fails(&["cannot find value `h`"])),
            ("let h = H(vec![2]); (h, kept)", Shows("(H([2]), 5)")),
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
        // With its type after `:types`.
        let value = bench.ok("1 + 1");
        assert!(
            value == "2" || (command == ":types" && value == ": i32 = 2"),
            "{command}: {value}"
        );
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
            (
                "static WRONG: u8 = \"a\";",
                Fails(&["mismatched types", "cell:1:20"]),
            ),
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
        // Bound and moved by one cell, also what nothing could keep; and where the name had a meaning before.
        (
            "let (list, words) = (vec![1, 2], vec![3]);\nlet f = move || list.len();\n\
             let count = std::iter::once(f).map(|f| f()).sum::<usize>() + words.into_iter().sum::<usize>();",
            Shows(""),
        ),
        ("count", Shows("5")),
        ("list", Fails(&["`list` was moved by cell 6"])),
        ("f()", Fails(&["`f` was moved by cell 6"])),
        ("words", Fails(&["`words` was moved by cell 6"])),
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
            ("|x: i32| x + 1", Fails(&["cannot be shown", "{closure}"])),
            (
                "let mut both = vec![|| 1]; both.push(|| 2);",
                Fails(&["mismatched types", "closure"]),
            ),
            ("Plain;", Shows("")),
        ],
    ]);
}

#[test]
fn variables_that_cannot_be_kept_are_told_in_the_same_words() {
    const KEPT: &str = "cannot be kept for later cells";
    const BRACES: &str = "braces";
    follow(&[&[
        ("let list = vec![1, 2, 3];", Shows("")),
        (
            "let f = |x: i32| x;",
            Fails(&[
                "variable `f`",
                KEPT,
                "closure",
                "Box<dyn Fn()>",
                BRACES,
                "cell:1:5",
            ]),
        ),
        (
            "let n = 2; let f = move |x: i32| x + n;",
            Fails(&["variable `f`", KEPT, "closure", "cell:1:16"]),
        ),
        (
            "let text = String::from(\"a\"); let part = &text[..];",
            Fails(&["variable `part`", KEPT, "reference", BRACES, "cell:1:35"]),
        ),
        (
            "let there = list.iter();",
            Fails(&["variable `there`", KEPT, "reference", "collect", BRACES]),
        ),
        (
            "let twice = list.iter().map(|x| x * 2);",
            Fails(&["variable `twice`", KEPT, "closure", "collect", BRACES]),
        ),
        (
            "let word = String::from(\" a \").as_str().trim();",
            Fails(&["variable `word`", KEPT, "reference"]),
        ),
        (
            "fn odd() -> impl Iterator<Item = i32> { (0..3).filter(|x| x % 2 == 1) }",
            Shows(""),
        ),
        (
            "let odd = odd();",
            Fails(&["variable `odd`", KEPT, "has no name", "collect", BRACES]),
        ),
        // What is borrowed from the program itself lasts.
        ("let all = \"abc\".chars();", Shows("")),
        ("all.rev().collect::<String>()", Shows("\"cba\"")),
        ("let words = \"a b\".split(' ');", Shows("")),
        ("words.count()", Shows("2")),
        // Functions are kept by their pointers.
        ("let size = i32::abs;", Shows("")),
        ("size(-3)", Shows("3")),
        ("list.len()", Shows("3")),
    ]]);
}

#[test]
fn crates_that_are_missing_are_named_with_their_line() {
    let inner = folder_of_crate("inner-crate", "#[derive(Debug)] pub struct Inner(pub u8);");
    let outer = folder_of_crate(
        "outer-crate",
        "pub fn inner() -> inner_crate::Inner { inner_crate::Inner(1) }",
    );
    let manifest = outer.path().join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let line = format!("inner-crate = {{ path = {:?} }}\n", inner.path());
    std::fs::write(&manifest, format!("{text}[dependencies]\n{line}")).unwrap();
    let mut bench = follow(&[&[
        (
            "use regex::Regex;",
            Fails(&["cell:1:5", "`regex`", ":dep regex = \"1\""]),
        ),
        (
            "let all = itertools::iproduct!(0..2, 0..2).count();",
            Fails(&[":dep itertools = \"0.14\""]),
        ),
        (
            "serde_yaml::from_str::<u8>(\"1\")?",
            Fails(&["cell:1:1", ":dep serde_yaml = \"0.9\""]),
        ),
        (
            "use own_crate::Thing;",
            Fails(&[":dep own_crate = \"VERSION\""]),
        ),
        ("anyhow::bail!(\"x\")", Fails(&[":dep anyhow = \"1\""])),
        // One that the library contains comes in the library's version.
        (
            "let n = num_traits::one::<u8>();",
            Fails(&[":dep num-traits = \"0.2."]),
        ),
        ("HashMapp::<u8, u8>::new()", Fails(&["HashMapp"])),
    ]]);
    bench.ok(&format!(
        ":dep outer-crate = {{ path = {:?} }}",
        outer.path()
    ));
    bench.follow(&[
        ("outer_crate::inner()", Shows("Inner(1)")),
        (
            "let own = outer_crate::inner();",
            Fails(&["inner_crate", ":dep inner_crate"]),
        ),
    ]);
    bench.ok(&format!(":dep {line}"));
    bench.follow(&[("let own = outer_crate::inner(); own", Shows("Inner(1)"))]);
}

#[test]
fn what_fails_elsewhere_is_shown_where_the_cell_calls_it() {
    let folder = folder_of_crate(
        "failing",
        "pub fn fail(n: u8) -> u8 { if n > 1 { panic!(\"in there\") } n }",
    );
    let mut bench = follow(&[&[
        (
            "let m = randn(2, 3, &mut rng(0)); let v: Vec<i32> = Vec::new();",
            Shows(""),
        ),
        (
            "let a = 1;\nlet p =\n  matmul(m.clone(), m.clone());",
            Fails(&["(2, 3)", "cell:3:3"]),
        ),
        (
            "let p = 1;\nlet p = try_matmul(m.clone(), m.clone())?;",
            Fails(&["error: ", "(2, 3)", "cell:2:9"]),
        ),
        // dfdx itself.
        (
            "let p = 1;\n  let q = m.clone().reshape_like(&(7usize, 2usize));",
            Fails(&["panic: ", "cell:2:"]),
        ),
        (
            "fn deep(v: &[i32]) -> i32 {\n    *v.last().unwrap()\n}",
            Shows(""),
        ),
        ("deep(&v)", Fails(&["panic: ", "cell 5:2:"])),
        (
            "let n: i32 = 5;   let q: i32 =   \"x\".parse()?;",
            Fails(&["error: invalid digit", "cell:1:34"]),
        ),
        (
            "let two = 2;\nlet four = dbg!(two + 2);",
            Prints("[cell:2:12] two + 2 = 4"),
        ),
        // In another thread, and caught: text, with the reader's words.
        (
            "let c = 1;\nstd::thread::spawn(|| { panic!(\"alone\") }).join().is_err()",
            Prints("panicked at cell:2:25:\nalone"),
        ),
        (
            "std::panic::catch_unwind(|| { panic!(\"caught\") }).is_err()",
            Prints("panicked at cell:1:31:\ncaught"),
        ),
        ("m.shape()", Shows("(2, 3)")),
        (":opt 2", Prints("")),
        (
            "let a = 1;\nmatmul(m.clone(), m.clone());",
            Fails(&["cell:2:1"]),
        ),
        (":opt 0", Prints("")),
    ]]);
    bench.ok(&format!(":dep failing = {{ path = {:?} }}", folder.path()));
    bench.follow(&[
        (
            "let first = failing::fail(1);\nlet next = failing::fail(2);",
            Fails(&["in there", "cell:2:12"]),
        ),
        (
            "let v = vec![1]; let v = failing::fail(3); panic!(\"later\")",
            Fails(&["in there", "cell:1:26"]),
        ),
    ]);
}

#[test]
fn what_parses_in_two_ways_is_what_compiles() {
    follow(&[
        &[
            ("let flag = false; let n = 5u8;", Shows("")),
            ("!flag", Shows("true")),
            ("!flag && !(n == 5)", Shows("false")),
            ("// not\n!n", Shows("250")),
            ("!0u8", Shows("255")),
            ("let other = 1;\n!flag", Shows("true")),
            ("!echo shell $((1 + 1))", Prints("")),
            (
                "!no_such_command_of_a_shell",
                Fails(&["no_such_command_of_a_shell"]),
            ),
            ("fn is_even(n: u8) -> bool { n % 2 == 0 }", Shows("")),
            ("!is_even(n)\n  && !flag", Shows("true")),
            (
                "!flag; panic!(\"after it\")",
                Fails(&["after it", "cell:1:8"]),
            ),
        ],
        // Comments in front of commands.
        &[
            ("  // note\n:vars", Prints("")),
            ("/* two\nlines :clear\n*/\n:opt 0\nn", Shows("5")),
            ("   // note\n\n  :opt 0\n  // another\nn + 1", Shows("6")),
        ],
        // Names in patterns that bind nothing.
        &[
            ("let x: Option<u8> = None; let y = Some(3);", Shows("")),
            ("let None = x else { panic!(\"some\") };\n1", Shows("1")),
            (
                "let None = y else { panic!(\"some {y:?}\") };",
                Fails(&["some Some(3)"]),
            ),
            (
                "let (None, Some(z)) = (x, y) else { panic!() }; z",
                Shows("3"),
            ),
            (
                "enum Light { Red, Green } use Light::*; const LIMIT: u8 = 3;",
                Shows(""),
            ),
            (
                "let Red = Light::Red else { panic!(\"green\") }; let LIMIT = 3 else { panic!() };",
                Shows(""),
            ),
            (
                "let Green = Light::Red else { panic!(\"red\") };",
                Fails(&["panic: red"]),
            ),
            ("let A = vec![1, 2]; let (B, C) = (3, 4);", Shows("")),
            ("(A.len(), B, C)", Shows("(2, 3, 4)")),
        ],
        &[
            // An expression that is a function.
            ("i32::abs", Fails(&["a function", "cell:1:1"])),
            ("is_even", Fails(&["a function"])),
        ],
    ]);
}

#[test]
fn the_users_names_come_before_the_preludes() {
    follow(&[
        &[
            ("macro_rules! claim { ($x:expr) => { $x + 1 } }", Shows("")),
            ("claim!(1)", Shows("2")),
            ("fn later() -> i32 { claim!(4) }", Shows("")),
            ("later()", Shows("5")),
            ("macro_rules! claim { ($x:expr) => { $x + 2 } }", Shows("")),
            ("(claim!(1), later())", Shows("(3, 6)")),
            (
                "macro_rules! finding { () => { later() } } finding!()",
                Shows("6"),
            ),
        ],
        &[
            (
                "mod own { #[derive(Debug)] pub struct Trainer(pub u8); pub fn matmul(x: u8) -> u8 { x } \
                 pub mod data { pub fn one() -> u8 { 1 } } pub const N: u8 = 9; }",
                Shows(""),
            ),
            ("use own::*;", Shows("")),
            ("matmul(3)", Shows("3")),
            ("let t = Trainer(1);", Shows("")),
            ("(t, data::one(), N)", Shows("(Trainer(1), 1, 9)")),
            (
                "fn with(t: Trainer) -> u8 { matmul(t.0) } with(Trainer(4))",
                Shows("4"),
            ),
            // A definition of the user's comes before everything.
            ("fn matmul(x: u8) -> u8 { x + 10 } matmul(1)", Shows("11")),
            ("matmul(2)", Shows("12")),
            ("randn(2, 3, &mut rng(0)).shape()", Shows("(2, 3)")),
        ],
    ]);
}

#[test]
fn values_are_shown_in_the_format_that_was_asked_for() {
    follow(&[&[
        ("#[derive(Debug)] struct P { x: f64 }", Shows("")),
        ("P { x: 0.12345 }", Shows("P { x: 0.12345 }")),
        (
            ":fmt {:#?}\nP { x: 0.12345 }",
            Shows("P {\n    x: 0.12345,\n}"),
        ),
        ("(1, 2)", Shows("(\n    1,\n    2,\n)")),
        (":fmt -> {:.2?}", Prints("")),
        ("P { x: 0.12345 }", Shows("-> P { x: 0.12 }")),
        ("()", Shows("")),
        (":fmt {}", Fails(&["{:#?}"])),
        ("1.0", Shows("-> 1.00")),
        (":fmt", Prints("")),
        ("P { x: 0.5 }", Shows("P { x: 0.5 }")),
        (":types", Prints("")),
        ("1u8", Shows(": u8 = 1")),
        (":types", Prints("")),
        ("1u8", Shows("1")),
    ]]);
}

#[test]
fn files_are_looked_for_beside_the_notebook() {
    let mut bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "text of a").unwrap();
    std::fs::write(folder.path().join("code.rs"), "1 + 2").unwrap();
    bench.work_in(folder.path());
    bench.follow(&[
        ("include_str!(\"a.txt\")", Shows("\"text of a\"")),
        ("const A: &[u8] = include_bytes!(\"a.txt\");\nfn three() -> i32 { include!(r\"code.rs\") }", Shows("")),
        ("(A.len(), three())", Shows("(9, 3)")),
        ("std::fs::read_to_string(\"a.txt\")?", Shows("\"text of a\"")),
        ("let n = include_str!(\"a.txt\").len(); panic!(\"told\")", Fails(&["cell:1:38"])),
        (
            "fn there() -> usize {\n    let n = include_str!(\"a.txt\").len(); panic!(\"{n}\")\n}",
            Shows(""),
        ),
        ("there();", Fails(&["panic: 9", "cell 6:2:42"])),
        ("include_str!(\"none.txt\")", Fails(&["none.txt"])),
    ]);
}

#[test]
fn output_and_errors_come_in_their_order() {
    let mut bench = Bench::new();
    bench.ok("for i in 0..200 { println!(\"o{i}\"); eprintln!(\"e{i}\"); if i % 3 == 0 { eprint!(\"x\"); } print!(\"p\\n\"); }");
    let mut text = String::new();
    for output in &bench.said {
        if let rebit_kernel::output::Output::Stream { text: part, .. } = output {
            text += part;
        }
    }
    let wanted: String = (0..200)
        .map(|i| format!("o{i}\ne{i}\n{}p\n", if i % 3 == 0 { "x" } else { "" }))
        .collect();
    assert_eq!(text, wanted);
    // The shell's own output has no marks; nothing of it is lost.
    bench.ok("std::process::Command::new(\"sh\").args([\"-c\", \"echo out; echo err >&2\"]).status()?.success()");
    assert_eq!(bench.text(StreamName::Stderr), "err\n");
    bench.ok("eprint!(\"{}\", \"y\".repeat(300_000)); println!(\"end\");");
    assert_eq!(bench.text(StreamName::Stderr).len(), 300_000);
}

#[test]
fn items_that_a_macro_makes_run_again() {
    follow(&[
        &[
            (
                "macro_rules! make { ($n:ident) => { #[derive(Debug)] struct $n; impl $n { fn one(&self) -> u8 { 1 } } } }",
                Shows(""),
            ),
            ("make!(Foo)", Shows("")),
            ("make!(Foo);", Shows("")),
            ("Foo.one()", Shows("1")),
            ("make!(Foo); make!(Bar); Bar.one() + Foo.one()", Shows("2")),
            ("let foo = Foo;", Shows("")),
            ("foo", Shows("Foo")),
            // Edited: the macro, then the call.
            (
                "macro_rules! make { ($n:ident) => { #[derive(Debug)] struct $n; impl $n { fn one(&self) -> u8 { 11 } } };\n\
                 ($n:ident, $t:ty) => { #[derive(Debug)] struct $n($t); } }",
                Shows(""),
            ),
            ("Foo.one()", Shows("11")),
            ("make!(Foo, u8)", Shows("")),
            ("Foo(3)", Shows("Foo(3)")),
            // What was made otherwise is never read as what it is not.
            ("foo", Fails(&["cannot find value `foo`"])),
            ("let foo = Foo(3);", Shows("")),
            ("make!(Foo, Box<u64>)", Shows("")),
            ("foo.0", Fails(&["cannot find value `foo`"])),
            // Defined by hand in its place.
            ("#[derive(Debug)] struct Foo { a: u8 }", Shows("")),
            ("Foo { a: 1 }", Shows("Foo { a: 1 }")),
            ("make!(Foo, nothing)", Fails(&["nothing"])),
            ("Foo { a: 2 }", Shows("Foo { a: 2 }")),
        ],
        &[
            (
                "macro_rules! all { ($($v:vis $n:ident: $t:ty),*) => { $($v fn $n() -> $t { <$t>::default() })* } }",
                Shows(""),
            ),
            ("all! { pub first: u8, second: String }", Shows("")),
            ("all! { pub first: u8, second: String }", Shows("")),
            ("(first(), second())", Shows("(0, \"\")")),
        ],
        // A statement stays one.
        &[
            (
                "macro_rules! twice { ($e:expr) => { { println!(\"{}\", $e); $e + $e } } }",
                Shows(""),
            ),
            ("twice!(2)", Shows("4")),
            ("twice!(2);", Prints("2")),
        ],
    ]);
}

/// An item, another one of its name, and what tells them apart.
const TWO_OF_A_KIND: [(&str, &str, &str); 12] = [
    (
        "struct S { a: [u8; 1] }",
        "struct S([u8; 2]);",
        "size_of::<S>()",
    ),
    ("enum E { A = 1 }", "enum E { A = 2 }", "E::A as u8"),
    (
        "union U { a: [u8; 1] }",
        "union U { b: [u8; 2] }",
        "size_of::<U>()",
    ),
    ("type T = [u8; 1];", "type T = [u8; 2];", "size_of::<T>()"),
    ("fn f() -> u8 { 1 }", "fn f() -> u8 { 2 }", "f()"),
    ("static G: u8 = 1;", "static G: u8 = 2;", "G"),
    ("const C: u8 = 1;", "const C: u8 = 2;", "C"),
    (
        "mod m { pub fn n() -> u8 { 1 } }",
        "mod m { pub fn n() -> u8 { 2 } }",
        "m::n()",
    ),
    ("use one::N as V;", "use two::N as V;", "V"),
    (
        "trait Tr { fn n(&self) -> u8 { 1 } } impl Tr for u8 {}",
        "trait Tr { fn n(&self) -> u8 { 2 } } impl Tr for u8 {}",
        "0u8.n()",
    ),
    (
        "impl Number for Own { fn number(&self) -> u8 { 1 } }",
        "impl Number for Own { fn number(&self) -> u8 { 2 } }",
        "Own.number()",
    ),
    (
        "impl Own { fn n(&self) -> u8 { 1 } }",
        "impl Own { fn n(&self) -> u8 { 2 } }",
        "Own.n()",
    ),
];

#[test]
fn what_a_macro_makes_and_what_is_written_replace_each_other() {
    let mut bench = Bench::new();
    bench.ok("struct Own; trait Number { fn number(&self) -> u8; }\n\
         mod one { pub const N: u8 = 1; } mod two { pub const N: u8 = 2; }\n\
         macro_rules! items { ($($item:item)*) => { $($item)* } }");
    let cell = |of: &dyn Fn(&(&str, &str, &str)) -> String| {
        let all: Vec<String> = TWO_OF_A_KIND.iter().map(of).collect();
        all.join("\n")
    };
    let written = cell(&|(one, ..)| one.to_string());
    let made = cell(&|(_, two, _)| format!("items! {{ {two} }}"));
    let written_two = cell(&|(_, two, _)| two.to_string());
    let value = cell(&|(.., value)| format!("{value} as u8,"));
    let wanted = |n: u8| format!("{:?}", vec![n; TWO_OF_A_KIND.len()]);
    for (cell, n) in [
        (&written, 1),
        (&made, 2),
        (&made, 2),
        (&written, 1),
        (&made, 2),
        (&written_two, 2),
        (&written, 1),
    ] {
        bench.ok(cell);
        assert_eq!(bench.ok(&format!("vec![{value}]")), wanted(n), "{cell}");
    }
    // One at a time.
    for (one, two, value) in TWO_OF_A_KIND {
        bench.ok(&format!("items! {{ {two} }}"));
        assert_eq!(bench.ok(&format!("{value} as u8")), "2", "{two}");
        bench.ok(one);
        assert_eq!(bench.ok(&format!("{value} as u8")), "1", "{one}");
    }
}

#[test]
fn what_is_replaced_is_all_that_is_replaced() {
    follow(&[
        &[
            ("struct Foo;", Shows("")),
            (
                "macro_rules! make { ($n:ident) => { struct $n; }; ($n:ident, $t:ty) => { struct $n($t); } }",
                Shows(""),
            ),
            ("make!(Foo)", Shows("")),
            ("Foo;", Shows("")),
            // What was stored of the one is never read as the other.
            (
                "struct Foo(Box<u64>); let foo = Foo(Box::new(3));",
                Shows(""),
            ),
            ("make!(Foo, u64)", Shows("")),
            ("foo.0", Fails(&["cannot find value `foo`"])),
            // Beside a variable whose type is asked for.
            (
                "struct Foo(u8); let all = vec![1, 2].into_iter().map(Foo).collect::<Vec<_>>();",
                Shows(""),
            ),
            (
                "make!(Foo, i8); let rest = vec![1, 2].into_iter().map(Foo).map(|foo| foo.0).collect::<Vec<_>>();",
                Shows(""),
            ),
            ("rest", Shows("[1, 2]")),
            // In a cell that fails nothing has gone.
            ("struct Foo(u8);", Shows("")),
            ("make!(Foo, nothing)", Fails(&["nothing"])),
            ("Foo(7).0", Shows("7")),
            // Both in one cell.
            (
                "struct Twice; make!(Twice);",
                Fails(&["`Twice` is defined multiple times"]),
            ),
        ],
        &[
            (
                "macro_rules! items { ($($item:item)*) => { $($item)* } }",
                Shows(""),
            ),
            // Of an implementation goes the member alone.
            (
                "struct P; impl P { fn a(&self) -> u8 { 1 } fn b(&self) -> u8 { 2 } }",
                Shows(""),
            ),
            ("items! { impl P { fn a(&self) -> u8 { 11 } } }", Shows("")),
            ("(P.a(), P.b())", Shows("(11, 2)")),
            ("impl P { fn b(&self) -> u8 { 22 } }", Shows("")),
            ("(P.a(), P.b())", Shows("(11, 22)")),
            // What a type brings with it stays as long as the type does.
            (
                "items! { #[derive(Debug)] struct Q; impl Q { fn a(&self) -> u8 { 1 } } }",
                Shows(""),
            ),
            (
                "impl Q { fn a(&self) -> u8 { 2 } }",
                Fails(&["duplicate definitions", "`a`"]),
            ),
            ("Q.a()", Shows("1")),
            (
                "impl std::fmt::Debug for Q { fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result { write!(f, \"q\") } }",
                Fails(&["conflicting implementations"]),
            ),
            ("Q", Shows("Q")),
            ("#[derive(Debug)] struct R;", Shows("")),
            (
                "items! { impl std::fmt::Debug for R { fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result { write!(f, \"r\") } } }",
                Fails(&["conflicting implementations"]),
            ),
            ("R", Shows("R")),
        ],
    ]);
}

#[test]
fn lazy_variables_keep_their_values() {
    follow(&[&[
        (
            ":dep lazy_static = \"1\"\n:dep once_cell = \"1\"\nuse lazy_static::lazy_static; use std::sync::Mutex;",
            Shows(""),
        ),
        (
            "lazy_static! {\n    /// Some.\n    static ref A: Mutex<Vec<u8>> = Mutex::new(vec![1]);\n    pub static ref B: String = { println!(\"made\"); \"b\".to_string() };\n}",
            Shows(""),
        ),
        ("A.lock().unwrap().push(2); B.len()", Prints("made")),
        ("(A.lock().unwrap().len(), B.as_str())", Shows("(2, \"b\")")),
        ("fn text() -> &'static String { &B }", Shows("")),
        ("lazy_static::initialize(&A); text()", Shows("\"b\"")),
        (
            "fn next() -> u8 { lazy_static! { static ref N: Mutex<u8> = Mutex::new(5); } let mut n = N.lock().unwrap(); *n += 1; *n }",
            Shows(""),
        ),
        ("next()", Shows("6")),
        ("next()", Shows("7")),
        // Run again, it begins anew.
        (
            "lazy_static! { static ref A: Mutex<Vec<u8>> = Mutex::new(vec![]); }",
            Shows(""),
        ),
        ("A.lock().unwrap().len()", Shows("0")),
        (
            "lazy_static! { static ref WRONG: u8 = \"a\"; }",
            // Its line; behind other variables of the kind the column is not the value's.
            Fails(&["mismatched types", "cell:1:"]),
        ),
        (
            "use once_cell::sync::{Lazy, OnceCell};\nstatic LIST: Lazy<Mutex<Vec<u8>>> = Lazy::new(|| Mutex::new(vec![])); static ONCE: OnceCell<u8> = OnceCell::new();",
            Shows(""),
        ),
        ("LIST.lock().unwrap().push(1); ONCE.set(3)", Shows("Ok(())")),
        (
            "(LIST.lock().unwrap().len(), ONCE.get())",
            Shows("(1, Some(3))"),
        ),
        // What other macros make begins anew in each cell, which is told.
        (
            "macro_rules! counter { ($n:ident) => { static $n: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0); } }",
            Shows(""),
        ),
        ("counter!(HITS);", Prints("`counter!` makes a static")),
        (
            "HITS.fetch_add(1, std::sync::atomic::Ordering::SeqCst)",
            Shows("0"),
        ),
    ]]);
}

/// Cells that fail, each in a way of its own.
const FAILING: &[&str] = &[
    // Syntax.
    "let x = 5 let y = 6;",
    "let s = \"unclosed",
    "let s = r#\"unclosed\";",
    "/* unclosed",
    "let n = 1; /* unclosed\nn",
    "fn f( {",
    "1 +",
    "let = 3;",
    "0xg",
    "let x: impl Copy = 1;",
    "'label: 1",
    // Names.
    "nothing",
    "Nothing { a: 1 }",
    "let v: Vec<Nothing> = vec![];",
    "nothing::there()",
    "nothing!()",
    "#[derive(Nothing)] struct Lost;",
    "fn f() { nothing }",
    "mod m { pub fn f() { nothing } }",
    "impl Nothing {}",
    "enum E { A, A }",
    "println!(\"{nothing}\")",
    // Types.
    "let x: i32 = ();",
    "let (a, b) = (1, 2, 3);",
    "let Some(q) = Some(1);",
    "let unknown = Vec::new();",
    "let unknown = Default::default();",
    "let n = \"1\".parse().unwrap();",
    "println!(\"{}\")",
    "trait Tr { fn f(); } struct Q; impl Tr for Q {}",
    "#[derive(Clone, Copy)] struct Q(String);",
    "static TEXT: String = String::from(\"a\");",
    "const A: u8 = 256;",
    "compile_error!(\"own\")",
    "macro_rules! plus { ($x:expr) => { $x + nothing } } plus!(1)",
    "macro_rules! of_a { (a) => {} } of_a!(b)",
    "return Err(3);",
    "break;",
    "std::rc::Rc::new(1).await",
    "let rc = std::rc::Rc::new(1); std::thread::spawn(move || rc);",
    // What is shown, or ends the cell.
    "struct Bare; Bare",
    "vec![(1, Bare)]",
    "async { 1 }",
    "i32::abs",
    "|x: i32| x",
    "Err::<u8, Bare>(Bare)?",
    "Err(Bare)?",
    "None?",
    "\"a\".parse::<u8>()?",
    "\"a\".parse()?",
    "Err(\"own\")?",
    // What is kept.
    "let v = vec![1]; drop(v); v",
    "let v = vec![1]; v.push(2);",
    "let r = { let s = String::new(); &s };",
    "let s = String::new(); let r = &s;",
    "let it = vec![1].iter();",
    "let f = |x| x;",
    "let f = |x: i32| x;",
    "let a = async { 1 };",
    "fn same<T>(t: T) -> T { t } let g = same;",
    // While it runs.
    "panic!(\"own\")",
    "let d = [0][0]; 1 / d",
    "vec![1][7]",
    "std::thread::spawn(|| panic!(\"own\")).join().unwrap()",
    "std::process::exit(3)",
    // Commands.
    ":dep nothing-of-that-name = \"1\"",
    ":dep",
    ":nothing",
    ":opt nine",
    ":fmt {}",
    "use regex::Regex;",
];

#[test]
fn no_message_speaks_of_what_is_generated() {
    let mut bench = Bench::new();
    let mut spoken = Vec::new();
    for code in FAILING {
        bench.ok("let v = vec![2]; let other = String::new();");
        let Reply::Error(failure) = bench.run(code) else {
            spoken.push(format!("{code} does not fail"));
            continue;
        };
        let said = bench.text(StreamName::Stdout) + &bench.text(StreamName::Stderr);
        let report = format!("{}\n{}\n{said}", failure.evalue, plain(&failure));
        let words: Vec<&str> = OURS
            .into_iter()
            .filter(|word| report.contains(word))
            .collect();
        if !words.is_empty() || failure.evalue.is_empty() || report.contains("warning:") {
            spoken.push(format!("{code}: {words:?}\n{report}"));
        }
    }
    assert!(spoken.is_empty(), "{}", spoken.join("\n\n"));
}

#[test]
fn variables_of_threads_keep_their_values() {
    follow(&[&[
        ("use std::cell::{Cell, RefCell};", Shows("")),
        (
            "thread_local! {\n    /// Counts.\n    static COUNT: Cell<u32> = const { Cell::new(1) };\n    pub static LIST: RefCell<Vec<u8>> = RefCell::new(vec![1]);\n}",
            Shows(""),
        ),
        ("COUNT.set(COUNT.get() + 1);", Shows("")),
        ("LIST.with_borrow_mut(|list| list.push(2));", Shows("")),
        ("(COUNT.get(), LIST.with_borrow(Vec::len))", Shows("(2, 2)")),
        (
            "std::thread::spawn(|| COUNT.get()).join().unwrap()",
            Shows("1"),
        ),
        (
            "fn next() -> u32 { thread_local! { static N: Cell<u32> = Cell::new(5); } N.set(N.get() + 1); N.get() }",
            Shows(""),
        ),
        ("next()", Shows("6")),
        ("next()", Shows("7")),
        // Run again, it begins anew.
        (
            "thread_local!(static COUNT: Cell<u32> = Cell::new(10));",
            Shows(""),
        ),
        ("COUNT.get()", Shows("10")),
    ]]);
}
