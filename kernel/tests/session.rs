//! Sessions from outside: values, outputs, errors, crashes, interrupts. Each test starts one session and
//! runs many cells in it.

use std::time::{Duration, Instant};

mod common;

use common::{Bench, Then, folder_of_crate, plain};
use rebit_kernel::analyser::Analyser;
use rebit_kernel::language::assist::Assistant;
use rebit_kernel::language::index;
use rebit_kernel::output::{Output, Reply, StreamName};
use rebit_kernel::workshop;

#[test]
fn values_and_outputs() {
    let mut b = Bench::new();
    assert_eq!(b.ok("1 + 1"), "2");
    assert_eq!(b.said.len(), 1, "{:?}", b.said);
    assert_eq!(b.ok("let a = randn(3, 4, &mut rng(0));"), "");
    assert_eq!(b.ok("a.shape()"), "(3, 4)");
    for code in [
        "()",
        "let _x = 3;",
        "fn f() {}",
        "for _ in 0..2 {}",
        "",
        "// nothing",
    ] {
        assert_eq!(b.ok(code), "", "{code}");
        assert!(b.said.is_empty(), "{code}: {:?}", b.said);
    }

    // Text without a newline belongs to its own cell, with and without a flush.
    b.ok("print!(\"one\");");
    assert_eq!(b.text(StreamName::Stdout), "one");
    b.ok("print!(\"two\"); std::io::Write::flush(&mut std::io::stdout()).unwrap(); eprint!(\"three\"); 5");
    assert_eq!(b.text(StreamName::Stdout), "two");
    assert_eq!(b.text(StreamName::Stderr), "three");

    // Every display is kept, in order, and the value is told from them.
    assert_eq!(
        b.ok("show::html(\"<b>1</b>\"); println!(\"between\"); show::html(\"<b>2</b>\"); 7"),
        "7"
    );
    let kinds: Vec<&str> = b
        .said
        .iter()
        .map(|output| match output {
            Output::Display { .. } => "display",
            Output::Stream { .. } => "stream",
            Output::Result { .. } => "result",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["display", "stream", "display", "result"]);

    // A type's own display is used once, in all its forms.
    b.ok("pub struct Point(i32);\n\
          impl Point { pub fn evcxr_display(&self) { \
          println!(\"EVCXR_BEGIN_CONTENT text/html\\n<i>{}</i>\\nEVCXR_END_CONTENT\", self.0); \
          println!(\"EVCXR_BEGIN_CONTENT text/plain\\npoint\\nEVCXR_END_CONTENT\"); } }");
    assert_eq!(b.ok("Point(3)"), "point");
    assert!(matches!(&b.said[..], [Output::Result { data, .. }] if data.len() == 2));

    // Text arrives while the cell runs.
    let mut times = Vec::new();
    b.session.execute(
        "for i in 0..3 { print!(\"\\r{i}\"); \
         std::io::Write::flush(&mut std::io::stdout()).unwrap(); \
         std::thread::sleep(std::time::Duration::from_millis(400)); }",
        &mut |_| times.push(Instant::now()),
    );
    assert_eq!(times.len(), 3);
    assert!(times[1].duration_since(times[0]) > Duration::from_millis(200));

    // Commands answer too.
    b.ok("let seven = 7;");
    assert!(b.ok(":vars").contains("seven: i32"));
    assert!(
        b.session
            .variables()
            .contains(&("seven".into(), "i32".into()))
    );
    assert!(b.session.preamble().contains("struct Point"));

    // Input.
    let mut asked = Vec::new();
    let asked_cell = std::cell::RefCell::new(&mut asked);
    b.session.execute_with_input(
        "print!(\"<{}>\", show::input(\"your: name?\")?); print!(\"<{}>\", show::password(\"word?\")?);",
        &mut |output| asked_cell.borrow_mut().push(format!("{output:?}")),
        &|request| Some(format!("{}-{}", request.prompt, request.password)),
    );
    assert!(
        asked.iter().any(|o| o.contains("<your: name?-false>"))
            && asked.iter().any(|o| o.contains("<word?-true>")),
        "{asked:?}"
    );

    // A cell says how long it took when asked to.
    b.ok(":timing");
    b.ok("seven");
    let took = b.text(StreamName::Stdout);
    let seconds = took
        .strip_prefix("took ")
        .and_then(|t| t.strip_suffix(" s\n"));
    assert!(
        seconds.is_some_and(|s| s.parse::<f64>().is_ok()),
        "{took:?}"
    );
    b.ok(":timing");

    // An empty answer is the end of the input, for one reading.
    let answers = std::cell::RefCell::new(vec!["", "three", "", "two", "one"]);
    let reply = b.session.execute_with_input(
        "let all = std::io::read_to_string(std::io::stdin())?; \
         let more = std::io::stdin().lines().count();",
        &mut |_| {},
        &|_| answers.borrow_mut().pop().map(str::to_string),
    );
    assert!(reply.is_ok(), "{reply:?}");
    assert_eq!(b.ok("(all, more)"), r#"("one\ntwo\n", 1)"#);

    // Cells that are compiled well are checked as much.
    b.ok(":opt 2");
    assert_eq!(b.ok("(0..10u64).map(|x| x * x).sum::<u64>()"), "285");
    assert_eq!(b.fails("u8::MAX + \"1\".parse::<u8>()?").ename, "panic");
    b.ok(":opt 0");

    // Much text is neither lost nor slow.
    b.ok("for i in 0..20_000 { println!(\"line {i}\"); }");
    assert_eq!(b.text(StreamName::Stdout).lines().count(), 20_000);
}

/// The library is compiled without checks of overflow, and cells use generic code that it has compiled: what overflows in
/// a cell must not be among that.
#[test]
fn sums_and_products_of_a_cell_overflow_loudly() {
    let mut b = Bench::new();
    b.ok("fn caught<T>(f: impl FnOnce() -> T) -> bool { \
          std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err() }");
    for of in ["u8", "i32", "u32", "i64", "u64", "usize"] {
        let mut code = format!(
            "let v: Vec<{of}> = vec![{of}::MAX, 2]; let list = [{of}::MAX, 2, 2];\
             let mut loud = vec![caught(|| v.iter().sum::<{of}>()), caught(|| v.iter().copied().sum::<{of}>()),\
             caught(|| v.clone().into_iter().sum::<{of}>()), caught(|| list.iter().product::<{of}>()),\
             caught(|| list.into_iter().sum::<{of}>()), caught(|| v.iter().map(|x| x + 0).sum::<{of}>())];"
        );
        // The library has these for sizes of shapes, and there they wrap (ARCHITECTURE.md).
        if of != "usize" {
            code += &format!("loud.push(caught(|| [{of}::MAX, 2].into_iter().product::<{of}>()));");
        }
        code = format!("{{ {code} loud.into_iter().all(|loud| loud) }}");
        assert_eq!(b.ok(&code), "true", "{of}");
    }
}

#[test]
fn errors_keep_the_variables() {
    let mut b = Bench::new();
    b.ok("let x = 5;");
    let failure = b.fails("// a comment\nlet y: i32 = \"a\";");
    assert_eq!(failure.ename, "E0308");
    assert!(failure.evalue.contains("mismatched types"), "{failure:?}");
    let report = plain(&failure);
    assert!(report.contains("cell:2:14"), "{report}");
    assert!(report.contains("2 | let y: i32 = \"a\";"), "{report}");

    // The shown expression stands elsewhere in what is compiled; the report points to the original.
    let failure = b.fails("let z = 1; z + nothing");
    assert_eq!(failure.ename, "E0425");
    assert!(plain(&failure).contains("cell:1:16"), "{}", plain(&failure));

    let failure = b.fails("let q = 1;\npanic!(\"boom {q}\");");
    assert_eq!(
        (failure.ename.as_str(), failure.evalue.as_str()),
        ("panic", "boom 1")
    );
    assert!(plain(&failure).contains("cell:2:1"), "{}", plain(&failure));
    assert!(failure.lost.is_empty());

    let failure = b.fails("let n: i32 = \"12x\".parse()?;");
    assert_eq!(failure.ename, "error");
    assert_eq!(failure.evalue, "invalid digit found in string");
    assert_eq!(b.text(StreamName::Stderr), "");
    assert_eq!(b.ok("let n: i32 = \"12\".parse()?; n + x"), "17");

    // A caught panic is no error.
    b.ok("let caught = std::panic::catch_unwind(|| panic!(\"inside\")).is_err();");
    assert!(b.text(StreamName::Stderr).contains("inside"));

    let failure = b.fails("let f = |a: i32| a + 1;");
    assert!(failure.evalue.contains("closure"), "{failure:?}");
    assert!(
        plain(&failure).contains("Box<dyn Fn()>"),
        "{}",
        plain(&failure)
    );
    let failure = b.fails("let text = String::from(\"a\"); let part = &text[..];");
    assert!(plain(&failure).contains("reference"), "{}", plain(&failure));
    let failure = b.fails("let unknown = Default::default();");
    assert!(!failure.evalue.is_empty());
    assert_eq!(b.ok("x"), "5");
}

#[test]
fn types_that_only_rustc_knows() {
    let mut b = Bench::new();
    b.ok("let v = vec![1, 2, 3];");
    b.ok("let mut names = Vec::new(); names.push(String::from(\"a\"));");
    b.ok("names.push(\"b\".to_string());");
    b.ok("let m: std::collections::HashMap<_, _> = v.iter().map(|i| (*i, i * 2)).collect();");
    b.ok("let (half, words) = (0.5, names.join(\"-\").split('-').map(String::from).collect::<Vec<_>>());");
    b.ok("let squares = v.iter().map(|i| i * i).collect::<Vec<_>>();\nlet sum: i32 = squares.iter().sum();");
    assert_eq!(
        b.ok("(v.len(), names.len(), m[&3], half, words.len(), sum)"),
        "(3, 2, 6, 0.5, 2, 14)"
    );
    let variables = b.session.variables();
    let of = |name: &str| {
        variables
            .iter()
            .find(|(n, _)| n == name)
            .unwrap()
            .1
            .as_str()
    };
    assert!(of("v").ends_with("Vec<i32>"), "{variables:?}");
    assert_eq!(of("half"), "f64");
    // Types of the library and of the crates below it.
    b.ok("let mut generator = rng(1); let tensor = randn(2, 2, &mut generator);");
    b.ok("let other = randn(2, 2, &mut generator);");
    // One that gets its value later, types that are written, statements without space between them.
    b.ok("let late;\nlet other = vec![1.5];\nlate = other.len();\nother");
    b.ok("let (a, mut c): (String, Vec<u8>) = (\"x\".into(), vec![]); c.push(1);let n: usize=c.len();");
    b.ok("c.push(2);");
    let shown = b.ok("(late, other, a, c, n)");
    assert_eq!(shown, "(1, [1.5], \"x\", [1, 2], 1)");
    // A mistake in such a cell is reported as a mistake, where it is.
    let failure = b.fails("let w = vec![1, 2];\nw.push(\"a\");");
    assert!(plain(&failure).contains("cell:2:"), "{}", plain(&failure));
}

/// Types that stand in signatures are told without rustc: what follows must be as if it had been asked.
#[test]
fn types_that_signatures_tell() {
    use Then::{Fails, Shows};
    index::library();
    let mut b = Bench::new();
    b.follow(&[
        // A function that returns something else now; a type of the user's that has a name of the library's.
        ("fn f() -> u8 { 7 }", Shows("")),
        ("let a = f(); let c = TrainConfig::default();", Shows("")),
        ("let of_library = pretrained_resnet20()?;", Shows("")),
        ("fn f() -> String { \"x\".into() }", Shows("")),
        ("let a = f(); let t = (a.clone(), \"y\");", Shows("")),
        ("(a.len(), t)", Shows("(1, (\"x\", \"y\"))")),
        ("struct Net(u8); fn own() -> Net { Net(5) }", Shows("")),
        ("let net = own();", Shows("")),
        ("(net.0, c.epochs > 0)", Shows("(5, true)")),
        ("of_library.layers().len()", Shows("22")),
        // All of another module is imported, with a name of the library's in it.
        (
            "mod other { pub struct Table; impl Table { pub fn new(n: [u8; 1]) -> u8 { n[0] } } }",
            Shows(""),
        ),
        ("use other::*;", Shows("")),
        (
            "let g = Table::new([3]); let s = format!(\"{g}\");",
            Shows(""),
        ),
        ("(g, s)", Shows("(3, \"3\")")),
        // What the signatures seem to say is wrong.
        (
            "#[derive(Clone, Copy)] struct T; impl T { fn get(&self) -> u8 { 1 } }",
            Shows(""),
        ),
        ("trait Get { fn get(self) -> u16; }", Shows("")),
        ("impl Get for T { fn get(self) -> u16 { 2 } }", Shows("")),
        ("let h = T.get();", Shows("")),
        ("h.to_be_bytes()", Shows("[0, 2]")),
        (
            "let h = T.get();\nlet s: u8 = \"a\";",
            Fails(&["error[E0308]", "cell:2:13", "expected `u8`, found `&str`"]),
        ),
        (
            "let h = f();\nlet i = g();",
            Fails(&["error[E0618]", "cell:2:9"]),
        ),
        // What the cell takes is gone, and the rest stays.
        (
            "struct Two { a: String, n: u8 } fn two() -> Two { Two { a: f(), n: 1 } }",
            Shows(""),
        ),
        (
            "let gone = two(); let n = gone.n; let a = gone.a;",
            Shows(""),
        ),
        ("(n, a)", Shows("(1, \"x\")")),
        (
            "gone.n",
            Fails(&["error[E0425]", "`gone` was moved by cell"]),
        ),
        ("let two = two(); let a = f(); drop(a);", Shows("")),
        ("two.n", Shows("1")),
        ("a", Fails(&["error[E0425]"])),
        ("fn rebound() -> Two { Two { a: f(), n: 2 } }", Shows("")),
        (
            "let maybe = rebound(); if maybe.n > 5 { drop(maybe) }",
            Shows(""),
        ),
        ("maybe.n", Fails(&["error[E0425]"])),
    ]);
}

#[test]
fn crashes_are_told_and_survived() {
    let mut b = Bench::new();
    let cases = [
        (
            "println!(\"last words\"); std::process::exit(3)",
            "exit status 3",
        ),
        ("std::process::abort()", "SIGABRT"),
        (
            "unsafe { std::ptr::null_mut::<u8>().add(8).write_volatile(1) }",
            "SIGSEGV",
        ),
        (
            "fn deep(n: u64) -> u64 { let a = [n; 999]; deep(n + 1) + std::hint::black_box(a)[7] }\ndeep(1)",
            "stack overflow",
        ),
    ];
    for (code, word) in cases {
        b.ok("let kept = 1; let tensor = randn(2, 2, &mut rng(0));");
        let failure = b.fails(code);
        assert_eq!(failure.ename, "crashed", "{failure:?}");
        assert!(failure.evalue.contains(word), "{failure:?}");
        assert_eq!(failure.lost, ["kept", "tensor"]);
        assert!(plain(&failure).contains("lost: kept, tensor"));
    }
    assert_eq!(b.ok("1 + 1"), "2");
    // The new process has the library and knows how to report a panic.
    assert_eq!(b.ok("randn(2, 3, &mut rng(0)).shape()"), "(2, 3)");
    assert_eq!(b.fails("panic!(\"again\")").evalue, "again");
}

#[test]
fn interrupts_keep_what_they_can() {
    let mut b = Bench::new();
    b.ok("let kept = 1;");
    let handle = b.session.interrupt_handle();
    // While nothing runs it changes nothing.
    handle.interrupt();
    assert_eq!(b.ok("kept"), "1");
    let interrupt_after = |seconds: &[u64]| {
        let handle = handle.clone();
        let seconds = seconds.to_vec();
        std::thread::spawn(move || {
            for s in seconds {
                std::thread::sleep(Duration::from_secs(s));
                handle.interrupt();
            }
        })
    };
    let late = interrupt_after(&[3]);
    let failure = b.fails(
        "loop { show::check_interrupt()?; std::thread::sleep(std::time::Duration::from_millis(20)); }",
    );
    late.join().unwrap();
    assert_eq!(failure.ename, "interrupted", "{failure:?}");
    assert_eq!(b.ok("kept"), "1");

    let late = interrupt_after(&[3, 1]);
    let failure = b.fails("loop { std::hint::spin_loop() }");
    late.join().unwrap();
    assert_eq!(failure.ename, "interrupted", "{failure:?}");
    assert_eq!(failure.lost, ["kept"]);
    assert_eq!(b.ok("2 + 2"), "4");
}

#[test]
fn nothing_is_left_behind() {
    let mut b = Bench::new();
    b.ok("let child = std::process::Command::new(\"sleep\").arg(\"1000\").spawn()?.id();");
    let sleeper: u32 = b.ok("child").parse().unwrap();
    let runtime = b.session.child_id().unwrap();
    let alive = |id: u32| std::path::Path::new(&format!("/proc/{id}")).exists();
    assert!(alive(sleeper) && alive(runtime));
    drop(b);
    let deadline = Instant::now() + Duration::from_secs(5);
    while alive(runtime) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!alive(runtime), "the runtime outlives its session");
}

#[test]
fn further_dependencies_join_the_library() {
    let mut b = Bench::new();
    b.ok("let kept = 5;");
    // A crate that the library contains, in the version that is on this machine.
    b.ok(":dep rand_pcg = \"0.9\"\nuse rand_pcg::Pcg64;");
    assert_eq!(
        b.ok("let generator: Pcg64 = rng(1); std::any::type_name_of_val(&generator).contains(\"rand_pcg\")"),
        "true"
    );
    assert_eq!(b.ok("kept + 1"), "6");
    assert_eq!(b.ok("randn(2, 3, &mut rng(0)).shape()"), "(2, 3)");
    let failure = b.fails(":dep no-such-crate-rebit = { path = \"/nowhere\" }");
    assert!(!failure.evalue.is_empty());
    assert_eq!(b.ok("kept"), "5");
}

#[test]
fn a_session_keeps_its_tools_when_a_younger_one_ends() {
    let mut older = Bench::new();
    drop(Bench::new());
    // evcxr's analyser looks there before anywhere else.
    let tools = std::env::var_os("CARGO_HOME").unwrap();
    assert!(std::path::Path::new(&tools).join("bin/cargo").exists());
    let folder = folder_of_crate("neighbour", "pub fn name() -> String { \"Ada\".into() }");
    let place = folder.path().display();
    older.ok(&format!(":dep neighbour = {{ path = \"{place}\" }}"));
    assert_eq!(older.ok("neighbour::name()"), "\"Ada\"");
    assert_eq!(older.ok("randn(2, 3, &mut rng(0)).shape()"), "(2, 3)");
}

#[test]
fn a_dependency_that_one_session_compiled_is_there_for_the_next() {
    let folder = folder_of_crate("kept-crate", "pub fn seven() -> i32 { 7 }");
    let dep = format!(":dep kept-crate = {{ path = {:?} }}", folder.path());
    let compiled = |b: &Bench| b.text(StreamName::Stderr).contains("Compiling kept-crate");
    let mut first = Bench::new();
    first.ok(&dep);
    assert!(compiled(&first), "{:?}", first.said);
    drop(first);
    let mut second = Bench::new();
    second.ok(&dep);
    assert!(!compiled(&second), "{:?}", second.said);
    assert_eq!(second.ok("kept_crate::seven()"), "7");
    assert_eq!(second.ok("randn(2, 3, &mut rng(0)).shape()"), "(2, 3)");
}

#[test]
fn values_of_the_library_are_shown_for_a_reader() {
    let mut b = Bench::new();
    let shown = b.ok("let a = randn(300, 200, &mut rng(0));\na");
    let lines: Vec<&str> = shown.lines().collect();
    assert!(
        lines[0].starts_with("Tensor (300, 200) f32 \u{b7} min -"),
        "{shown}"
    );
    assert_eq!(lines.len(), 8, "{shown}");
    let width = |line: &&str| line.chars().count();
    assert!(
        lines[1..].iter().all(|l| width(l) == width(&lines[1])),
        "{shown}"
    );
    // On a tape, with lengths known to the compiler, of whole numbers.
    assert!(
        b.ok("a.leaky_trace() * 2.0")
            .starts_with("Tensor (300, 200) f32")
    );
    assert!(b.ok("resnet20(10, rng(0))").contains("layer3.2.conv2"));
    let Reply::Ok { value: Some(value) } = b.run("a") else {
        panic!("no value");
    };
    assert!(value["text/html"].as_str().unwrap().contains("<table"));
    let image = "from_vec(linspace(0.0, 1.0, 3 * 8 * 8), (3usize, 8usize, 8usize)).unwrap()";
    let Reply::Ok { value: Some(value) } = b.run(image) else {
        panic!("no value");
    };
    assert!(value.contains_key("image/svg+xml"), "{:?}", value.keys());
}

#[test]
fn crates_of_the_librarys_interface_need_no_dep_line() {
    let mut b = Bench::new();
    b.ok("use dfdx::shapes::Rank2;\nuse rand::Rng as _;");
    b.ok("let t: dfdx::tensor::Tensor<Rank2<1, 2>, f32, Dev> = dev().tensor([[1.0, 2.0]]);");
    assert!(b.ok("t").ends_with("\n1  2"));
    assert_eq!(
        b.ok("rng(7).random::<u64>() == rng(7).random::<u64>()"),
        "true"
    );
    assert_eq!(
        b.ok("serde_json::json!({\"a\": 1}).to_string()"),
        "\"{\\\"a\\\":1}\""
    );
}

#[test]
fn the_analyser_completes_and_explains() {
    let b = Bench::new();
    drop(b);
    let prepared = workshop::prepare(&mut |_| {}).unwrap();
    let mut analyser = Analyser::start(&prepared).unwrap();
    let deadline = Instant::now() + Duration::from_secs(600);
    while !analyser.ready() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(analyser.ready());
    let preamble = "let _ = ();\n/// Doubles.\nfn twice(x: i32) -> i32 { 2 * x }\nlet mut seven: i32 = todo!();\n";
    let found = analyser.complete(preamble, "let y = twi", 11).unwrap();
    assert_eq!((found.start, found.end), (8, 11));
    assert!(
        found
            .items
            .iter()
            .any(|item| item.text.starts_with("twice")),
        "{found:?}"
    );
    let found = analyser.complete(preamble, "sev", 3).unwrap();
    assert!(
        found.items.iter().any(|item| item.text == "seven"),
        "{found:?}"
    );
    let found = analyser.complete("", "let a = rand", 12).unwrap();
    assert!(
        found
            .items
            .iter()
            .any(|item| item.text.starts_with("randn")),
        "{found:?}"
    );
    let help = analyser.inspect(preamble, "twice(3)", 2).unwrap().unwrap();
    assert!(help.text.contains("Doubles"), "{help:?}");
    assert!(!help.text.contains("ctx"), "{help:?}");
    assert_eq!(analyser.inspect("", "", 0).unwrap(), None);
    let mut texts = |preamble: &str, code: &str| -> Vec<String> {
        let found = analyser.complete(preamble, code, code.len()).unwrap();
        found.items.into_iter().map(|item| item.text).collect()
    };
    // What is defined in the same cell, what the library hides, and the crates of its interface.
    let field = texts("", "struct P { field: u8 }\nlet p = P { field: 1 };\np.fi");
    assert_eq!(field, ["field"]);
    let methods = texts("let mut net: Net = todo!();\n", "net.");
    assert!(
        methods.iter().any(|m| m.starts_with("predict")),
        "{methods:?}"
    );
    assert!(
        !methods
            .iter()
            .any(|m| m == "inner" || m.starts_with("lock")),
        "{methods:?}"
    );
    assert_eq!(texts("", "use dfdx::prel"), ["prelude"]);
    let help = analyser.inspect("", "relu(x)", 4).unwrap().unwrap();
    assert!(help.text.contains("pub fn relu"), "{help:?}");
}
