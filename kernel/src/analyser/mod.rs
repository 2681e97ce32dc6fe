//! Completion and help by rust-analyzer, in a process of its own.
//!
//! It knows the real standard library (several hundred megabytes), so it starts in the background, at a low
//! priority until it is ready, and it answers also while a cell runs.
//!
//! | file | what is in it |
//! |---|---|
//! | this one | the process as its user sees it |
//! | `serve` | the process: questions in, answers out |
//! | `workspace` | the sources of the library and its dependencies in rust-analyzer |
//! | `cell` | a cell in its session, as one source file |

mod cell;
mod serve;
mod workspace;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

pub use serve::roles;

use crate::depth;
use crate::error::{Error, Result};
use crate::language::assist::Assistant;
use crate::language::{Completions, Help};
use crate::workshop::{Prepared, SessionFolder, cargo};

/// First argument of our own binary that makes it an analyser, and what it says when it is ready.
const ANALYSER: &str = "__analyser";
/// Environment of that process: the machine's own platform.
const PLATFORM: &str = "REBIT_PLATFORM";
/// An answer takes a moment; one that does not come within this is not waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the process needs to begin.
#[derive(serde::Serialize, serde::Deserialize)]
struct Setup {
    /// Its folder, with the lock file.
    folder: PathBuf,
    /// The line that makes the library a dependency.
    library: String,
    /// Whether the sources of the standard library are installed; rust-analyzer must not install them.
    sources: bool,
}

#[derive(serde::Serialize, serde::Deserialize)]
enum Question {
    Complete,
    Inspect,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Request {
    number: u64,
    question: Question,
    preamble: String,
    code: String,
    cursor: usize,
}

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Answer {
    number: u64,
    completions: Completions,
    help: Option<Help>,
}

/// The process; it can be asked while a cell runs.
pub struct Analyser {
    child: Child,
    answers: Receiver<String>,
    ready: Arc<AtomicBool>,
    number: u64,
    _folder: SessionFolder,
}

impl Analyser {
    /// Starts the process; it becomes ready in the background.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(library: &Prepared) -> Result<Analyser> {
        let folder = SessionFolder::new(library)?;
        let exe = crate::executable()?;
        let tools = &library.tools;
        let setup = Setup {
            folder: folder.path.clone(),
            library: library.dependency(),
            sources: tools.has_sources(),
        };
        let mut command = Command::new(&exe);
        command
            .arg(ANALYSER)
            .arg(serde_json::to_string(&setup).expect("plain data"))
            // Behind rustup's proxies each of their answers takes longer.
            .env("CARGO", &tools.cargo)
            .env("RUSTC", &tools.rustc)
            .env(PLATFORM, tools.host())
            .env_remove("RUST_SRC_PATH")
            // What it leaves there goes with the folder.
            .env("TMPDIR", &folder.path)
            .current_dir(&folder.path)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        cargo::own_home(&mut command);
        let mut child = command.spawn().map_err(|e| Error::io(&exe, e))?;
        let (sender, answers) = channel();
        let ready = Arc::new(AtomicBool::new(false));
        let is_ready = ready.clone();
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(std::io::Result::ok) {
                if line == ANALYSER {
                    is_ready.store(true, Ordering::SeqCst);
                } else if sender.send(line).is_err() {
                    return;
                }
            }
            is_ready.store(false, Ordering::SeqCst);
        });
        Ok(Analyser {
            child,
            answers,
            ready,
            number: 0,
            _folder: folder,
        })
    }

    fn ask(
        &mut self,
        question: Question,
        preamble: &str,
        code: &str,
        cursor: usize,
    ) -> Result<Answer> {
        self.number += 1;
        let request = Request {
            number: self.number,
            question,
            preamble: preamble.to_string(),
            code: code.to_string(),
            cursor,
        };
        let gone = || Error::Session("the analyser has ended".to_string());
        let line = serde_json::to_string(&request).expect("plain data");
        let stdin = self.child.stdin.as_mut().ok_or_else(gone)?;
        writeln!(stdin, "{line}").map_err(|_| gone())?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.answers.recv_timeout(left).map_err(|e| match e {
                RecvTimeoutError::Disconnected => gone(),
                RecvTimeoutError::Timeout => {
                    Error::Session("the analyser took too long".to_string())
                }
            })?;
            // An answer to a question that was given up is left out.
            if let Ok(answer) = serde_json::from_str::<Answer>(&line)
                && answer.number == self.number
            {
                return Ok(answer);
            }
        }
    }
}

impl Assistant for Analyser {
    fn ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }

    fn complete(&mut self, preamble: &str, code: &str, cursor: usize) -> Result<Completions> {
        if depth::check(code).is_err() {
            return Ok(Completions::default());
        }
        self.ask(Question::Complete, preamble, code, cursor)
            .map(|answer| answer.completions)
    }

    fn inspect(&mut self, preamble: &str, code: &str, cursor: usize) -> Result<Option<Help>> {
        if depth::check(code).is_err() {
            return Ok(None);
        }
        self.ask(Question::Inspect, preamble, code, cursor)
            .map(|answer| answer.help)
    }
}

impl Drop for Analyser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
