//! `rebit repl`: cells in a terminal, or from a pipe.

mod editor;
mod figure;
mod highlight;
mod printer;

use std::io::{BufRead as _, IsTerminal as _};
use std::sync::{Arc, Mutex};

use reedline::Signal;

use crate::analyser::Analyser;
use crate::error::{Error, Result};
use crate::install::prepare_visibly;
use crate::language::assist::{Answers, Assistant};
use crate::language::commands::{self, Answer};
use crate::language::is_complete::{Completeness, judge};
use crate::language::known::Known;
use crate::locked;
use crate::output::Reply;
use crate::session::{InputRequest, InterruptHandle, Options, Session};
use editor::{CellPrompt, Knowledge};
use printer::Printer;

/// Reads cells from standard input and runs them; `false` when one of them failed in a pipe.
///
/// # Errors
/// A session that cannot be started, a terminal that cannot be read.
pub fn run(options: Options) -> Result<bool> {
    let library = prepare_visibly()?;
    let session = Session::start(&library, options)?;
    interrupt_with_ctrl_c(session.interrupt_handle())?;
    let mut repl = Repl {
        session,
        printer: Printer::new(),
        knowledge: Arc::default(),
    };
    repl.learn();
    match std::io::stdin().is_terminal() {
        true => {
            let start = move || Ok(Box::new(Analyser::start(&library)?) as Box<dyn Assistant>);
            locked(&repl.knowledge).answers = Arc::new(Mutex::new(Answers::new(Box::new(start))));
            repl.converse()
        }
        false => repl.read_all(),
    }
}

struct Repl {
    session: Session,
    printer: Printer,
    knowledge: Arc<Mutex<Knowledge>>,
}

/// A cell of a pipe that is judged after each of its lines.
const SHORT: usize = 64 << 10;

/// What follows a cell.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Continue,
    Failed,
    Leave,
}

impl Repl {
    /// The conversation at a terminal; Ctrl-D or `:quit` ends it.
    fn converse(mut self) -> Result<bool> {
        let mut editor = editor::editor(self.knowledge.clone());
        println!(
            "rebit {} · :help · Ctrl-D leaves",
            env!("CARGO_PKG_VERSION")
        );
        let mut number = 1;
        loop {
            match editor.read_line(&CellPrompt { number }) {
                Ok(Signal::Success(cell)) => {
                    // Now and not at the end: a terminal that is closed takes nothing with it.
                    let _ = editor.sync_history();
                    if cell.trim().is_empty() {
                        continue;
                    }
                    if self.cell(&cell) == Next::Leave {
                        break;
                    }
                    number += 1;
                }
                // The line is dropped, as in a shell.
                Ok(Signal::CtrlC) => {}
                Ok(_) => break,
                Err(e) => return Err(Error::Session(format!("the terminal cannot be read: {e}"))),
            }
        }
        self.session.stop();
        Ok(true)
    }

    /// All cells of a pipe, each as soon as it is complete.
    fn read_all(mut self) -> Result<bool> {
        let mut sound = true;
        let mut lines = std::io::stdin().lock().lines().peekable();
        let mut cell = String::new();
        let mut judged = 0;
        while let Some(line) = lines.next() {
            let line = line.map_err(|e| Error::Session(format!("standard input: {e}")))?;
            cell.push_str(&line);
            cell.push('\n');
            // Judging reads all of it: a long cell is judged when it has grown by a quarter, so that the time for all
            // of it grows as its length does.
            if cell.len() > SHORT && cell.len() < judged + judged / 4 && lines.peek().is_some() {
                continue;
            }
            judged = cell.len();
            let continues = matches!(lines.peek(), Some(Ok(next)) if continues(next));
            let open = matches!(judge(&cell), Completeness::Incomplete(_));
            if (open || continues) && lines.peek().is_some() {
                continue;
            }
            judged = 0;
            match self.cell(&std::mem::take(&mut cell)) {
                Next::Continue => {}
                Next::Failed => sound = false,
                Next::Leave => break,
            }
        }
        self.session.stop();
        Ok(sound)
    }

    fn cell(&mut self, code: &str) -> Next {
        let trimmed = code.trim();
        if matches!(trimmed, ":quit" | ":q" | ":exit") {
            return Next::Leave;
        }
        let (known, answers) = {
            let knowledge = locked(&self.knowledge);
            (knowledge.known.clone(), knowledge.answers.clone())
        };
        match commands::answer(trimmed, &known, &answers) {
            Some(Answer::Page(data)) => {
                self.printer.page(&data);
                return Next::Continue;
            }
            Some(Answer::Failed(failure)) => {
                self.printer.fail(&failure);
                return Next::Failed;
            }
            None => {}
        }
        let printer = &mut self.printer;
        let reply = self
            .session
            .execute_with_input(code, &mut |output| printer.say(output), &ask);
        self.printer.end_cell();
        self.learn();
        match reply {
            Reply::Ok { .. } => Next::Continue,
            Reply::Error(failure) => {
                self.printer.fail(&failure);
                Next::Failed
            }
        }
    }

    fn learn(&mut self) {
        locked(&self.knowledge).known = Known {
            variables: self.session.variables(),
            preamble: self.session.preamble(),
        };
    }
}

/// Whether a line goes on with the statement before it, although that was complete.
fn continues(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("else") || line.starts_with('.') && !line.starts_with("..")
}

/// Asks at the terminal on behalf of a cell.
fn ask(wanted: InputRequest) -> Option<String> {
    use std::io::Write as _;
    // What comes through a pipe are cells.
    if !std::io::stdin().is_terminal() {
        return None;
    }
    if wanted.password {
        return Some(read_hidden(&wanted.prompt).unwrap_or_default());
    }
    print!("{}", wanted.prompt);
    let mut line = String::new();
    // A terminal that is gone gives an empty line.
    let _ = std::io::stdout().flush();
    let _ = std::io::stdin().read_line(&mut line);
    Some(line.trim_end_matches(['\n', '\r']).to_string())
}

/// A line that is not shown while it is typed.
fn read_hidden(prompt: &str) -> std::io::Result<String> {
    use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, read};
    use std::io::Write as _;
    print!("{prompt}");
    std::io::stdout().flush()?;
    crossterm::terminal::enable_raw_mode()?;
    let mut text = String::new();
    let ended = loop {
        match read() {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => match key.code {
                KeyCode::Enter => break Ok(()),
                KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                    text.clear();
                    break Ok(());
                }
                KeyCode::Char(c) => text.push(c),
                KeyCode::Backspace => {
                    text.pop();
                }
                _ => {}
            },
            Ok(_) => {}
            Err(e) => break Err(e),
        }
    };
    crossterm::terminal::disable_raw_mode()?;
    println!();
    ended.map(|()| text)
}

/// Ctrl-C interrupts the running cell; while none runs it does nothing.
fn interrupt_with_ctrl_c(handle: InterruptHandle) -> Result<()> {
    let failed = |e: std::io::Error| Error::Session(format!("Ctrl-C cannot be handled: {e}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let (ready, registered) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut interrupts = match signal(SignalKind::interrupt()) {
                Ok(interrupts) => interrupts,
                Err(e) => {
                    // The receiver waits for exactly this.
                    let _ = ready.send(Err(e));
                    return;
                }
            };
            let _ = ready.send(Ok(()));
            while interrupts.recv().await.is_some() {
                handle.interrupt();
            }
        });
    });
    match registered.recv() {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(Error::Session("no thread for Ctrl-C".to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piped_statements_may_go_on_in_the_next_line() {
        assert!(continues("else { 1 }"));
        assert!(continues("    .collect()"));
        assert!(!continues("..3"));
        assert!(!continues("let x = 1;"));
    }
}
