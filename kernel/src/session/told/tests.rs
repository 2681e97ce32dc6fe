use super::*;
use crate::language::index;

/// What is told of a cell behind others: `name: type`, and `-name` for what it takes away.
fn told_behind(earlier: &[&str], variables: &[(&str, &str)], code: &str) -> String {
    let mut history = History::default();
    for (number, cell) in earlier.iter().enumerate() {
        history.add(number + 1, &Cell::new(cell));
    }
    let variables = variables.iter();
    let variables: Vec<(String, String)> = variables
        .map(|(name, of)| (name.to_string(), of.to_string()))
        .collect();
    let before = Before {
        history: &history,
        variables: &variables,
        index: index::library(),
    };
    let Some(answers) = told(&Cell::new(code), &before) else {
        return "asks".to_string();
    };
    let named = answers.named.iter().map(|(name, of)| {
        let moved = if answers.moves(name) { "-" } else { "" };
        format!("{moved}{name}: {of}")
    });
    named.collect::<Vec<_>>().join("; ")
}

#[track_caller]
fn follow(earlier: &[&str], variables: &[(&str, &str)], table: &[(&str, &str)]) {
    for (code, wanted) in table {
        assert_eq!(told_behind(earlier, variables, code), *wanted, "{code}");
    }
}

const PUPIL: &str = "use std::path::PathBuf;\n#[derive(Clone)] struct Pupil { net: Net, seed: u64 }\n\
    impl Pupil { fn steps(&self) -> usize { 1 } fn with(self, seed: u64) -> Self { self } \
    fn find(seed: u64) -> Result<Option<Self>> { todo!() } }\n\
    fn pupil(seed: u64) -> Result<(Pupil, Groups)> { todo!() }\n\
    fn names() -> Vec<String> { todo!() }\nconst SIDE: usize = 12;\n\
    #[derive(Clone, Copy)] struct Plain(u8);\nenum Side { Left, Right(u8), Both { a: u8 } }\n\
    fn of<T>(x: T) -> T { x } fn how(x: impl Fn()) -> f32 { 0.0 } fn text<'a>(x: &'a str) -> &'a str { x }";

#[test]
fn signatures_tell_types() {
    let variables = [
        ("net", "rebit::nn::Net"),
        ("pairs", "std::vec::Vec<(usize, f32)>"),
        ("texts", "std::vec::Vec<&'static str>"),
        ("file", "std::path::PathBuf"),
        ("half", "f32"),
    ];
    follow(
        &[PUPIL],
        &variables,
        &[
            // Functions of the library, of its modules and of the user.
            ("let net = resnet20(&config, rng(1))?;", "asks"),
            ("let net = pretrained_resnet20()?;", "net: rebit::nn::Net"),
            (
                "let (a, mut b) = pupil(1)?;",
                "a: Pupil; b: rebit::train::Groups",
            ),
            ("let x = how(|| ());", "x: f32"),
            (
                "let chart = plot::lines(\"a\").x(\"step\");",
                "chart: rebit::plot::Lines",
            ),
            ("let n = names().len();", "n: usize"),
            // Associated functions and methods.
            (
                "let plain = FloatImages::new(\"noise\", &noise, wanted.clone())?;",
                "plain: rebit::data::FloatImages",
            ),
            (
                "let sgd = Groups::new(Sgd::new(0.05).momentum(0.9)).over(&net)?;",
                "sgd: rebit::train::Groups",
            ),
            ("let b = Pupil::find(1)?.unwrap().with(2);", "b: Pupil"),
            ("let n = net.parameter_count();", "n: usize"),
            ("let c = net.clone();", "c: rebit::nn::Net"),
            ("let c = pairs.clone();", "c: std::vec::Vec<(usize, f32)>"),
            ("let c = texts.clone();", "c: std::vec::Vec<&'static str>"),
            ("let f = file.join(\"a\");", "f: std::path::PathBuf"),
            (
                "let f: PathBuf = g(); let s = \"a\"; h(&f.join(s));",
                "f: PathBuf; s: &'static str",
            ),
            ("let [a, b] = [1u8, 2u8];", "a: u8; b: u8"),
            ("let f = PathBuf::from(\"a\");", "f: std::path::PathBuf"),
            (
                "let b = NetBuilder::new(1, 2, 3, r); let i = b.input();",
                "b: rebit::nn::NetBuilder; i: usize",
            ),
            (
                "let c = TrainConfig::default();",
                "c: rebit::train::TrainConfig",
            ),
            (
                "let t = std::time::Instant::now();",
                "t: std::time::Instant",
            ),
            ("let s = String::new();", "s: std::string::String"),
            // Literals with fields, variants, units.
            (
                "let c = TrainConfig { epochs: 2, ..Default::default() };",
                "c: rebit::train::TrainConfig",
            ),
            ("let p = Pupil { net, seed: 1 };", "p: Pupil"),
            (
                "let p = Plain(1); let q = p; f(q); f(p);",
                "p: Plain; q: Plain",
            ),
            (
                "let s = Side::Left; let t = Side::Right(1);",
                "s: Side; t: Side",
            ),
            ("let s = Side::Both { a: 1 };", "s: Side"),
            ("let m = Mode::Eval;", "m: rebit::nn::Mode"),
            // Fields.
            (
                "let (a, b) = pupil(1)?; let s = a.seed + 1;",
                "a: Pupil; b: rebit::train::Groups; s: u64",
            ),
            // Plain values.
            (
                "let s = format!(\"{half}\"); let n = SIDE;",
                "s: std::string::String; n: usize",
            ),
            (
                "let t = \"a\"; let o = Some(half);",
                "t: &'static str; o: std::option::Option<f32>",
            ),
            (
                "let o = f() == g(); let x = 2.0 * half - 1.0;",
                "o: bool; x: f32",
            ),
            (
                "let v = vec![0f32; 3]; let a = [\"a\", \"b\"];",
                "v: std::vec::Vec<f32>; a: [&'static str; 2]",
            ),
            (
                "let n = i as f32; let t = (true, 'a');",
                "n: f32; t: (bool, char)",
            ),
            // A number that nothing decides.
            (
                "let n = 5; let s = format!(\"a\"); println!(\"{}\", n);",
                "n: i32; s: std::string::String",
            ),
        ],
    );
}

#[test]
fn what_is_not_sure_is_asked() {
    let variables = [("closure", "std::boxed::Box<dyn Fn() -> u8>")];
    for code in [
        "let a = of(1u8);",
        "let a = text(\"a\");",
        "let a = closure();",
        "let pupil = |x| x; let a = pupil(1);",
        "let a = Vec::new();",
        "let a = names().iter();",
        "let Some(a) = Some(1u8) else { return };",
        "let [a, b] = [f(), 2];",
        "let [a, ..] = [1u8, 2u8];",
        "let ref a = names();",
        "let a; a = names();",
        "let a = if true { names() } else { names() };",
        "let a = &names();",
        "let a = unknown();",
        "let n = 5; let m = f(n);",
        "let n = 5; let s = names(); f(n);",
        "let a: Vec<_> = names();",
        ":dep x = \"1\"\nlet a = names();",
    ] {
        assert_eq!(told_behind(&[PUPIL], &variables, code), "asks", "{code}");
    }
}

#[test]
fn names_mean_what_the_user_says() {
    let net = ("let a = pretrained_resnet20()?;", "a: rebit::nn::Net");
    follow(&["struct Other; fn of_none() {}"], &[], &[net]);
    let told = |earlier: &str, code: &str| told_behind(&[earlier], &[], code);
    for earlier in [
        "fn pretrained_resnet20() -> Result<impl Fn()> { todo!() }",
        "use other::pretrained_resnet20;",
        "use other::*;",
        "make! { fn pretrained_resnet20() {} }",
        "macro_rules! make { () => { fn pretrained_resnet20() -> u8 { 1 } } }",
        "struct pretrained_resnet20<T>(T);",
    ] {
        assert_eq!(told(earlier, net.0), "asks", "{earlier}");
    }
    // The user's own type has the name, here and in signatures of the user's.
    let own = "struct Net; fn mine() -> Net { Net }";
    assert_eq!(told(own, "let a = mine();"), "a: Net");
    assert_eq!(told(own, net.0), net.1);
    assert_eq!(
        told("type Net = u8; fn mine() -> Net { 1 }", "let a = mine();"),
        "a: u8"
    );
    let circle = "type A = B; type B = A; fn mine() -> A { 1 }";
    assert_eq!(told(circle, "let a = mine();"), "asks");
    assert_eq!(
        told("fn mine() -> Net { todo!() }", "let a = mine();"),
        "a: rebit::nn::Net"
    );
    // What an import of the library brings.
    let import = "use rebit::papers::intraq::{self, IntraqConfig as How};";
    assert_eq!(
        told(import, "let a = How::small();"),
        "a: rebit::papers::intraq::IntraqConfig"
    );
    // The last definition counts, and that of the cell itself before all.
    let twice = ["fn f() -> u8 { 1 }", "fn f() -> u16 { 1 }"];
    assert_eq!(told_behind(&twice, &[], "let a = f();"), "a: u16");
    assert_eq!(
        told_behind(&twice, &[], "let a = f(); fn f() -> u32 { 1 }"),
        "a: u32"
    );
    assert_eq!(
        told("macro_rules! format { () => { 1 } }", "let a = format!();"),
        "asks"
    );
}

#[test]
fn what_the_cell_takes_is_not_kept() {
    let (pupil, table) = ("a: Pupil; b: rebit::train::Groups", "t: rebit::show::Table");
    let begin = |rest: &str| format!("let (mut a, b) = pupil(1)?; {rest}");
    for (rest, wanted) in [
        ("a.steps() + a.seed", pupil),
        ("f(&a, &mut a, a.seed, &a.net); a", pupil),
        ("println!(\"{a:?} {}\", a.net);", pupil),
        (
            "for _ in 0..3 { a.steps(); f(&a); } let c = || f(&a);",
            "asks",
        ),
        (
            "for _ in 0..3 { a.steps(); f(&a); if a == a { g(a.net.parameter_count()) } }",
            pupil,
        ),
        ("a = a.with(2); a = a.with(3).with(4);", pupil),
        ("for _ in 0..3 { a = a.with(2); }", pupil),
        ("for _ in 0..3 { a = g(a, x)?; }", pupil),
        ("a.seed += 1; a.net = x;", pupil),
        ("f(a);", "-a: Pupil; b: rebit::train::Groups"),
        ("a.with(2)", "-a: Pupil; b: rebit::train::Groups"),
        ("f(a.net);", "-a: Pupil; b: rebit::train::Groups"),
        ("f(a); a = x;", pupil),
        ("f(a.net); a.net = x;", "asks"),
        ("_ = a; let _ = a;", pupil),
        ("a;", "-a: Pupil; b: rebit::train::Groups"),
        ("for _ in 0..3 { f(a); }", "asks"),
        ("if x { f(a); }", "asks"),
        ("match a { x => 1 };", "asks"),
        ("a.unknown();", "asks"),
        ("f(move || a.steps());", "asks"),
        ("own!(a);", "asks"),
    ] {
        assert_eq!(told_behind(&[PUPIL], &[], &begin(rest)), wanted, "{rest}");
    }
    for (code, wanted) in [
        (
            "let mut t = Table::new(h); for x in y { t.push(x); }",
            table,
        ),
        (
            "let mut t = Table::new(h); for x in y { t = t.row(x); } t",
            table,
        ),
        (
            "let t = Table::new(h); t.caption(\"a\")",
            "-t: rebit::show::Table",
        ),
        (
            "let t: Table = f(); let s = \"a\"; t.caption(s)",
            "-t: Table; s: &'static str",
        ),
        (
            "let v = names(); for x in &v { v.len(); }",
            "v: std::vec::Vec<std::string::String>",
        ),
        (
            "let v = names(); for x in v {}",
            "-v: std::vec::Vec<std::string::String>",
        ),
    ] {
        assert_eq!(told_behind(&[PUPIL], &[], code), wanted, "{code}");
    }
}
