//! A running session: the only room that names `evcxr`.
//!
//! A [`Session`] compiles cells, runs them in a child process that stands behind a supervisor, and
//! hands over everything they say while they run. It is used by Jupyter, the REPL and `rebit run`
//! alike.

pub mod analyser;
mod child;
mod errors;
mod processes;
mod rewrite;
mod stream;
mod types;
mod worker;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use child::{Event, Phase, Shared};
use rewrite::Cell;
use stream::Translator;
use worker::{Ended, Job, Outcome, Setup};

use crate::error::{Error, Result};
use crate::output::{Failure, Output, Reply};
use crate::supervisor::{self, command, frame::Frame};
use crate::workshop::{self, Prepared, SessionFolder, build, shim};

/// How a session is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Environment of the running cells, on top of ours (`REBIT_BUDGET` for instance).
    pub env: Vec<(String, String)>,
    /// Working folder of the running cells; ours when absent.
    pub workdir: Option<PathBuf>,
}

/// What a cell asks its reader for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRequest {
    /// Shown before the input.
    pub prompt: String,
    /// Whether the input must not be echoed.
    pub password: bool,
}

/// Answers [`InputRequest`]s; called by [`Session::execute_with_input`] on its caller's thread.
pub type Reader<'a> = &'a dyn Fn(InputRequest) -> String;

/// A running session.
pub struct Session {
    // The worker ends with its channel, and with it the child: before the folder goes.
    jobs: Option<Sender<Job>>,
    shared: Arc<Shared>,
    prepared: Prepared,
    options: Options,
    variables: Vec<(String, String)>,
    items: Vec<String>,
    dependencies: Vec<String>,
    translator: Arc<Mutex<Translator>>,
    syncs: u8,
    /// Whether a cell has run: what was said before is evcxr trying itself out.
    has_run: bool,
    folder: SessionFolder,
    /// Last to go: its tools are called until the worker has ended.
    _home: Arc<SessionFolder>,
}

/// Interrupts the running cell from another thread.
///
/// The first interrupt is a signal that the library's loops notice: the cell ends with an error and
/// every variable stays. A cell that has not ended five seconds later, or at a second interrupt, is
/// killed with its variables. While nothing runs an interrupt does nothing.
#[derive(Clone)]
pub struct InterruptHandle {
    shared: Arc<Shared>,
}

impl InterruptHandle {
    /// Asks the running cell (or its compilation) to end; returns at once.
    pub fn interrupt(&self) {
        self.shared.interrupt();
    }
}

/// What the frames of a cell said about its end.
#[derive(Default)]
struct Ending {
    panicked: bool,
    user_error: Option<String>,
    exited: Option<(Option<i32>, Option<i32>, String)>,
}

impl Session {
    /// Starts a session with the prepared library loaded (about two seconds).
    ///
    /// # Errors
    /// A missing compiler or linker, a full disk, a child that does not start.
    pub fn start(prepared: &Prepared, options: Options) -> Result<Session> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let home = workshop::home(prepared)?;
        let folder = SessionFolder::new(prepared)?;
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let id = format!("{}-{number}", std::process::id());
        let secret = format!("\u{1}rebit-{}\u{1}", random());
        let socket = format!("rebit-{id}-{}", random());
        let shared = Shared::listen(&socket, &secret)?;
        let exe = crate::executable()?;
        let mut supervisor = Command::new(exe);
        let search = prepared.search_path(&folder.path)?;
        supervisor
            .arg(supervisor::SUPERVISOR)
            .env(supervisor::WIRE, &secret)
            .env(supervisor::SOCKET, &socket)
            .env("LD_LIBRARY_PATH", search)
            .envs(options.env.iter().map(|(name, value)| (name, value)))
            .process_group(0);
        if let Some(workdir) = &options.workdir {
            supervisor.current_dir(workdir);
        }
        for name in [
            "EVCXR_TMPDIR",
            "EVCXR_CONFIG_DIR",
            "RUST_SRC_PATH",
            shim::SESSION,
        ] {
            supervisor.env_remove(name);
        }
        let jobs = {
            // evcxr reads its settings from the process environment when it starts.
            let _environment = workshop::environment();
            let path = std::env::var_os("PATH").unwrap_or_default();
            supervisor.env("PATH", &path);
            let bin = home.path.join("bin");
            let with_shims =
                std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&path)))
                    .map_err(|e| Error::Session(format!("PATH: {e}")))?;
            // Of two sessions in one process the second finds the first one's settings.
            if std::env::var_os(build::HOME).is_none() {
                let home = std::env::var_os("CARGO_HOME").unwrap_or_default();
                // SAFETY: as below.
                unsafe { std::env::set_var(build::HOME, home) };
            }
            build::own_home(&mut supervisor);
            // SAFETY: Rust's own readers of the environment are synchronised with these writers, and no
            // other thread of ours reads it through C while a session starts.
            unsafe {
                std::env::set_var(shim::SESSION, &home.path);
                // The analyser looks for cargo there before anywhere else.
                std::env::set_var("CARGO_HOME", &home.path);
                std::env::set_var("EVCXR_TMPDIR", &folder.path);
                std::env::set_var("EVCXR_CONFIG_DIR", &folder.path);
                std::env::set_var("RUST_SRC_PATH", prepared.master.join("skeleton"));
                std::env::set_var("PATH", with_shims);
            }
            let jobs = worker::start(Setup {
                supervisor,
                prepared: prepared.clone(),
                folder: folder.path.clone(),
            });
            // SAFETY: as above.
            unsafe { std::env::set_var("PATH", path) };
            jobs?
        };
        shared.forget();
        Ok(Session {
            jobs: Some(jobs),
            shared,
            prepared: prepared.clone(),
            options,
            variables: Vec::new(),
            items: Vec::new(),
            dependencies: Vec::new(),
            translator: Arc::new(Mutex::new(Translator::default())),
            syncs: 0,
            has_run: false,
            folder,
            _home: home,
        })
    }

    /// Runs one cell; `sink` gets what it says while it runs.
    pub fn execute(&mut self, code: &str, sink: &mut dyn FnMut(Output)) -> Reply {
        self.execute_with_input(code, sink, &|_| String::new())
    }

    /// Runs one cell that may ask its reader for input (`evcxr_input`).
    pub fn execute_with_input(
        &mut self,
        code: &str,
        sink: &mut dyn FnMut(Output),
        reader: Reader<'_>,
    ) -> Reply {
        if code.trim().is_empty() {
            return Reply::Ok { value: None };
        }
        let cell = Cell::new(code);
        let (events, inbox) = sync_channel(64);
        let (idle_sink, kept) = self.shared.begin_cell(events.clone());
        let job = Job {
            cell: cell.clone(),
            user: code.to_string(),
            events,
        };
        if self
            .jobs
            .as_ref()
            .is_none_or(|jobs| jobs.send(job).is_err())
        {
            self.shared.end_cell(idle_sink);
            return Reply::Error(errors::plain("crashed", "the session has ended"));
        }
        let translator = self.translator.clone();
        let mut translator = translator.lock().unwrap_or_else(|e| e.into_inner());
        let was_idle = std::mem::replace(&mut self.has_run, true);
        for frame in kept.into_iter().filter(|_| was_idle) {
            translator.frame(&frame, sink);
        }
        translator.begin_cell();
        let mut ending = Ending::default();
        let mut log = BuildLog::new(&self.folder);
        let mut done: Option<Outcome> = None;
        let mut waiting_for = None;
        loop {
            let patience = if done.is_some() {
                Duration::from_secs(2)
            } else if translator.has_pending() {
                Duration::from_millis(2)
            } else {
                Duration::from_millis(100)
            };
            match inbox.recv_timeout(patience) {
                Ok(Event::Frame(Frame::Sync(n))) if Some(n) == waiting_for => break,
                Ok(Event::Frame(frame)) => {
                    match &frame {
                        Frame::Panic => ending.panicked = true,
                        Frame::UserError(text) => ending.user_error = Some(text.clone()),
                        Frame::Exited { code, signal, note } => {
                            ending.exited = Some((*code, *signal, note.clone()));
                        }
                        _ => {}
                    }
                    translator.frame(&frame, sink);
                }
                Ok(Event::Gone) => {}
                Ok(Event::Input(request, answer)) => {
                    translator.flush(sink);
                    let _ = answer.send(reader(request));
                }
                Ok(Event::Done(outcome)) => {
                    done = Some(outcome);
                    // Everything that was said before this is on its way.
                    self.syncs = self.syncs.wrapping_add(1);
                    waiting_for = Some(self.syncs);
                    if !self.shared.send(&[command::SYNC, self.syncs]) {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) if done.is_some() => break,
                Err(RecvTimeoutError::Timeout) => translator.flush(sink),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if done.is_none() && self.shared.phase() == Phase::Compiling {
                log.show(sink);
            }
        }
        log.show(sink);
        translator.flush(sink);
        let reply = match done {
            Some(outcome) => self.reply(outcome, ending, &cell, code, &mut translator, sink),
            None => Reply::Error(errors::plain("crashed", "the session has ended")),
        };
        self.shared.end_cell(idle_sink);
        reply
    }

    fn reply(
        &mut self,
        outcome: Outcome,
        ending: Ending,
        cell: &Cell,
        code: &str,
        translator: &mut Translator,
        sink: &mut dyn FnMut(Output),
    ) -> Reply {
        let before = std::mem::replace(&mut self.variables, outcome.variables);
        let lost = |now: &[(String, String)]| -> Vec<String> {
            before
                .iter()
                .map(|(name, _)| name.clone())
                .filter(|name| !now.iter().any(|(n, _)| n == name))
                .collect()
        };
        let interrupted = self.shared.interrupted() || translator.interrupted();
        let failure = match outcome.result {
            Err(Ended::ChildGone) => {
                let failure = self.crash(&ending, translator.take_panic());
                Some(errors::with_lost(failure, lost(&self.variables)))
            }
            Err(Ended::Refused(_)) if interrupted => Some(errors::plain(
                "interrupted",
                "interrupted while the cell was being compiled",
            )),
            Err(Ended::Refused(failure)) => Some(failure),
            Ok(_) if ending.panicked => {
                let failure = self.panic(translator, code);
                Some(errors::with_lost(failure, lost(&self.variables)))
            }
            Ok(_) if ending.user_error.is_some() => {
                let text = ending.user_error.unwrap_or_default();
                Some(errors::with_lost(
                    errors::plain("error", &text),
                    lost(&self.variables),
                ))
            }
            Ok(bundles) => {
                self.remember(cell);
                for data in bundles {
                    translator.command_value(data, sink);
                }
                None
            }
        };
        match failure {
            Some(mut failure) => {
                if interrupted && matches!(failure.ename.as_str(), "panic" | "error") {
                    failure.ename = "interrupted".to_string();
                }
                Reply::Error(failure)
            }
            None => Reply::Ok {
                value: translator.take_value(),
            },
        }
    }

    fn remember(&mut self, cell: &Cell) {
        self.items.extend(cell.items.iter().cloned());
        self.dependencies.extend(cell.dependencies.iter().cloned());
    }

    fn panic(&self, translator: &mut Translator, code: &str) -> Failure {
        let Some(panic) = translator.take_panic() else {
            // A loop of the library that was interrupted unwinds without a report.
            return match self.shared.interrupted() || translator.interrupted() {
                true => errors::plain("interrupted", "the cell was interrupted"),
                false => errors::plain("panic", "the cell panicked"),
            };
        };
        let generated = fs::read_to_string(self.folder.path.join("src/lib.rs"));
        let generated = generated.unwrap_or_default();
        match panic.place_in(&generated, code) {
            Some(place) => errors::panic(&panic.message, Some(place), code),
            None => {
                let mut failure = errors::panic(&panic.message, None, code);
                if !panic.file.is_empty() && panic.file != "src/lib.rs" {
                    failure.traceback.push(format!(
                        "  at {}:{}:{}",
                        panic.file, panic.line, panic.column
                    ));
                }
                failure
            }
        }
    }

    /// What happened to the child, in words.
    fn crash(&self, ending: &Ending, panic: Option<stream::PanicReport>) -> Failure {
        if self.shared.killed() {
            return errors::plain(
                "interrupted",
                "the cell did not react to the interrupt and was killed",
            );
        }
        let (code, signal, note) = ending.exited.clone().unwrap_or_default();
        let what = match (code, signal) {
            (_, Some(libc::SIGSEGV)) => {
                "signal 11 (SIGSEGV): stack overflow, usually a recursion without end".to_string()
            }
            (_, Some(libc::SIGABRT)) if !note.is_empty() => {
                format!(
                    "{} (signal 11, SIGSEGV)",
                    note.trim_end_matches('.').to_lowercase()
                )
            }
            (_, Some(libc::SIGABRT)) => "aborted (signal 6, SIGABRT)".to_string(),
            (_, Some(libc::SIGKILL)) => {
                "killed (signal 9, SIGKILL): probably out of memory".to_string()
            }
            (_, Some(signal)) => format!("ended by signal {signal}"),
            (Some(code), None) => format!("the cell ended the process: exit status {code}"),
            (None, None) => "the process that runs the cells is gone".to_string(),
        };
        let mut failure = errors::plain("crashed", &what);
        if let Some(panic) = panic {
            failure
                .traceback
                .push(format!("panic before it: {}", panic.message));
        }
        failure
            .traceback
            .push("A new process has been started; the library is loaded.".to_string());
        failure
    }

    /// What to do with output that arrives while no cell runs (from threads of earlier cells); without
    /// it such output waits for the next cell.
    pub fn on_idle_output(&mut self, mut sink: impl FnMut(Output) + Send + 'static) {
        let translator = Arc::downgrade(&self.translator);
        self.shared.set_idle_sink(Box::new(move |frame| {
            if let Some(translator) = translator.upgrade() {
                let mut translator = translator.lock().unwrap_or_else(|e| e.into_inner());
                translator.frame(&frame, &mut sink);
                translator.flush(&mut sink);
            }
        }));
    }

    /// A handle that interrupts this session from any thread.
    pub fn interrupt_handle(&self) -> InterruptHandle {
        InterruptHandle {
            shared: self.shared.clone(),
        }
    }

    /// The variables with their types, sorted by name.
    pub fn variables(&self) -> Vec<(String, String)> {
        self.variables.clone()
    }

    /// The session so far as source text for [`analyser::Analyser`]: extra dependencies, imports and
    /// items of earlier cells, and one typed `let` for each variable.
    pub fn preamble(&self) -> String {
        // evcxr skips comments in front of the first statement, and with them documentation.
        let mut text = String::new();
        for line in &self.dependencies {
            text += &format!("{line}\n");
        }
        text += "let _ = ();\n";
        for item in &self.items {
            text += &format!("{item}\n");
        }
        for (name, of) in &self.variables {
            text += &format!("let mut {name}: {of} = todo!();\n");
        }
        text
    }

    /// The process id of the child that runs the cells, while it lives.
    pub fn child_id(&self) -> Option<u32> {
        self.shared.runtime()
    }

    /// Forgets every variable and item and starts a fresh child; the library stays loaded.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn restart(&mut self) -> Result<()> {
        let fresh = Session::start(&self.prepared, self.options.clone())?;
        *self = fresh;
        Ok(())
    }

    /// Ends the child and removes the session's folder.
    pub fn stop(self) {}
}

impl Drop for Session {
    fn drop(&mut self) {
        // A child that still computes would not notice that nobody listens any more.
        self.shared.send(&[command::KILL]);
        self.jobs.take();
    }
}

/// 128 random bits as text.
fn random() -> String {
    use std::io::Read;
    let mut bytes = [0u8; 16];
    let read = fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes));
    if read.is_err() {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        bytes = now.as_nanos().to_le_bytes();
    }
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Shows what the real cargo does for `:dep` lines.
struct BuildLog {
    path: PathBuf,
    shown: u64,
}

impl BuildLog {
    fn new(folder: &SessionFolder) -> BuildLog {
        let path = folder.path.join(shim::BUILD_LOG);
        let _ = fs::remove_file(&path);
        BuildLog { path, shown: 0 }
    }

    fn show(&mut self, sink: &mut dyn FnMut(Output)) {
        use std::io::{Read, Seek, SeekFrom};
        let Ok(mut file) = fs::File::open(&self.path) else {
            return;
        };
        let mut text = Vec::new();
        if file.seek(SeekFrom::Start(self.shown)).is_err() || file.read_to_end(&mut text).is_err() {
            return;
        }
        let Some(end) = text.iter().rposition(|&b| b == b'\n') else {
            return;
        };
        self.shown += end as u64 + 1;
        sink(Output::stderr(String::from_utf8_lossy(&text[..=end])));
    }
}
