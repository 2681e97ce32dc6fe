//! Crates of `:dep` lines on top of a running session: they compile what is new, and lose nothing.

mod common;

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use common::Bench;
use common::Then::{Fails, Shows};
use rebit_kernel::output::StreamName;

/// Lines of one cell each, of crates that wish for features of crates that the library stands on, and what a cell then
/// does with each. Cells of several lines compile side by side what is only slow one after the other.
const CELLS: &[&[(&str, &str, &str)]] = &[
    &[(
        "itertools = \"0.14\"",
        "use itertools::Itertools; let pairs = (1..4).tuple_windows::<(i32, i32)>().collect_vec(); pairs",
        "[(1, 2), (2, 3)]",
    )],
    &[
        (
            "tokio = { version = \"1\", features = [\"full\"] }",
            "let (send, mut receive) = tokio::sync::mpsc::channel(1); send.send(7).await?; receive.recv().await",
            "Some(7)",
        ),
        (
            "clap = { version = \"4\", features = [\"derive\"] }",
            "use clap::Parser; #[derive(Parser, Debug)] struct Args { #[arg(short)] n: u8 }\n\
             Args::try_parse_from([\"a\", \"-n\", \"3\"])?.n",
            "3",
        ),
        // Two more of its formats: the default ones bring along a video encoder, which takes minutes.
        (
            "image = { version = \"0.25\", default-features = false, features = [\"png\", \"gif\", \"webp\"] }",
            "let picture = image::RgbImage::new(2, 3); picture.dimensions()",
            "(2, 3)",
        ),
        (
            "rand08 = { package = \"rand\", version = \"0.8\" }",
            "use rand08::{Rng as _, SeedableRng as _}; let mut old = rand08::rngs::StdRng::seed_from_u64(1); \
             (0..10).contains(&old.gen_range(0..10))",
            "true",
        ),
    ],
    &[
        (
            "serde = { version = \"1\", features = [\"derive\", \"rc\"] }",
            "#[derive(serde::Serialize)] struct Point { x: i32 }",
            "",
        ),
        (
            "serde_json = { version = \"1\", features = [\"preserve_order\", \"raw_value\"] }",
            "serde_json::to_string(&Point { x: 1 })?",
            "\"{\\\"x\\\":1}\"",
        ),
        (
            "num-complex = { version = \"0.4\", features = [\"serde\"] }",
            "num_complex::Complex::new(3, 4).norm_sqr()",
            "25",
        ),
        (
            "ndarray = { version = \"0.16\", features = [\"rayon\"] }",
            "let m = ndarray::arr2(&[[1, 2], [3, 4]]); m.sum()",
            "10",
        ),
        (
            "uuid = { version = \"1\", features = [\"v4\", \"serde\"] }",
            "uuid::Uuid::new_v4().get_version_num()",
            "4",
        ),
        // With C inside.
        (
            "lz4 = \"1\"",
            "lz4::block::compress(b\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\", None, true)?.len() < 42",
            "true",
        ),
    ],
];

/// Crates that no `:dep` line may compile again.
const LIBRARY: [&str; 6] = [
    "rebit",
    "dfdx",
    "gemm",
    "rayon-core",
    "plotters",
    "rebit-wire",
];

fn librebit() -> PathBuf {
    let prepared = rebit_kernel::workshop::prepare(&mut |_| {}).unwrap();
    let artefacts = format!(
        "base/target/{}/debug/deps/librebit.so",
        prepared.tools.host()
    );
    prepared.master.join(artefacts)
}

#[test]
fn any_crate_joins_a_running_session_and_nothing_is_lost() {
    let mut b = Bench::new();
    let file = librebit();
    let library = || {
        std::fs::metadata(&file)
            .map(|m| (m.ino(), m.len(), m.mtime()))
            .unwrap()
    };
    let before = library();
    b.ok("#[derive(Debug)] struct Own { list: Vec<i32> }");
    b.ok("let own = Own { list: vec![1, 2] }; let tensor = randn(2, 3, &mut rng(0)); let text = String::from(\"a\");");
    let child = b.session.child_id();
    for cell in CELLS {
        let lines: Vec<String> = cell
            .iter()
            .map(|(line, ..)| format!(":dep {line}"))
            .collect();
        let lines = lines.join("\n");
        b.ok(&lines);
        let compiled = b.text(StreamName::Stderr) + &b.text(StreamName::Stdout);
        for name in LIBRARY {
            assert!(
                !compiled.contains(&format!("Compiling {name} v")),
                "{lines}:\n{compiled}"
            );
        }
        for (line, code, value) in *cell {
            assert_eq!(b.ok(code), *value, "{line}");
            assert_eq!(
                b.ok("(&own, tensor.shape(), &text)"),
                "(Own { list: [1, 2] }, (2, 3), \"a\")",
                "{line}"
            );
        }
    }
    assert_eq!(
        b.session.child_id(),
        child,
        "the process that runs the cells is the same"
    );
    assert_eq!(library(), before);
    // Crates of a line share their state between cells.
    b.follow(&[
        (
            ":dep log = { version = \"0.4\", features = [\"std\"] }",
            Shows(""),
        ),
        ("log::set_max_level(log::LevelFilter::Debug);", Shows("")),
        ("log::max_level()", Shows("Debug")),
        (
            ":dep no-such-crate-rebit = \"1\"",
            Fails(&["no-such-crate-rebit"]),
        ),
        (":dep uuid = \"99\"", Fails(&["uuid"])),
        ("own.list.len()", Shows("2")),
        // A view that is made a value of its own, shown and kept.
        (
            "use ndarray::s;\nm.slice(s![.., 0]).to_owned()",
            Shows("[1, 3], shape=[2], strides=[1], layout=CFcf (0xf), const ndim=1"),
        ),
        (
            // What the first is hangs on the type of the 0.
            "let first = m.slice(s![.., 0]).to_owned(); let row = m.row(1).to_owned();",
            Shows(""),
        ),
        ("(first.sum(), row.sum())", Shows("(4, 7)")),
        (
            "let part = m.slice(s![.., 0]);",
            Fails(&["variable `part`", "cannot be kept", "cell:1:5"]),
        ),
    ]);
}

#[test]
fn a_build_that_is_interrupted_leaves_a_usable_session() {
    let mut b = Bench::new();
    b.ok("let kept = vec![1];");
    for seconds in [1, 3] {
        let handle = b.session.interrupt_handle();
        let late = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_secs(seconds));
            handle.interrupt();
        });
        // A crate that is not there yet, large enough to take longer.
        let failure = b.fails(":dep syn = { version = \"1\", features = [\"full\", \"extra-traits\", \"visit-mut\", \"fold\"] }\nsyn::parse_str::<syn::Expr>(\"1\").is_ok()");
        late.join().unwrap();
        assert_eq!(failure.ename, "interrupted", "{failure:?}");
        assert_eq!(b.ok("kept.len() + 1"), "2");
        assert_eq!(b.ok("randn(2, 3, &mut rng(0)).shape()"), "(2, 3)");
    }
}

#[test]
fn an_interrupt_ends_the_compilers_of_its_own_session() {
    // Seconds for rustc alone, and for what stands between it and evcxr.
    let slow = "{ const SUM: u64 = { let (mut i, mut sum) = (0, 0); while i < 1_500_000u64 { sum += i; i += 1; } sum }; SUM }";
    let mut here = Bench::new();
    let there = std::thread::spawn(|| {
        let mut there = Bench::new();
        there.ok("let kept = 1;");
        (0..3).map(|_| there.ok(slow)).collect::<Vec<_>>()
    });
    let mut interrupted = 0;
    while !there.is_finished() {
        let handle = here.session.interrupt_handle();
        let late = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(500));
            handle.interrupt();
        });
        let failure = here.fails(slow);
        late.join().unwrap();
        assert_eq!(failure.ename, "interrupted", "{failure:?}");
        interrupted += 1;
    }
    assert!(interrupted > 1);
    assert_eq!(there.join().unwrap(), ["1124999250000"; 3]);
}

#[test]
fn a_damaged_crate_of_another_session_is_compiled_again() {
    let folder = common::folder_of_crate("damaged-crate", "pub fn seven() -> i32 { 7 }");
    let dep = format!(":dep damaged-crate = {{ path = {:?} }}", folder.path());
    let compiled = |b: &Bench| {
        b.text(StreamName::Stderr)
            .contains("Compiling damaged-crate")
    };
    let mut first = Bench::new();
    first.ok(&dep);
    assert!(compiled(&first), "{:?}", first.said);
    drop(first);
    let prepared = rebit_kernel::workshop::prepare(&mut |_| {}).unwrap();
    let artefacts = format!("pool/target/{}/debug/deps", prepared.tools.host());
    let mut damaged = 0;
    for entry in std::fs::read_dir(prepared.master.join(artefacts)).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("libdamaged_crate-") {
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
            std::fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0);
    let mut second = Bench::new();
    second.ok(&dep);
    assert!(compiled(&second), "{:?}", second.said);
    assert_eq!(second.ok("damaged_crate::seven()"), "7");
    drop(second);
    let mut third = Bench::new();
    third.ok(&dep);
    assert!(!compiled(&third), "{:?}", third.said);
    assert_eq!(third.ok("damaged_crate::seven()"), "7");
}

#[test]
fn types_of_the_library_are_those_of_its_crates() {
    let mut b = Bench::new();
    b.follow(&[
        (":dep rand = \"0.9\"\nuse rand::Rng;", Shows("")),
        ("rng(1).random_range(0..1)", Shows("0")),
        (
            ":dep rand_pcg = \"0.9\"\nlet mut generator: rand_pcg::Pcg64 = rng(1);",
            Shows(""),
        ),
        ("generator.random_range(0..1)", Shows("0")),
    ]);
}
