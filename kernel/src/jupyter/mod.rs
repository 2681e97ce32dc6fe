//! `rebit kernel`: the Jupyter messaging protocol, one file a channel.
//!
//! | file | what is in it |
//! |---|---|
//! | [`wire`] | messages in and out, with every doubt checked |
//! | [`iopub`], [`say`] | what cells say, queued, merged and published |
//! | [`shell`] | requests, sent where they are answered; also serves the control channel |
//! | [`stdin`], [`heartbeat`] | the two small channels |
//! | [`kernel`] | what the channels share |
//! | [`evaluator`], [`execute`] | the session's thread: the queue of cells |
//! | [`assist`] | completion and help, by [`crate::language`] |
//! | [`history`] | what was run |
//!
//! The sockets are bound before anything else, so the kernel answers within milliseconds of its start
//! while the session warms up behind it.

pub mod assist;
pub mod evaluator;
pub mod execute;
pub mod heartbeat;
pub mod history;
pub mod iopub;
pub mod kernel;
pub mod queue;
pub mod say;
pub mod shell;
pub mod stdin;
pub mod wire;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jupyter_zmq_client::{
    ConnectionInfo, RuntimeError, create_kernel_control_connection,
    create_kernel_heartbeat_connection, create_kernel_iopub_xpub_connection,
    create_kernel_shell_connection, create_kernel_stdin_connection,
};
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;

use crate::error::{Error, Result};
use evaluator::Start;
use history::History;
use iopub::IoPub;
use kernel::Kernel;
use shell::Shell;
use stdin::Prompt;

/// How long the session may take to clean up when the kernel ends.
const GOODBYE: Duration = Duration::from_millis(1500);
/// How long the last messages get to leave; the sockets have no way to say that they are empty.
const LINGER: Duration = Duration::from_millis(80);

/// Serves the front end that wrote `connection_file`, until it asks the kernel to end.
///
/// # Errors
/// An unreadable connection file, a signature scheme other than `hmac-sha256`, ports that are taken.
pub fn run(connection_file: &Path, start: Start) -> Result<()> {
    install_log();
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
        .enable_all()
        .build()
        .map_err(|e| Error::Session(format!("no threads: {e}")))?;
    let served = runtime.block_on(serve(connection, start));
    runtime.shutdown_background();
    served
}

async fn serve(connection: ConnectionInfo, start: Start) -> Result<()> {
    let id = uuid::Uuid::new_v4().to_string();
    let network = |e: RuntimeError| Error::Tool {
        what: format!("the address {} cannot be used: {e}", connection.ip),
        remedy: "Restart the kernel: its front end will choose other ports".to_string(),
    };
    let heartbeat = create_kernel_heartbeat_connection(&connection)
        .await
        .map_err(network)?;
    let iopub_socket = create_kernel_iopub_xpub_connection(&connection, &id)
        .await
        .map_err(network)?;
    let stdin_socket = create_kernel_stdin_connection(&connection, &id)
        .await
        .map_err(network)?;
    let control_socket = create_kernel_control_connection(&connection, &id)
        .await
        .map_err(network)?;
    let shell_socket = create_kernel_shell_connection(&connection, &id)
        .await
        .map_err(network)?;

    let iopub = IoPub::default();
    tokio::spawn(heartbeat::run(heartbeat));
    tokio::spawn(iopub.clone().run(iopub_socket));

    let (stdin_out, stdin_in) = stdin_socket.split();
    let (asks, asked) = unbounded_channel();
    tokio::spawn(shell::send_replies("stdin", stdin_out, asked));

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
        async move { kernel.prompt.listen(stdin_in).await }
    });

    let (replies, replied) = unbounded_channel();
    let (control_replies, control_replied) = unbounded_channel();
    let threads = |e: std::io::Error| Error::Session(format!("no threads: {e}"));
    let assist = assist::Assist::spawn(kernel.clone(), replies.clone()).map_err(threads)?;
    let executor = std::thread::Builder::new()
        .name("cells".to_string())
        .spawn({
            let (kernel, replies) = (kernel.clone(), replies.clone());
            move || execute::Executor::run(kernel, replies, start)
        })
        .map_err(threads)?;

    for (name, socket, replies, replied) in [
        ("shell", shell_socket, replies, replied),
        ("control", control_socket, control_replies, control_replied),
    ] {
        let (outgoing, incoming) = socket.split();
        tokio::spawn(shell::send_replies(name, outgoing, replied));
        let shell = Shell {
            kernel: kernel.clone(),
            replies,
            assist: assist.clone(),
            name,
        };
        tokio::spawn(shell.listen(incoming));
    }

    tokio::spawn(signals(kernel.clone()));
    tokio::spawn(orphaned(kernel.clone()));
    kernel.ended().await;
    log::info!("the kernel ends");
    say_goodbye(&kernel, &executor).await;
    tokio::time::sleep(LINGER).await;
    Ok(())
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
        .format(|out, record| writeln!(out, "[rebit] {}: {}", record.level(), record.args()))
        .try_init();
    // A logger that is already there is as good.
    drop(logger);
}
