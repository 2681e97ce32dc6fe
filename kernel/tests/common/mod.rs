//! What the tests of sessions share.

// Each test program uses a part of it.
#![allow(dead_code)]

use rebit_kernel::output::{Failure, Output, Reply, StreamName};
use rebit_kernel::session::{Options, Session};
use rebit_kernel::workshop;

/// A session that remembers what the last cell said.
pub struct Bench {
    pub session: Session,
    pub said: Vec<Output>,
}

impl Bench {
    pub fn new() -> Bench {
        // SAFETY: every test sets the same value before anything else of the kernel runs.
        unsafe { std::env::set_var("REBIT_EXE", env!("CARGO_BIN_EXE_rebit")) };
        let prepared = workshop::prepare(&mut |_| {}).unwrap();
        Bench {
            session: Session::start(&prepared, Options::default()).unwrap(),
            said: Vec::new(),
        }
    }

    /// Begins anew in a folder.
    pub fn work_in(&mut self, folder: &std::path::Path) {
        let prepared = workshop::prepare(&mut |_| {}).unwrap();
        let options = Options {
            workdir: Some(folder.to_path_buf()),
            ..Options::default()
        };
        self.session = Session::start(&prepared, options).unwrap();
    }

    pub fn run(&mut self, code: &str) -> Reply {
        self.said.clear();
        let said = &mut self.said;
        self.session.execute(code, &mut |output| said.push(output))
    }

    #[track_caller]
    pub fn ok(&mut self, code: &str) -> String {
        match self.run(code) {
            Reply::Ok { value } => value
                .and_then(|data| data.get("text/plain").cloned())
                .and_then(|text| text.as_str().map(str::to_string))
                .unwrap_or_default(),
            Reply::Error(failure) => panic!("{code}\n{}", failure.traceback.join("\n")),
        }
    }

    #[track_caller]
    pub fn fails(&mut self, code: &str) -> Failure {
        match self.run(code) {
            Reply::Ok { value } => panic!("{code} gave {value:?}"),
            Reply::Error(failure) => failure,
        }
    }

    pub fn text(&self, wanted: StreamName) -> String {
        self.said
            .iter()
            .filter_map(|output| match output {
                Output::Stream { name, text } if *name == wanted => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }
}

/// A failure's report without colours.
pub fn plain(failure: &Failure) -> String {
    let text = failure.traceback.join("\n");
    let mut bare = String::new();
    let mut escape = false;
    for c in text.chars() {
        match c {
            '\x1b' => escape = true,
            'm' if escape => escape = false,
            c if !escape => bare.push(c),
            _ => {}
        }
    }
    bare
}

/// A crate for a `:dep` line with a path.
pub fn folder_of_crate(name: &str, code: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "Cargo.toml",
        &format!("[package]\nname = {name:?}\nversion = \"1.0.0\"\nedition = \"2024\"\n"),
    );
    write("src/lib.rs", code);
    folder
}

/// What a cell of a table is to do.
#[derive(Clone, Copy, Debug)]
pub enum Then {
    /// It shows this value; none for an empty text.
    Shows(&'static str),
    /// It prints this, among other things, on standard output or standard error.
    Prints(&'static str),
    /// It fails, and its report holds all of these words.
    Fails(&'static [&'static str]),
}

/// Words that are ours or evcxr's, and in no message to a reader.
pub const OURS: [&str; 11] = [
    "evcxr",
    "Evcxr",
    "ByDebug",
    "VariableStore",
    "src/lib.rs",
    "rebit_value",
    "rebit_made_",
    "rebit_static_",
    "REBIT_BLOCK_",
    "run_user_code_",
    "libctx",
];

impl Bench {
    /// Runs the cells of a table, one after the other.
    #[track_caller]
    pub fn follow(&mut self, table: &[(&str, Then)]) {
        for (code, then) in table {
            let reply = self.run(code);
            let said = |b: &Bench| b.text(StreamName::Stdout) + &b.text(StreamName::Stderr);
            match (then, &reply) {
                (Then::Shows(wanted), Reply::Ok { value }) => {
                    let shown = value.as_ref().and_then(|data| data.get("text/plain"));
                    let shown = shown.and_then(|text| text.as_str()).unwrap_or("");
                    assert_eq!(shown, *wanted, "{code}");
                }
                (Then::Prints(wanted), Reply::Ok { .. }) => {
                    assert!(said(self).contains(wanted), "{code}: {}", said(self));
                }
                (Then::Fails(words), Reply::Error(failure)) => {
                    let report = plain(failure);
                    for word in *words {
                        assert!(report.contains(word), "{code}: no {word:?} in\n{report}");
                    }
                    for word in OURS {
                        assert!(!report.contains(word), "{code}: {word:?} in\n{report}");
                    }
                }
                (_, Reply::Ok { value }) => panic!("{code} is {value:?}, not {then:?}"),
                (_, Reply::Error(failure)) => {
                    panic!("{code} is not {then:?} but\n{}", plain(failure))
                }
            }
        }
    }
}
