//! Completion and help, from a second context in a process of its own.
//!
//! It knows the real standard library (several seconds and several hundred megabytes), so it is
//! started on the first request, and it answers also while a cell runs.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use evcxr::CommandContext;

use crate::error::{Error, Result};
use crate::workshop::{Prepared, SessionFolder, build, shim};

/// One way to complete the text before the cursor.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Completion {
    /// What to insert between `start` and `end`.
    pub text: String,
    /// What to show in a list.
    pub label: String,
    /// Jupyter's kind: `function`, `module`, `keyword`, `instance`, `magic`, ...
    pub kind: String,
}

/// All completions at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Completions {
    /// First byte of the cell that is replaced.
    pub start: usize,
    /// Byte after the last one that is replaced.
    pub end: usize,
    /// The candidates.
    pub items: Vec<Completion>,
}

/// Help for one place in a cell.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Help {
    /// Signature and documentation as plain text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
}

/// First argument of our own binary that makes it an analyser.
pub const ANALYSER: &str = "__analyser";
/// An answer takes a moment; one that does not come within this is not waited for.
const PATIENCE: Duration = Duration::from_secs(20);

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

/// The second context; it can be asked while a cell runs.
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
        let path = std::env::var_os("PATH").unwrap_or_default();
        let bin = std::iter::once(folder.path.join("bin"));
        let path = std::env::join_paths(bin.chain(std::env::split_paths(&path)))
            .map_err(|e| Error::Session(format!("PATH: {e}")))?;
        let mut command = Command::new(&exe);
        command
            .arg(ANALYSER)
            .arg(library.dependency())
            .env("PATH", path)
            .env(shim::SESSION, &folder.path)
            .env("EVCXR_TMPDIR", &folder.path)
            .env("EVCXR_CONFIG_DIR", &folder.path)
            // What it leaves there goes with the folder.
            .env("TMPDIR", &folder.path)
            .env("LD_LIBRARY_PATH", library.search_path(&folder.path)?)
            .env_remove("RUST_SRC_PATH")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        build::own_home(&mut command);
        if !library.tools.has_sources() {
            // Otherwise the analyser would have rustup install them.
            command.env("RUST_SRC_PATH", library.master.join("skeleton"));
        }
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

    /// Whether it can answer at once.
    pub fn ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }

    /// Completions at byte `cursor` of `code`, in a session described by `preamble`
    /// ([`Session::preamble`](super::Session::preamble)).
    ///
    /// # Errors
    /// When the process has ended or takes too long.
    pub fn complete(&mut self, preamble: &str, code: &str, cursor: usize) -> Result<Completions> {
        if crate::depth::check(code).is_err() {
            return Ok(Completions::default());
        }
        self.ask(Question::Complete, preamble, code, cursor)
            .map(|answer| answer.completions)
    }

    /// Help for the name at byte `cursor` of `code`; `None` when there is none.
    ///
    /// # Errors
    /// When the process has ended or takes too long.
    pub fn inspect(&mut self, preamble: &str, code: &str, cursor: usize) -> Result<Option<Help>> {
        if crate::depth::check(code).is_err() {
            return Ok(None);
        }
        self.ask(Question::Inspect, preamble, code, cursor)
            .map(|answer| answer.help)
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

impl Drop for Analyser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Plays the analyser when the first argument says so; returns otherwise.
pub fn roles() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(ANALYSER) {
        crate::orphans::end_group_with_parent();
        let dependency = arguments.next().unwrap_or_default();
        std::process::exit(match serve(&dependency) {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("analyser: {error}");
                1
            }
        });
    }
}

fn serve(dependency: &str) -> Result<(), evcxr::Error> {
    let mut runtime = Command::new(crate::executable().map_err(|e| e.to_string())?);
    runtime.arg(crate::supervisor::PLAIN_RUNTIME);
    let (context, _outputs) = evcxr::EvalContext::with_subprocess_command(runtime)?;
    let mut context = CommandContext::with_eval_context(context);
    context.execute(&super::worker::library_code(dependency))?;
    // The first answer loads all sources: better now than when somebody waits.
    let _ = context.completions("randn", 5);
    println!("{ANALYSER}");
    for line in std::io::stdin().lines() {
        let Ok(request) = serde_json::from_str::<Request>(&line?) else {
            continue;
        };
        let mut answer = Answer {
            number: request.number,
            ..Answer::default()
        };
        let asked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match request.question {
                Question::Complete => answer.completions = complete(&mut context, &request),
                Question::Inspect => answer.help = inspect(&mut context, &request),
            }));
        if asked.is_err() {
            answer = Answer {
                number: request.number,
                ..Answer::default()
            };
        }
        println!("{}", serde_json::to_string(&answer).expect("plain data"));
    }
    Ok(())
}

fn complete(context: &mut CommandContext, request: &Request) -> Completions {
    let before = request.preamble.len();
    let source = format!("{}{}", request.preamble, request.code);
    let cursor = floor(&source, before + request.cursor);
    let Ok(found) = context.completions(&source, cursor) else {
        return Completions::default();
    };
    let items = found.completions.into_iter().map(|item| Completion {
        text: item.code,
        label: item.label,
        kind: item.kind.to_string(),
    });
    Completions {
        start: found.start_offset.saturating_sub(before),
        end: found.end_offset.saturating_sub(before),
        items: items.collect(),
    }
}

fn inspect(context: &mut CommandContext, request: &Request) -> Option<Help> {
    // Commands are no Rust; evcxr would read them as such here.
    let preamble: String = request
        .preamble
        .split_inclusive('\n')
        .filter(|line| !line.starts_with(':'))
        .collect();
    let end = name_end(&request.code, request.cursor);
    let source = format!("{preamble}{}", request.code);
    let (text, html) = context.hover_at(&source, preamble.len() + end).ok()?;
    (text != "No documentation found").then_some(Help { text, html })
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|&i| text.is_char_boundary(i))
        .unwrap_or(0)
}

/// Where the name around or before the cursor ends.
fn name_end(code: &str, cursor: usize) -> usize {
    let cursor = floor(code, cursor);
    let rest = &code[cursor..];
    let length = rest
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    cursor + length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_anywhere_in_a_name_finds_its_end() {
        let code = "let é = foo_bar(1);";
        let start = code.find("foo").unwrap();
        for cursor in start..=start + 7 {
            assert_eq!(name_end(code, cursor), start + 7);
        }
        assert_eq!(name_end(code, 999), code.len());
        assert_eq!(
            floor(code, code.find('é').unwrap() + 1),
            code.find('é').unwrap()
        );
    }
}
