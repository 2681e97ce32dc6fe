//! `rebit kernel`: the Jupyter messaging protocol, one file a channel.
//!
//! | file | what is in it |
//! |---|---|
//! | [`transport`] | ZeroMQ's sockets, with bounds on all that a peer can make them hold |
//! | [`wire`], [`signature`] | messages in and out, with every doubt checked |
//! | [`iopub`], [`say`] | what cells say, queued, merged and published |
//! | [`shell`] | requests, sent where they are answered; also serves the control channel |
//! | [`stdin`] | answers to a cell's questions |
//! | [`kernel`] | what the channels share |
//! | [`evaluator`], [`execute`] | the session's thread: the queue of cells |
//! | [`assist`] | completion and help, by [`crate::language`] |
//! | [`history`] | what was run |
//! | [`memory`] | large messages leave nothing behind |
//!
//! The sockets are bound before anything else, so the kernel answers within milliseconds of its start
//! while the session warms up behind it.

pub mod assist;
pub mod evaluator;
pub mod execute;
pub mod history;
pub mod iopub;
pub mod kernel;
pub mod memory;
pub mod queue;
pub mod say;
pub mod shell;
pub mod signature;
pub mod stdin;
pub mod transport;
pub mod wire;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jupyter_protocol::ConnectionInfo;
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;

use crate::error::{Error, Result};
use crate::terminal::harmless;
use evaluator::Start;
use history::History;
use iopub::IoPub;
use kernel::Kernel;
use shell::Shell;
use stdin::Prompt;
use transport::{Echo, Listener, Router, Unfinished};
use wire::{Ear, Wire};

/// Room for parsers, which recurse; it is reserved and not used.
const STACK: usize = 64 << 20;
/// How long the session may take to clean up when the kernel ends.
const GOODBYE: Duration = Duration::from_millis(1500);
/// How long the last messages get to leave.
const LINGER: Duration = Duration::from_millis(500);
/// How long a message that has left our hands takes through the system's.
const TRANSIT: Duration = Duration::from_millis(20);

/// Serves the front end that wrote `connection_file`, until it asks the kernel to end.
///
/// # Errors
/// An unreadable connection file, a signature scheme other than `hmac-sha256`, ports that are taken.
pub fn run(connection_file: &Path, start: Start) -> Result<()> {
    install_log();
    memory::return_large_allocations();
    let text =
        std::fs::read_to_string(connection_file).map_err(|e| Error::io(connection_file, e))?;
    let refuse = |why: String| Error::Tool {
        what: format!("{}: {why}", connection_file.display()),
        remedy: "Jupyter writes such a file for each kernel it starts; pass that one".to_string(),
    };
    let connection: ConnectionInfo =
        serde_json::from_str(&text).map_err(|e| refuse(e.to_string()))?;
    let scheme = &connection.signature_scheme;
    if !connection.key.is_empty() && scheme != "hmac-sha256" {
        return Err(refuse(format!("unknown signature scheme `{scheme}`")));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // Cells are parsed on them, by recursion.
        .thread_stack_size(STACK)
        .enable_all()
        .build()
        .map_err(|e| Error::Session(format!("no threads: {e}")))?;
    let served = runtime.block_on(serve(connection, start));
    runtime.shutdown_background();
    served
}

async fn serve(connection: ConnectionInfo, start: Start) -> Result<()> {
    let wire = Arc::new(Wire::new(&connection.key, uuid::Uuid::new_v4().to_string()));
    let bind = |url: String| async move {
        Listener::bind(&url).await.map_err(|e| Error::Tool {
            what: format!("the address {url} cannot be used: {e}"),
            remedy: "Restart the kernel: its front end will choose other ports".to_string(),
        })
    };
    let unfinished = Arc::new(Unfinished::default());
    let heartbeat = bind(connection.hb_url()).await?;
    tokio::spawn(transport::serve(
        heartbeat,
        Arc::new(Echo),
        unfinished.clone(),
    ));

    let iopub = IoPub::new(wire.clone());
    let publisher = Arc::new(iopub::port(wire.clone()));
    let listener = bind(connection.iopub_url()).await?;
    tokio::spawn(transport::serve(
        listener,
        publisher.clone(),
        unfinished.clone(),
    ));
    tokio::spawn(iopub.clone().run(wire.clone(), publisher.clone()));

    let router = |name: &'static str, url: String| {
        let (bound, wire, unfinished) = (bind(url), wire.clone(), unfinished.clone());
        async move {
            let (heard, incoming) = unbounded_channel();
            let port = Arc::new(Router::new(Ear::new(name, wire.clone(), heard)));
            tokio::spawn(transport::serve(bound.await?, port.clone(), unfinished));
            let (replies, replied) = unbounded_channel();
            tokio::spawn(shell::send_replies(name, wire, port.clone(), replied));
            Ok::<_, Error>((port, replies, incoming))
        }
    };
    let (_, asks, answers) = router("stdin", connection.stdin_url()).await?;
    let control = router("control", connection.control_url()).await?;
    let shell = router("shell", connection.shell_url()).await?;

    let kernel = Arc::new(Kernel::new(
        iopub,
        Prompt::new(asks),
        History::open(crate::folders::history_file().as_deref()),
        json!({
            "status": "ok",
            "shell_port": connection.shell_port, "iopub_port": connection.iopub_port,
            "stdin_port": connection.stdin_port, "control_port": connection.control_port,
            "hb_port": connection.hb_port,
        }),
    ));
    tokio::spawn({
        let kernel = kernel.clone();
        async move { kernel.prompt.listen(answers).await }
    });

    let threads = |e: std::io::Error| Error::Session(format!("no threads: {e}"));
    let replies = shell.1.clone();
    let assist = assist::Assist::spawn(kernel.clone(), replies.clone()).map_err(threads)?;
    let executor = std::thread::Builder::new()
        .name("cells".to_string())
        .stack_size(STACK)
        .spawn({
            let kernel = kernel.clone();
            move || execute::Executor::run(kernel, replies, start)
        })
        .map_err(threads)?;

    let mut ports = Vec::new();
    for (name, (port, replies, incoming)) in [("shell", shell), ("control", control)] {
        let shell = Shell {
            kernel: kernel.clone(),
            replies,
            assist: assist.clone(),
            name,
        };
        tokio::spawn(shell.listen(incoming));
        ports.push(port);
    }

    tokio::spawn(signals(kernel.clone()));
    tokio::spawn(orphaned(kernel.clone()));
    kernel.ended().await;
    log::info!("the kernel ends");
    say_goodbye(&kernel, &executor).await;
    linger(&kernel, &ports).await;
    Ok(())
}

/// Waits until the last messages have left.
async fn linger(kernel: &Kernel, ports: &[Arc<Router<Ear>>]) {
    let flushed = kernel.iopub.flushed();
    let until = tokio::time::Instant::now() + LINGER;
    let left = || flushed.try_recv().is_ok();
    let mut outputs_left = false;
    while tokio::time::Instant::now() < until {
        outputs_left |= left();
        if outputs_left && ports.iter().all(|port| port.is_drained()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(TRANSIT).await;
}

/// Gives the session's thread a moment to end its child and remove its folder.
async fn say_goodbye(kernel: &Kernel, executor: &std::thread::JoinHandle<()>) {
    let deadline = tokio::time::Instant::now() + GOODBYE;
    let mut waited = 0;
    while !executor.is_finished() && tokio::time::Instant::now() < deadline {
        if !kernel.started() {
            return;
        }
        // The first interrupt asks the running cell to end, the second ends it.
        if waited % 20 == 0 {
            kernel.interrupt();
        }
        waited += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// SIGINT interrupts the running cell, SIGTERM and SIGHUP end the kernel.
async fn signals(kernel: Arc<Kernel>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut int), Ok(mut term), Ok(mut hup)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        log::warn!("signals are not handled");
        return;
    };
    loop {
        tokio::select! {
            _ = int.recv() => kernel.interrupt(),
            _ = term.recv() => kernel.end(),
            _ = hup.recv() => kernel.end(),
        }
    }
}

/// Ends the kernel when the program that started it, and said so, is gone.
async fn orphaned(kernel: Arc<Kernel>) {
    let Some(parent) = std::env::var("JPY_PARENT_PID")
        .ok()
        .and_then(|pid| pid.parse::<u32>().ok())
    else {
        return;
    };
    if std::os::unix::process::parent_id() != parent {
        // A wrapper stands in between: nothing can be said.
        return;
    }
    while std::os::unix::process::parent_id() == parent {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    log::warn!("the front end has gone without a word");
    kernel.end();
}

/// Log lines go to standard error, where front ends collect them; `REBIT_LOG=info` shows more.
fn install_log() {
    use std::io::Write as _;
    let logger = env_logger::Builder::new()
        .filter_level(log::LevelFilter::Warn)
        .parse_env("REBIT_LOG")
        // What a peer sent may be part of it.
        .format(|out, record| {
            let line = format!("[rebit] {}: {}", record.level(), record.args());
            writeln!(out, "{}", harmless(&line, false))
        })
        .try_init();
    // A logger that is already there is as good.
    drop(logger);
}
