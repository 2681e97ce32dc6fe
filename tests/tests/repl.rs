//! `rebit repl` behind a pipe.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use rebit_tests::rebit;

fn repl(input: &str) -> Output {
    let mut child = Command::new(rebit())
        .arg("repl")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_string();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output
}

#[test]
fn ten_megabytes_in_an_open_brace_are_read_once() {
    // Judged after each line this would take hours.
    let comments = format!("// {}\n", "x".repeat(46)).repeat(200_000);
    let output = repl(&format!(
        "let a = 40;\n{{\n{comments}println!(\"{{}}\", a + 2);\n}}\n"
    ));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(said, "42\n");
}

#[test]
fn cells_that_no_compiler_follows_are_refused() {
    for (cell, word) in [
        ("(".repeat(100_000) + "1" + &")".repeat(100_000), "brackets"),
        ("1".to_string() + &"+1".repeat(100_000), "operators"),
        ("!".repeat(100_000) + "true", "operators"),
    ] {
        let output = repl(&format!("let kept = 40;\n{cell}\nkept + 2\n"));
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(complaint.contains(word), "{complaint:.500}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "42\n");
    }
}
