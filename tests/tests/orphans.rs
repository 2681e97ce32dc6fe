//! Compilers whose kernel is gone, however early.

use std::process::{Command, Stdio};

use rebit_tests::rebit;

/// The output of the wrapper around rustc, asked to work for `owner`.
fn wrapper(owner: u32) -> std::process::Output {
    Command::new(rebit())
        .args(["no-compiler", "--version"])
        .env("REBIT_FURTHER", "/nowhere")
        .env("REBIT_OWNER", owner.to_string())
        .output()
        .unwrap()
}

#[test]
fn a_compiler_that_starts_after_its_kernel_has_died_does_nothing() {
    let said = String::from_utf8(wrapper(std::process::id()).stderr).unwrap();
    assert!(said.contains("no session here"), "{said}");
    // A process that is alive, and not above the wrapper.
    let mut other = Command::new("sleep")
        .arg("60")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let output = wrapper(other.id());
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.is_empty(), "{output:?}");
}
