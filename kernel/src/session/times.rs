//! Where the milliseconds of a cell go: with `REBIT_TIMES=FILE`, each cell adds a line of JSON to FILE.
//!
//! ```text
//! {"cell": "1 + 1", "total": 150.2,
//!  "steps": {"read": 0.1, "compile": 120.0, "run": 2.1, "commit": 3.9, "reply": 0.3},
//!  "compilers": [{"what": "build", "total": 95.0, "front": 45.0, "code": 10.0, "link": 25.0}]}
//! ```
//!
//! `compile` lasts from the cell's source to the call into it; what its compilers do not account for is
//! evcxr and its analyser. `commit` is evcxr's way back from the cell. rustc is asked for its own account,
//! which costs a little, so compare totals without the variable.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::workshop::shim::{COMPILERS, CompilerRun, TIMES};

/// The stopwatch of one cell; it does nothing when nobody asks.
pub struct Times {
    running: Option<Running>,
}

struct Running {
    file: PathBuf,
    compilers: PathBuf,
    begin: Instant,
    last: Instant,
    steps: BTreeMap<&'static str, f64>,
}

#[derive(serde::Serialize)]
struct Line<'a> {
    cell: &'a str,
    total: f64,
    steps: &'a BTreeMap<&'static str, f64>,
    compilers: Vec<CompilerRun>,
}

impl Times {
    /// Begins with a cell of the session in `folder`.
    pub fn begin(folder: &Path) -> Times {
        let running = std::env::var_os(TIMES).map(|file| {
            let compilers = folder.join(COMPILERS);
            // What another front end of this session has left.
            let _ = fs::remove_file(&compilers);
            let now = Instant::now();
            Running {
                file: file.into(),
                compilers,
                begin: now,
                last: now,
                steps: BTreeMap::new(),
            }
        });
        Times { running }
    }

    /// The time since the last mark was that of `step`.
    pub fn mark(&mut self, step: &'static str) {
        if let Some(running) = &mut self.running {
            let now = Instant::now();
            let spent = now.duration_since(running.last).as_secs_f64() * 1e3;
            *running.steps.entry(step).or_default() += spent;
            running.last = now;
        }
    }

    /// Writes the line of `cell`.
    pub fn write(self, cell: &str) {
        let Some(running) = self.running else { return };
        let compilers = fs::read_to_string(&running.compilers).unwrap_or_default();
        let line = Line {
            cell,
            total: running.begin.elapsed().as_secs_f64() * 1e3,
            steps: &running.steps,
            compilers: compilers
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect(),
        };
        let text = serde_json::to_string(&line).expect("plain data");
        let written = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&running.file)
            .and_then(|mut file| writeln!(file, "{text}"));
        if let Err(error) = written {
            log::warn!("{}: {error}", running.file.display());
        }
    }
}
