//! The thread that owns evcxr: it compiles and runs one cell after the other.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::time::Duration;

use evcxr::{CommandContext, CompilationError, EvalCallbacks, EvalContext};

use super::child::Event;
use super::errors::Sources;
use super::history::History;
use super::kept::NotKept;
use super::rewrite::{Cell, Reset, TypesAre};
use super::text::Text;
use super::types::{Answers, Question};
use super::unnamed::Blocks;
use super::{InputRequest, errors, imports, in_the_way, told, types};
use crate::error::{Error, Result};
use crate::language::index;
use crate::output::{Bundle, Failure};
use crate::supervisor::COLON;
use crate::workshop::hidden::Hider;
use crate::workshop::{Prepared, session_files};

/// A cell is compiled at most so often again after something of the session's was put right.
const MENDINGS: usize = 5;

/// One cell to run.
pub struct Job {
    /// The cell.
    pub cell: Cell,
    /// The same where a line for a shell is Rust.
    pub as_code: Option<Box<Cell>>,
    /// The cells before it.
    pub history: Arc<History>,
    /// Where its events go.
    pub events: SyncSender<Event>,
}

/// How evcxr ended a cell.
pub struct Outcome {
    /// Values of commands (`:vars`), or the compile error, or the news that the child is gone.
    pub result: std::result::Result<Vec<Bundle>, Ended>,
    /// How long it took, once `:timing` asks for it.
    pub took: Option<Duration>,
    /// Variables that exist now.
    pub variables: Vec<(String, String)>,
    /// The blocks without names of all cells, if this one ran.
    pub blocks: Blocks,
}

/// Why evcxr did not run a cell to its end.
pub enum Ended {
    /// It did not compile, or a command failed.
    Refused(Failure),
    /// The child is gone; a new one has been started.
    ChildGone,
}

/// What a worker needs to begin.
pub struct Setup {
    /// Command line of the supervisor, with its environment.
    pub supervisor: Command,
    /// The library.
    pub prepared: Prepared,
    /// The session's folder.
    pub folder: PathBuf,
}

struct Worker {
    context: CommandContext,
    setup_code: String,
    folder: PathBuf,
    prepared: Prepared,
}

/// Starts the thread and waits until the library is loaded.
pub fn start(setup: Setup) -> Result<Sender<Job>> {
    let (jobs, inbox) = channel();
    let (ready, is_ready) = channel();
    std::thread::Builder::new()
        .name("evcxr".to_string())
        // rust-analyzer recurses deeply.
        .stack_size(256 << 20)
        .spawn(move || match Worker::begin(setup) {
            Ok(worker) => {
                let _ = ready.send(Ok(()));
                worker.work(inbox);
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        })
        .map_err(|e| Error::Session(e.to_string()))?;
    is_ready
        .recv()
        .map_err(|_| Error::Session("evcxr stopped while it started".to_string()))??;
    Ok(jobs)
}

/// The first cell of a context: settings, the library, its names.
pub fn library_code(dependency: &str) -> String {
    format!(
        ":opt 0\n:offline 1\n:linker system\n:dep {dependency}\nuse rebit::prelude::*;\n\
         #[allow(unused_imports)] use rebit::cell::ByDebug as _;\n"
    )
}

impl Worker {
    fn begin(setup: Setup) -> Result<Worker> {
        let failed = |e: evcxr::Error| Error::Session(e.to_string());
        let (context, outputs) =
            EvalContext::with_subprocess_command(setup.supervisor).map_err(failed)?;
        // Only the supervisor itself writes here, when something is wrong with it.
        std::thread::spawn(move || {
            for line in outputs.stderr {
                eprintln!("rebit: {line}");
            }
        });
        drop(outputs.stdout);
        let mut worker = Worker {
            context: CommandContext::with_eval_context(context),
            // A line that began with colons would be a command to evcxr.
            setup_code: "let () = ::rebit::cell::begin();".to_string(),
            folder: setup.folder,
            prepared: setup.prepared,
        };
        worker.load_library().map_err(failed)?;
        Ok(worker)
    }

    fn load_library(&mut self) -> Result<(), evcxr::Error> {
        let code = library_code(&self.prepared.dependency()) + &self.setup_code;
        self.context.execute(&code).map(|_| ())
    }

    fn work(mut self, inbox: Receiver<Job>) {
        for mut job in inbox {
            let run = std::panic::catch_unwind(AssertUnwindSafe(|| self.run(&mut job)));
            let result = run.unwrap_or_else(|_| {
                Err(Ended::Refused(errors::plain(
                    "error",
                    "the kernel could not read this cell; what it stumbled over is on its standard error",
                )))
            });
            let (result, took) = match result {
                Ok((bundles, took)) => (Ok(bundles), took),
                Err(ended) => (Err(ended), None),
            };
            let outcome = Outcome {
                result,
                took,
                variables: self.variables(),
                blocks: job.cell.known_blocks().clone(),
            };
            let _ = job.events.send(Event::Done(outcome));
        }
    }

    fn variables(&self) -> Vec<(String, String)> {
        let mut variables: Vec<_> = self
            .context
            .variables_and_types()
            .map(|(name, of)| (name.to_string(), of.to_string()))
            .collect();
        variables.sort();
        variables
    }

    fn run(
        &mut self,
        job: &mut Job,
    ) -> std::result::Result<(Vec<Bundle>, Option<Duration>), Ended> {
        if let Some(code) = job.as_code.take()
            && self.compiles(&code)
        {
            job.cell = *code;
            let _ = job.events.send(Event::IsCode);
        }
        if let Some(why) = &job.cell.refusal {
            return Err(Ended::Refused(errors::plain("error", why)));
        }
        if let Some(failure) = self.syntax_error(job) {
            return Err(Ended::Refused(failure));
        }
        // What it defines begins anew, its statics too.
        let names = job.cell.defined_names().join("\n");
        let _ = std::fs::write(self.folder.join(session_files::FRESH), names);
        let mut text = job.cell.source();
        let mut shown = Vec::new();
        for (before, reset) in &job.cell.resets {
            let reset = self.reset(before, *reset, job);
            shown.extend(reset.map_err(|error| self.ended(error, job, &text))?);
        }
        let mut result = self.execute_with_best_types(job, &mut text);
        for _ in 0..MENDINGS {
            let Err(evcxr::Error::CompilationErrors(list)) = &result else {
                break;
            };
            let before = (job.cell.clone(), text.clone());
            if !self.mend(list, &mut job.cell, &mut text) {
                break;
            }
            let next = self.execute_with_best_types(job, &mut text);
            if let Err(evcxr::Error::CompilationErrors(next)) = &next
                && in_the_way::took_names(list, next)
            {
                // Of what was taken out the cell needs another part.
                (job.cell, text) = before;
                break;
            }
            result = next;
        }
        match result {
            Ok(outputs) => {
                let took = outputs.timing;
                shown.extend(bundles(outputs));
                Ok((shown, took))
            }
            Err(error) => Err(self.ended(error, job, &text)),
        }
    }

    /// Runs the cell with the types that it says itself, that rustc knows, or that evcxr guesses.
    fn execute_with_best_types(
        &mut self,
        job: &Job,
        text: &mut Text,
    ) -> Result<evcxr::EvalOutputs, evcxr::Error> {
        let written = match job.cell.types_are(|| self.told(job)) {
            TypesAre::Told(told) => {
                return match self.execute_as_told(job, told, text) {
                    Some(result) => result,
                    None => self.execute_as_asked(job, text),
                };
            }
            TypesAre::Asked => return self.execute_as_asked(job, text),
            TypesAre::Written => job.cell.with_all_types(&[], |_| true, &self.hider()),
            TypesAre::Guessed => None,
        };
        if let Some(written) = written {
            *text = written;
            return self.execute(&text.source, job);
        }
        let result = self.execute_guessing(&text.source, job);
        match result {
            Err(error) if !job.cell.bound.is_empty() && types::are_unknown(&error) => {
                self.find_types(job, text)?;
                self.execute(&text.source, job)
            }
            result => result,
        }
    }

    /// Runs the cell with the types that rustc tells.
    fn execute_as_asked(
        &mut self,
        job: &Job,
        text: &mut Text,
    ) -> Result<evcxr::EvalOutputs, evcxr::Error> {
        let has_types = self.find_types(job, text)?;
        let result = self.execute(&text.source, job);
        match result {
            Err(error) if has_types && types::are_unknown(&error) => {
                self.execute_as_guessed(job, text).unwrap_or(Err(error))
            }
            result => result,
        }
    }

    /// What signatures tell of the types of the cell's variables.
    fn told(&self, job: &Job) -> Option<Answers> {
        let variables = self.variables();
        let before = told::Before {
            history: &job.history,
            variables: &variables,
            index: index::library_if_read()?,
        };
        told::told(&job.cell, &before)
    }

    /// Runs the cell with types that signatures tell; `None` when it did not compile so, and nothing is known of its mistakes.
    fn execute_as_told(
        &mut self,
        job: &Job,
        told: Answers,
        text: &mut Text,
    ) -> Option<Result<evcxr::EvalOutputs, evcxr::Error>> {
        let typed = self.with_answers(job, told).ok()?;
        let mark = self.folder.join(session_files::TOLD);
        std::fs::write(&mark, b"").ok()?;
        let result = self.execute(&typed.source, job);
        let _ = std::fs::remove_file(&mark);
        if !matches!(
            result,
            Err(evcxr::Error::CompilationErrors(_) | evcxr::Error::Message(_))
        ) {
            *text = typed;
            return Some(result);
        }
        // A mistake of the cell is told as it would be had nothing been known.
        let before = text.clone();
        match self.mistakes(job, text) {
            Ok(Some(mistakes)) if mistakes.iter().any(types::is_mistake) => {
                Some(Err(evcxr::Error::CompilationErrors(mistakes)))
            }
            _ => {
                *text = before;
                None
            }
        }
    }

    /// The cell with these types, and all else hidden from evcxr's analyser; without that, where it cannot be.
    fn with_answers(&self, job: &Job, mut told: Answers) -> Result<Text, Text> {
        if job.history.shadows_crates(&job.cell) {
            types::from_outside(&mut told.named);
        }
        // evcxr would keep what a name meant before the cell.
        let is_new = |name: &str| {
            self.context
                .variables_and_types()
                .all(|(old, _)| old != name)
        };
        let moved: Vec<&str> = told.moved.iter().map(|(name, _)| name.as_str()).collect();
        let is_kept = |name: &str| !moved.contains(&name) || !is_new(name);
        job.cell
            .with_all_types(&told.named, is_kept, &self.hider())
            .ok_or_else(|| job.cell.with_types(&told.named))
    }

    /// Runs the cell with the types that evcxr guesses, where rustc's do not fit: it names a type by the crate that defines
    /// it, and in a cell another version may have that name. `None` when the guesses do not fit either.
    fn execute_as_guessed(
        &mut self,
        job: &Job,
        text: &mut Text,
    ) -> Option<Result<evcxr::EvalOutputs, evcxr::Error>> {
        let guessed = job.cell.source();
        let result = self.execute_guessing(&guessed.source, job);
        if matches!(&result, Err(error) if !matches!(error, evcxr::Error::SubprocessTerminated(_)))
        {
            return None;
        }
        *text = guessed;
        Some(result)
    }

    /// Puts right what the session itself is to blame for; whether there was such a thing.
    fn mend(&self, list: &[CompilationError], cell: &mut Cell, text: &mut Text) -> bool {
        if imports::prefer(list, &self.folder) {
            return true;
        }
        let source = std::fs::read_to_string(self.folder.join("src/lib.rs"));
        let found = cell.in_the_way(list, &source.unwrap_or_default());
        let is_mended = cell.make_way(&found);
        if is_mended {
            *text = cell.source();
        }
        is_mended
    }

    /// Runs the commands before a reset, then the reset itself: evcxr's own forget the library, or remember variables
    /// that are gone.
    fn reset(
        &mut self,
        before: &str,
        reset: Reset,
        job: &Job,
    ) -> Result<Vec<Bundle>, evcxr::Error> {
        let shown = bundles(self.execute(before, job)?);
        match reset {
            Reset::Everything => {
                self.context.execute(":clear")?;
                self.load_library()?;
            }
            Reset::Process => match self.context.execute("let () = ::std::process::exit(0);") {
                Err(evcxr::Error::SubprocessTerminated(_)) | Ok(_) => {
                    self.context.execute(&self.setup_code.clone())?;
                }
                Err(error) => return Err(error),
            },
        }
        Ok(shown)
    }

    /// How an error of evcxr ends a cell of which it got this text.
    fn ended(&mut self, error: evcxr::Error, job: &Job, text: &Text) -> Ended {
        match error {
            evcxr::Error::CompilationErrors(list) => {
                let failure = errors::failure(&list, &self.sources(job, text));
                Ended::Refused(failure)
            }
            evcxr::Error::SubprocessTerminated(_) => {
                // The new child has no panic hook yet; without it panics are merely less well told.
                let _ = self.context.execute(&self.setup_code.clone());
                Ended::ChildGone
            }
            other => {
                let text = other.to_string();
                Ended::Refused(match NotKept::from_message(&text) {
                    Some(variable) => errors::of_variable(&variable, &job.cell),
                    None => errors::plain("error", text.trim_start_matches("error: ")),
                })
            }
        }
    }

    /// What rustc says to a cell that does not parse.
    fn syntax_error(&mut self, job: &Job) -> Option<Failure> {
        let question = job.cell.syntax_question()?;
        // Where there is an error of syntax rustc reports no other kind.
        let mut errors = self.context.check(&question.source).ok()?;
        errors.retain(|error| error.level() == "error" && is_of_syntax(error));
        (!errors.is_empty()).then(|| errors::failure(&errors, &self.sources(job, &question)))
    }

    fn compiles(&mut self, cell: &Cell) -> bool {
        let errors = self.context.check(&cell.question().source);
        errors.is_ok_and(|errors| errors.iter().all(|error| error.level() != "error"))
    }

    fn sources<'a>(&'a self, job: &'a Job, text: &'a Text) -> Sources<'a> {
        let generated = std::fs::read_to_string(self.folder.join(session_files::GENERATED));
        Sources {
            cell: &job.cell,
            text,
            history: &job.history,
            generated: generated.unwrap_or_default(),
            master: &self.prepared.master,
        }
    }

    /// Runs a cell, leaving out evcxr's own check when a type is not known: we ask better questions.
    fn execute_guessing(
        &mut self,
        source: &str,
        job: &Job,
    ) -> Result<evcxr::EvalOutputs, evcxr::Error> {
        let quick = !job.cell.bound.is_empty();
        let mark = self.folder.join(session_files::NO_CHECK);
        if quick {
            std::fs::write(&mark, b"")?;
        }
        let result = self.execute(source, job);
        if quick {
            let _ = std::fs::remove_file(&mark);
        }
        result
    }

    fn execute(&mut self, source: &str, job: &Job) -> Result<evcxr::EvalOutputs, evcxr::Error> {
        let events = job.events.clone();
        let mut callbacks = EvalCallbacks {
            input_reader: &|request| {
                let request = InputRequest {
                    prompt: request.prompt.replace(char::from(COLON), ":"),
                    password: request.is_password,
                };
                ask(&events, request)
            },
        };
        self.context.execute_with_callbacks(source, &mut callbacks)
    }

    /// Asks rustc for the types of the variables; `text` becomes the cell with them, where there is nothing wrong with it. Whether
    /// that is so.
    fn find_types(&mut self, job: &Job, text: &mut Text) -> Result<bool, evcxr::Error> {
        let mut told = Answers::default();
        let errors = self.ask_types(job, Question::Move, |_| true)?;
        told.read(&errors);
        if errors.iter().any(types::is_mistake)
            && let Some(mistakes) = self.mistakes(job, text)?
        {
            return Err(evcxr::Error::CompilationErrors(mistakes));
        }
        let mut own_errors = has_own_errors(&errors);
        let mut bound = job.cell.bound.iter();
        if own_errors || bound.any(|variable| told.leaves_open(&variable.name)) {
            // rustc may not have come so far as to see what is moved, or has found what is only wrong in what is kept.
            let is_asked = |name: &str| own_errors || told.leaves_open(name);
            let errors = self.ask_types(job, Question::Pattern, is_asked)?;
            own_errors = has_own_errors(&errors);
            told.read(&errors);
        }
        if !own_errors {
            if let Some((name, of)) = told.unnamed.iter().find(|(name, _)| !told.moves(name)) {
                // As evcxr would say it, which has no other way to fail.
                let message =
                    format!("The variable `{name}` has type `{of}` which cannot be persisted.");
                return Err(evcxr::Error::Message(message));
            }
            *text = self
                .with_answers(job, told)
                .unwrap_or_else(|without| without);
        }
        Ok(!own_errors)
    }

    fn hider(&self) -> Hider {
        Hider::of(&self.folder)
    }

    /// What rustc says to a cell that cannot be compiled, in its usual words; `text` becomes what it was about.
    fn mistakes(
        &mut self,
        job: &Job,
        text: &mut Text,
    ) -> Result<Option<Vec<CompilationError>>, evcxr::Error> {
        let question = job.cell.question();
        let mut errors = self.context.check(&question.source)?;
        errors.retain(|error| error.level() == "error" && error.is_from_user_code());
        if errors.is_empty() {
            return Ok(None);
        }
        *text = question;
        Ok(Some(errors))
    }

    /// What rustc says to a question for the types of some variables.
    fn ask_types(
        &mut self,
        job: &Job,
        how: Question,
        is_asked: impl Fn(&str) -> bool,
    ) -> Result<Vec<CompilationError>, evcxr::Error> {
        let mark = self.folder.join(session_files::FULL_TYPES);
        std::fs::write(&mark, b"")?;
        let answers = self
            .context
            .check(&job.cell.type_question(how, is_asked).source);
        let _ = std::fs::remove_file(&mark);
        answers
    }
}

/// Whether rustc has something to say of the cell itself.
fn has_own_errors(answers: &[CompilationError]) -> bool {
    let mut errors = answers.iter().filter(|error| error.level() == "error");
    errors.any(|error| !types::is_answer(error))
}

/// Whether it is the parser's, whose errors have no code, or the lexer's, where something has no end.
fn is_of_syntax(error: &CompilationError) -> bool {
    const WITHOUT_END: [&str; 6] = ["E0748", "E0758", "E0762", "E0763", "E0765", "E0766"];
    error.code().is_none_or(|code| WITHOUT_END.contains(&code))
}

fn ask(events: &SyncSender<Event>, request: InputRequest) -> String {
    let (answer, is_answered) = channel();
    if events.send(Event::Input(request, answer)).is_err() {
        return String::new();
    }
    is_answered.recv().unwrap_or_default()
}

/// Values of commands: each in all its forms.
fn bundles(outputs: evcxr::EvalOutputs) -> Vec<Bundle> {
    if outputs.content_by_mime_type.is_empty() {
        return Vec::new();
    }
    vec![
        outputs
            .content_by_mime_type
            .into_iter()
            .map(|(mime, text)| (mime, serde_json::Value::String(text)))
            .collect(),
    ]
}
