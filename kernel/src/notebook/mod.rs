//! `rebit run`: executes notebooks without Jupyter, writes their outputs back, collects the claims.

mod file;
mod recorder;
mod report;
mod screen;
mod tags;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use file::Notebook;
use rebit_wire::Budget;
use recorder::Recorder;
pub use report::{CellReport, Report};
use screen::Screen;
use tags::Parameter;

use crate::error::{Error, Result};
use crate::files;
use crate::output::{Failure, Output, Reply};
use crate::session::{InterruptHandle, Options, Session};
use crate::terminal::harmless;
use crate::workshop::{self, Prepared};

/// The command line of `rebit run`.
#[derive(Clone, Debug, clap::Args)]
pub struct Run {
    /// Notebooks to execute, in this order, each in a fresh session
    #[arg(required = true)]
    pub notebooks: Vec<PathBuf>,
    /// How much the notebooks may take
    #[arg(long, value_parser = budget_words(), default_value_t)]
    pub budget: Budget,
    /// Set a variable of the notebooks: a cell behind the one tagged `parameters` gives it this value
    #[arg(short, long = "parameter", num_args = 2, value_names = ["NAME", "VALUE"], allow_hyphen_values = true)]
    pub parameters: Vec<String>,
    /// Write cells, claims and findings to this JSON file
    #[arg(long, value_name = "FILE.json")]
    pub report: Option<PathBuf>,
    /// Folder for the executed notebooks [default: target/notebooks of the notebook's workspace]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write the outputs into the notebooks themselves
    #[arg(long, conflicts_with = "out")]
    pub in_place: bool,
    /// Seconds that one cell may take
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
}

/// The words for budgets, so that the help and a refusal can name them.
fn budget_words() -> impl TypedValueParser<Value = Budget> {
    let words = PossibleValuesParser::new(Budget::ALL.map(Budget::as_str));
    words.try_map(|word| word.parse::<Budget>())
}

/// Runs all notebooks; true when every cell ran and every claim holds.
///
/// # Errors
/// A notebook that cannot be read, a folder that cannot be written, a session that does not start.
pub fn run(options: &Run) -> Result<bool> {
    // Whatever can be known now is not found out after twenty minutes.
    let parameters = Parameter::pairs(&options.parameters)?;
    let mut work = Vec::new();
    for path in &options.notebooks {
        let mut notebook = Notebook::read(path)?;
        notebook.set_parameters(&parameters)?;
        let target = target(path, options)?;
        work.push((path, notebook, target));
    }
    if let Some(report) = &options.report {
        let folder = report.parent().filter(|p| !p.as_os_str().is_empty());
        files::writable_folder(folder.unwrap_or(Path::new(".")))?;
    }
    let interrupts = Interrupts::listen();
    let mut screen = Screen::new();
    screen.begin("preparing the library".to_string());
    let prepared = workshop::prepare(&mut |progress| screen.build(&progress))?;
    let mut reports = Vec::new();
    for (path, notebook, target) in work {
        let report = execute(
            path,
            notebook,
            &target,
            options,
            &prepared,
            &mut screen,
            &interrupts,
        )?;
        reports.push(report);
        if let Some(file) = &options.report {
            files::write(file, &report::json(&reports))?;
        }
        if interrupts.count() > 0 {
            break;
        }
    }
    screen.end();
    let mut holds = true;
    for report in &reports {
        let table = report.table();
        if !table.is_empty() {
            let table = harmless(&format!("\n{}\n{table}", report.notebook), false);
            // A reader that is gone changes nothing about the claims.
            let _ = writeln!(std::io::stdout(), "{table}");
        }
        holds &= report.holds();
    }
    Ok(holds && reports.len() == options.notebooks.len())
}

/// Where the executed notebook goes; its folder exists and can be written to.
fn target(notebook: &Path, options: &Run) -> Result<PathBuf> {
    if options.in_place {
        let folder = notebook.parent().filter(|p| !p.as_os_str().is_empty());
        files::writable_folder(folder.unwrap_or(Path::new(".")))?;
        return Ok(notebook.to_path_buf());
    }
    let folder = match &options.out {
        Some(folder) => folder.clone(),
        None => workspace_of(notebook).join("target/notebooks"),
    };
    files::writable_folder(&folder)?;
    Ok(folder.join(notebook.file_name().unwrap_or_default()))
}

/// The workspace that a notebook lies in, or the current folder.
fn workspace_of(notebook: &Path) -> PathBuf {
    let absolute = std::path::absolute(notebook).unwrap_or_default();
    absolute
        .ancestors()
        .skip(1)
        .find(|folder| {
            std::fs::read_to_string(folder.join("Cargo.toml"))
                .is_ok_and(|text| text.contains("[workspace]"))
        })
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

fn execute(
    path: &Path,
    mut notebook: Notebook,
    target: &Path,
    options: &Run,
    prepared: &Prepared,
    screen: &mut Screen,
    interrupts: &Interrupts,
) -> Result<Report> {
    let begin = Instant::now();
    let name = path.display().to_string();
    screen.begin(format!("{name}: starting a session"));
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let mut session = Session::start(
        prepared,
        Options {
            env: vec![(
                rebit_wire::BUDGET_VARIABLE.to_string(),
                options.budget.as_str().to_string(),
            )],
            workdir: folder.map(Path::to_path_buf),
        },
    )?;
    interrupts.watch(session.interrupt_handle());
    let code = notebook.code();
    let mut recorder = Recorder::default();
    let mut report = Report {
        notebook: name.clone(),
        budget: options.budget.as_str().to_string(),
        seconds: 0.0,
        cells: Vec::new(),
        claims: Vec::new(),
        findings: Vec::new(),
    };
    let mut failed = false;
    for (number, (place, source)) in code.iter().enumerate() {
        let index = number + 1;
        // A cell that was asked to end may have ended well all the same.
        if failed || interrupts.count() > 0 {
            report.cells.push(CellReport {
                index,
                seconds: 0.0,
                status: "not run",
            });
            continue;
        }
        let title = format!("{name}: cell {index} of {}", code.len());
        let tags = notebook.tags(*place);
        if tags.is_skipped {
            screen.say(&format!("{title}: skipped (tag skip-execution)"));
            recorder.begin_cell();
            report.cells.push(CellReport {
                index,
                seconds: 0.0,
                status: "skipped",
            });
            continue;
        }
        screen.begin(title.clone());
        recorder.begin_cell();
        let count = index as u32;
        let start = Instant::now();
        let watchdog = Watchdog::start(options.timeout, session.interrupt_handle());
        session.number_next(index);
        let reply = session.execute(source, &mut |output| {
            match &output {
                Output::Progress(progress) => screen.progress(progress),
                Output::Claim(claim) => report.claims.push(claim.clone()),
                Output::Finding(finding) => report.findings.push(finding.clone()),
                _ => {}
            }
            recorder.take(&output, count);
        });
        let timed_out = watchdog.end();
        let seconds = start.elapsed().as_secs_f64();
        let status = match reply {
            Reply::Ok { .. } => "ok",
            Reply::Error(mut failure) => {
                // What its author expects is neither a cell that takes too long nor the reader's Ctrl-C.
                let expected = tags.may_fail && !timed_out && failure.ename != "interrupted";
                failed = !expected;
                if timed_out {
                    say_timeout(&mut failure, options.timeout);
                }
                recorder.fail(&failure);
                if !expected {
                    screen.say(&format!("{title}: {}", failure.traceback.join("\n")));
                }
                if expected { "expected error" } else { "error" }
            }
        };
        screen.say(&format!("{title}: {status}, {seconds:.1} s"));
        report.cells.push(CellReport {
            index,
            seconds,
            status,
        });
        let count = (!source.trim().is_empty()).then_some(count);
        notebook.set_outputs(*place, count, &[]);
    }
    session.stop();
    for ((place, source), (outputs, number)) in code.iter().zip(recorder.cells().iter().zip(1..)) {
        if notebook.tags(*place).is_skipped {
            continue;
        }
        let count = (!source.trim().is_empty()).then_some(number);
        notebook.set_outputs(*place, count, outputs);
    }
    if report.cells.iter().all(|cell| cell.status == "not run") && interrupts.count() > 0 {
        screen.say(&format!("{name}: nothing was run, nothing is written"));
        return Ok(report);
    }
    notebook.note_budget(options.budget.as_str());
    notebook.write(target)?;
    report.seconds = begin.elapsed().as_secs_f64();
    screen.say(&format!("{name}: written to {}", target.display()));
    Ok(report)
}

fn say_timeout(failure: &mut Failure, timeout: Option<u64>) {
    let seconds = timeout.unwrap_or_default();
    failure.evalue = format!("the cell took longer than {seconds} s (--timeout)");
    failure.traceback.push(failure.evalue.clone());
}

/// Interrupts a cell that takes too long.
struct Watchdog {
    done: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<bool>,
}

impl Watchdog {
    fn start(timeout: Option<u64>, handle: InterruptHandle) -> Watchdog {
        let (done, is_done) = channel();
        let thread = std::thread::spawn(move || {
            let Some(seconds) = timeout else { return false };
            let late = is_done.recv_timeout(Duration::from_secs(seconds));
            let late = late == Err(RecvTimeoutError::Timeout);
            if late {
                handle.interrupt();
            }
            late
        });
        Watchdog { done, thread }
    }

    /// Whether it had to interrupt.
    fn end(self) -> bool {
        drop(self.done);
        self.thread.join().unwrap_or(false)
    }
}

/// Ctrl-C, a request to end, a terminal that is closed: the first ends the running cell, so that what was run is
/// written; the second ends us.
struct Interrupts {
    state: Arc<Mutex<(usize, Option<InterruptHandle>)>>,
}

impl Interrupts {
    fn listen() -> Interrupts {
        let state = Arc::new(Mutex::new((0, None::<InterruptHandle>)));
        let shared = state.clone();
        // SAFETY: the set is initialised by sigemptyset before it is used; blocking signals in this thread
        // (and those it starts from now on) leaves them to the one that waits for them.
        let set = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                libc::sigaddset(&mut set, signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            set
        };
        std::thread::spawn(move || {
            let mut signal = 0;
            // SAFETY: both pointers are to live variables of this thread.
            while unsafe { libc::sigwait(&set, &mut signal) } == 0 {
                let mut state = shared.lock().unwrap_or_else(|e| e.into_inner());
                state.0 += 1;
                match &state.1 {
                    Some(handle) if state.0 == 1 => handle.interrupt(),
                    // The child notices that we are gone and ends as well.
                    _ => std::process::exit(128 + signal),
                }
            }
        });
        Interrupts { state }
    }

    fn watch(&self, handle: InterruptHandle) {
        self.state.lock().unwrap_or_else(|e| e.into_inner()).1 = Some(handle);
    }

    fn count(&self) -> usize {
        self.state.lock().unwrap_or_else(|e| e.into_inner()).0
    }
}

/// Says an error on standard error, in one message.
pub fn say_error(error: &Error) {
    let text = harmless(&format!("rebit: {error}"), false);
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_found_above_the_notebook() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(folder.path().join("Cargo.toml"), "[workspace]\n").unwrap();
        std::fs::write(folder.path().join("a/Cargo.toml"), "[package]\n").unwrap();
        assert_eq!(workspace_of(&inner.join("n.ipynb")), folder.path());
    }
}
