//! rustc's own account of its time, for whoever asks where a cell's milliseconds go ([`TIMES`]).

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::failed;
use crate::orphans;

/// Environment: a file to which each cell adds one line of JSON with the time of its steps.
pub const TIMES: &str = "REBIT_TIMES";
/// In a session's folder: a line for each run of a compiler since the last cell.
pub const COMPILERS: &str = "compilers.jsonl";

/// One run of rustc, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CompilerRun {
    /// `build`, or `check` for questions.
    pub what: String,
    /// From the start of the process to its end.
    pub total: f64,
    /// Loading libraries, parsing, types, borrows.
    pub front: f64,
    /// Machine code.
    pub code: f64,
    /// The linker.
    pub link: f64,
}

/// Becomes rustc; when times are asked for, runs it and notes them. Returns an exit status.
pub fn become_rustc(mut command: Command, session: &Path, what: &str) -> i32 {
    orphans::die_with_parent();
    if std::env::var_os(TIMES).is_none() {
        return failed(command.exec());
    }
    match run_rustc(command, session, what) {
        Ok(output) => pass_on(&output),
        Err(error) => failed(error),
    }
}

/// Says what a compiler has said; returns its exit status.
pub fn pass_on(output: &Output) -> i32 {
    let _ = std::io::stdout().write_all(&output.stdout);
    let _ = std::io::stderr().write_all(&output.stderr);
    output.status.code().unwrap_or(1)
}

/// Runs rustc, and notes its times when they are asked for.
///
/// # Errors
/// When it does not start, or the times cannot be written.
pub fn run_rustc(mut command: Command, session: &Path, what: &str) -> std::io::Result<Output> {
    orphans::die_with_parent();
    orphans::let_die_with_us(&mut command);
    command.stdin(Stdio::null());
    if std::env::var_os(TIMES).is_none() {
        return command.output();
    }
    let begin = Instant::now();
    // These options are not stable.
    command
        .args(["-Ztime-passes", "-Ztime-passes-format=json"])
        .env("RUSTC_BOOTSTRAP", "1");
    let mut output = command.output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let (passes, rest): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| line.starts_with("time: "));
    output.stderr = rest
        .iter()
        .flat_map(|line| [line, "\n"])
        .collect::<String>()
        .into();
    let run = account(what, begin.elapsed(), &passes);
    let line = serde_json::to_string(&run).expect("plain data");
    let log = session.join(COMPILERS);
    let mut log = fs::OpenOptions::new().create(true).append(true).open(log)?;
    writeln!(log, "{line}")?;
    Ok(output)
}

/// The passes that matter to somebody who waits.
fn account(what: &str, total: Duration, passes: &[&str]) -> CompilerRun {
    #[derive(serde::Deserialize)]
    struct Pass {
        pass: String,
        time: f64,
    }
    let passes: Vec<Pass> = passes
        .iter()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("time: ")?).ok())
        .collect();
    let of = |name: &str| -> f64 {
        let named = passes.iter().filter(|pass| pass.pass == name);
        named.map(|pass| pass.time * 1e3).sum()
    };
    let (code, link) = (
        of("codegen_crate") + of("finish_ongoing_codegen"),
        of("link"),
    );
    CompilerRun {
        what: what.to_string(),
        total: total.as_secs_f64() * 1e3,
        front: (of("total") - code - link).max(0.0),
        code,
        link,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_become_steps() {
        let passes = [
            r#"time: {"pass":"expand_crate","time":0.01,"rss_start":1}"#,
            r#"time: {"pass":"codegen_crate","time":0.02,"rss_start":1}"#,
            r#"time: {"pass":"finish_ongoing_codegen","time":0.005,"rss_start":1}"#,
            r#"time: {"pass":"link","time":0.03,"rss_start":1}"#,
            r#"time: {"pass":"total","time":0.1,"rss_start":1}"#,
            "time: broken",
        ];
        let run = account("build", Duration::from_millis(120), &passes);
        let rounded = [run.total, run.front, run.code, run.link].map(f64::round);
        assert_eq!(rounded, [120.0, 45.0, 25.0, 30.0]);
    }
}
