//! `rebit run` from outside: what it writes, what it says, and how it ends.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rebit_tests::rebit;

use serde_json::{Value, json};

fn write_notebook(path: &Path, cells: &[&str]) {
    let cells: Vec<Value> = cells
        .iter()
        .enumerate()
        .map(|(n, source)| {
            json!({"cell_type": "code", "id": format!("c{n}"), "metadata": {},
                   "execution_count": null, "outputs": [], "source": source})
        })
        .collect();
    let notebook =
        json!({"nbformat": 4, "nbformat_minor": 5, "metadata": {"kept": true}, "cells": cells});
    std::fs::write(path, notebook.to_string()).unwrap();
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(rebit())
        .arg("run")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_good_notebook_is_executed_and_written() {
    let folder = tempfile::tempdir().unwrap();
    write_notebook(
        &folder.path().join("good.ipynb"),
        &[
            "let a = randn(8, 8, &mut rng(0));",
            "a.shape()",
            "print!(\"x\"); println!(\"y\"); eprintln!(\"z\"); show::html(\"<b>1</b>\"); show::html(\"<b>2</b>\"); 7",
            "show::clear_output(true); println!(\"after\");",
            "for _ in show::progress(0..3) {}",
            "claim!(\"one is less than two\", 1 < 2, paper: 2, ours: 1);\nfinding!(\"gain\", paper: 5.05, ours: 0.3, \"20 epochs\");",
            "println!(\"{:?}\", budget());",
            "",
        ],
    );
    let output = run(
        folder.path(),
        &["good.ipynb", "--budget", "quick", "--report", "r.json"],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        table.contains("holds") && table.contains("one is less than two"),
        "{table}"
    );
    assert!(
        table.contains("finding") && table.contains("20 epochs"),
        "{table}"
    );
    assert!(
        stderr(&output).contains("cell 3 of 8: ok"),
        "{}",
        stderr(&output)
    );

    let written = folder.path().join("target/notebooks/good.ipynb");
    let text = std::fs::read_to_string(&written).unwrap();
    assert!(matches!(
        nbformat::parse_notebook(&text).unwrap(),
        nbformat::Notebook::V4(_)
    ));
    let notebook = json_file(&written);
    assert_eq!(notebook["metadata"]["kept"], true);
    assert_eq!(notebook["metadata"]["rebit"]["budget"], "quick");
    assert_eq!(notebook["metadata"]["language_info"]["name"], "rust");
    let cell = |n: usize| &notebook["cells"][n];
    assert_eq!(cell(0)["execution_count"], 1);
    assert_eq!(cell(0)["outputs"], json!([]));
    assert_eq!(cell(1)["outputs"][0]["output_type"], "execute_result");
    assert_eq!(cell(1)["outputs"][0]["data"]["text/plain"], "(8, 8)");
    let kinds: Vec<&str> = cell(2)["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|output| output["name"] != "stderr")
        .map(|output| output["output_type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["stream", "display_data", "display_data", "execute_result"]
    );
    assert_eq!(cell(2)["outputs"][0]["text"], "xy\n");
    assert_eq!(cell(3)["outputs"][0]["text"], "after\n");
    assert_eq!(
        cell(4)["outputs"],
        json!([]),
        "progress bars are not stored"
    );
    assert!(
        cell(6)["outputs"][0]["text"]
            .as_str()
            .unwrap()
            .contains("Quick")
    );

    let report = json_file(&folder.path().join("r.json"));
    assert_eq!(report["budget"], "quick");
    assert_eq!(report["notebook"], "good.ipynb");
    assert_eq!(report["cells"].as_array().unwrap().len(), 8);
    assert_eq!(report["claims"][0]["holds"], true);
    assert_eq!(report["claims"][0]["text"], "one is less than two");
    assert_eq!(report["findings"][0]["why"], "20 epochs");
    assert!(report["seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_failing_cell_ends_the_run_and_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.ipynb");
    write_notebook(
        &path,
        &[
            "let x = 1;",
            "let y: i32 = \"a\";",
            "println!(\"not reached\");",
        ],
    );
    let output = run(
        folder.path(),
        &["bad.ipynb", "--in-place", "--report", "r.json"],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("E0308"), "{}", stderr(&output));
    let notebook = json_file(&path);
    assert_eq!(notebook["cells"][1]["outputs"][0]["output_type"], "error");
    assert_eq!(notebook["cells"][1]["outputs"][0]["ename"], "E0308");
    assert_eq!(notebook["cells"][2]["execution_count"], Value::Null);
    let report = json_file(&folder.path().join("r.json"));
    let statuses: Vec<&str> = (0..3)
        .map(|n| report["cells"][n]["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, ["ok", "error", "not run"]);
}

#[test]
fn a_failing_claim_and_a_slow_cell_fail_the_run() {
    let folder = tempfile::tempdir().unwrap();
    write_notebook(
        &folder.path().join("claim.ipynb"),
        &[
            "claim!(\"two is less than one\", 2 < 1, paper: 1, ours: 2);",
            "1 + 1",
        ],
    );
    write_notebook(
        &folder.path().join("slow.ipynb"),
        &[
            "loop { show::check_interrupt()?; std::thread::sleep(std::time::Duration::from_millis(10)); }",
        ],
    );
    let output = run(
        folder.path(),
        &[
            "claim.ipynb",
            "slow.ipynb",
            "--out",
            "o",
            "--timeout",
            "4",
            "--report",
            "r.json",
        ],
    );
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("FAILS"), "{table}");
    let reports = json_file(&folder.path().join("r.json"));
    assert_eq!(
        reports[0]["cells"][1]["status"], "ok",
        "a claim does not stop the notebook"
    );
    assert_eq!(reports[1]["cells"][0]["status"], "error");
    let slow = json_file(&folder.path().join("o/slow.ipynb"));
    let error = slow["cells"][0]["outputs"][0]["evalue"].as_str().unwrap();
    assert!(error.contains("--timeout"), "{error}");
}

#[test]
fn what_cannot_be_run_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("broken.ipynb"), "{\"cells\": [").unwrap();
    std::fs::write(folder.path().join("other.ipynb"), "{\"a\": 1}").unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    write_notebook(&folder.path().join("good.ipynb"), &["1"]);
    let cases: [(&[&str], &str); 6] = [
        (&["broken.ipynb"], "not JSON"),
        (&["other.ipynb"], "not a notebook"),
        (&["missing.ipynb"], "no such file"),
        (&["good.ipynb", "--out", "file/folder"], "file/folder"),
        (&["good.ipynb", "--out", "/proc/nowhere"], "/proc/nowhere"),
        (&["good.ipynb", "--report", "file/r.json"], "file"),
    ];
    for (arguments, word) in cases {
        let output = run(folder.path(), arguments);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
}

#[test]
fn two_runs_at_once_both_succeed() {
    let folder = tempfile::tempdir().unwrap();
    write_notebook(
        &folder.path().join("a.ipynb"),
        &["let v = vec![1, 2];", "randn(2, 2, &mut rng(0)).shape()"],
    );
    let runs = ["one", "two"].map(|out| {
        Command::new(rebit())
            .args(["run", "a.ipynb", "--out", out])
            .current_dir(folder.path())
            .spawn()
            .unwrap()
    });
    for mut child in runs {
        assert!(child.wait().unwrap().success());
    }
    for out in ["one", "two"] {
        let notebook = json_file(&folder.path().join(out).join("a.ipynb"));
        assert_eq!(
            notebook["cells"][1]["outputs"][0]["data"]["text/plain"],
            "(2, 2)"
        );
    }
}

#[test]
fn a_session_needs_no_network_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write_notebook(&folder.path().join("a.ipynb"), &["1 + 1"]);
    // Whatever asked for the network would go to this address, where nobody answers.
    let output = Command::new(rebit())
        .args(["run", "a.ipynb"])
        .current_dir(folder.path())
        .envs([
            ("http_proxy", "http://127.0.0.1:9"),
            ("https_proxy", "http://127.0.0.1:9"),
            ("HTTPS_PROXY", "http://127.0.0.1:9"),
            ("CARGO_HTTP_PROXY", "http://127.0.0.1:9"),
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn missing_tools_are_named_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    write_notebook(&folder.path().join("a.ipynb"), &["1"]);
    let run_with = |name: &str, value: &str| {
        let output = Command::new(rebit())
            .args(["run", "a.ipynb"])
            .current_dir(folder.path())
            .env(name, value)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        stderr(&output)
    };
    let said = run_with("PATH", "/nowhere");
    assert!(
        said.contains("`cargo` was not found") && said.contains("rustup.rs"),
        "{said}"
    );
    let said = run_with("REBIT_LIBRARY", "/nowhere");
    assert!(
        said.contains("/nowhere") && said.contains("REBIT_LIBRARY"),
        "{said}"
    );
    let said = run_with("REBIT_CACHE", "/proc/nowhere");
    assert!(said.contains("/proc/nowhere"), "{said}");
}

#[test]
fn ctrl_c_ends_the_cell_and_the_run_and_keeps_what_was_done() {
    signal_ends_the_run("INT");
}

#[test]
fn a_request_to_end_keeps_what_was_done() {
    signal_ends_the_run("TERM");
}

#[test]
fn a_terminal_that_is_closed_keeps_what_was_done() {
    signal_ends_the_run("HUP");
}

/// The executed notebook holds the cells before the signal; the notebook is a link to a file of a mode of its own.
fn signal_ends_the_run(signal: &str) {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.ipynb");
    write_notebook(
        &path,
        &[
            "1 + 1",
            "std::fs::write(\"begun\", \"\").unwrap(); for _ in progress(0..100_000) { std::thread::sleep(std::time::Duration::from_millis(10)); }",
            "3",
        ],
    );
    std::fs::rename(&path, folder.path().join("file")).unwrap();
    std::os::unix::fs::symlink("file", &path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let child = Command::new(rebit())
        .args(["run", "long.ipynb", "--in-place", "--report", "r.json"])
        .current_dir(folder.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        // A terminal sends Ctrl-C to a whole process group.
        .process_group(0)
        .spawn()
        .unwrap();
    let begun = folder.path().join("begun");
    let deadline = Instant::now() + Duration::from_secs(300);
    while !begun.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(begun.exists(), "the second cell did not begin");
    let interrupted = Command::new("kill")
        .args([&format!("-{signal}"), "--", &format!("-{}", child.id())])
        .status()
        .unwrap();
    assert!(interrupted.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(path.is_symlink());
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let notebook = json_file(&path);
    assert_eq!(
        notebook["cells"][0]["outputs"][0]["data"]["text/plain"],
        "2"
    );
    assert_eq!(notebook["cells"][1]["outputs"][0]["ename"], "interrupted");
    assert_eq!(notebook["cells"][2]["execution_count"], Value::Null);
    assert_eq!(
        json_file(&folder.path().join("r.json"))["cells"][2]["status"],
        "not run"
    );
}

#[test]
fn escape_sequences_of_a_notebook_do_not_reach_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let name = "a\u{1b}]0;title\u{7}.ipynb";
    write_notebook(
        &folder.path().join(name),
        &[
            "claim!(\"\u{1b}]52;c;Zm9v\u{7}is a claim\", true, paper: \"\u{9b}2J\", ours: 1);",
            "for _ in show::progress(0..2).label(\"\u{1b}[2J\") {}",
            "let \u{1b}]0;title\u{7} = 1;",
        ],
    );
    let output = run(folder.path(), &[name]);
    let all = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&all);
    assert!(said.contains("is a claim"), "{said}");
    let control = |c: &char| c.is_control() && *c != '\n' && *c != '\t';
    assert_eq!(said.chars().find(control), None, "{said:?}");
}
