//! `rebit`: runs notebooks, serves Jupyter, and is a terminal for cells.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rebit_kernel::jupyter::{self, evaluator};
use rebit_kernel::session::Options;
use rebit_kernel::{analyser, doctor, install, notebook, repl, supervisor, workshop};

/// Notebooks of compiled Rust cells, with the rebit library already loaded.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Execute notebooks and check their claims
    Run(notebook::Run),
    /// Serve a Jupyter front end (which starts this by itself)
    Kernel {
        /// The connection file that the front end wrote
        connection_file: PathBuf,
    },
    /// Make the kernel known to Jupyter and compile the library
    Install(install::Install),
    /// Remove the kernel from Jupyter
    Uninstall(install::Place),
    /// Run cells in a terminal, or from a pipe
    Repl,
    /// Check what sessions need, and say how to mend it
    Doctor,
}

fn main() -> ExitCode {
    // This binary also plays the parts of its own children.
    workshop::shim::roles();
    supervisor::roles();
    analyser::roles();
    let command = Arguments::parse().command;
    if let Command::Install(_) | Command::Uninstall(_) | Command::Doctor = command {
        end_with_the_reader();
    }
    let outcome = match command {
        Command::Run(options) => notebook::run(&options),
        Command::Kernel { connection_file } => {
            let start = evaluator::start_session(Options::default());
            jupyter::run(&connection_file, start).map(|()| true)
        }
        Command::Install(options) => install::install(&options).map(|()| true),
        Command::Uninstall(place) => install::uninstall(&place).map(|()| true),
        Command::Repl => repl::run(Options::default()),
        Command::Doctor => Ok(doctor::run()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            notebook::say_error(&error);
            ExitCode::FAILURE
        }
    }
}

/// A reader that has seen enough (`rebit doctor | head -3`) ends the program without complaint. Not where
/// there are sockets: a peer that is gone must not end a session.
fn end_with_the_reader() {
    // SAFETY: sets a disposition, with no handler of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}
