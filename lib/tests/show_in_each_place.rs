//! What a cell says to rebit's kernel, to the stock evcxr kernel and to a terminal.
//!
//! The place is found out once per process, so each test runs `the_cell` in a child with its own
//! environment and reads what the child wrote.

use std::process::Command;

use rebit::prelude::*;
use rebit::show::{self, clear_output};
use rebit_wire::{Message, Piece, Splitter};

const PREFIX: &str = "\u{1}rebit 4242:";
const CELL: &str = "REBIT_TEST_CELL";

#[test]
fn the_cell() {
    if std::env::var_os(CELL).is_none() {
        return;
    }
    print!("unfinished line");
    show::html("<b>bold</b>");
    println!("between");
    display(&Table::new(["a"]).row((1,)));
    let mut live = LiveDisplay::new();
    for step in 0..100 {
        live.update_with(move || Table::new(["step"]).row((step,)));
    }
    live.finish();
    for _ in progress(0..3).label("loop") {}
    claim!("two is more than one", 2 > 1, paper: 1, ours: 2);
    finding!("a figure", paper: 5.05, ours: spread(0.3, 0.4), "20 epochs");
    clear_output(true);
    show::text(format!("budget {}", budget()));
}

fn run_cell(environment: &[(&str, &str)]) -> Vec<u8> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["the_cell", "--exact", "--nocapture"])
        .env_remove("REBIT_WIRE")
        .env_remove("REBIT_BUDGET")
        .env_remove("EVCXR_IS_RUNTIME")
        .env(CELL, "1")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn our_kernel_gets_every_message_in_the_order_of_the_cell() {
    let bytes = run_cell(&[("REBIT_WIRE", PREFIX), ("REBIT_BUDGET", "quick")]);
    let mut said = Vec::new();
    let mut ids = Vec::new();
    for piece in Splitter::new(PREFIX).push(&bytes) {
        match piece {
            Piece::User(bytes) => {
                let text = String::from_utf8(bytes).unwrap();
                for word in ["unfinished line", "between"] {
                    if text.contains(word) {
                        said.push(word.to_string());
                    }
                }
            }
            Piece::Message(Message::Display { id, data, .. }) => {
                ids.extend(id);
                said.push(format!("display {}", data["text/plain"].as_str().unwrap()));
            }
            Piece::Message(Message::UpdateDisplay { id, data, .. }) => {
                ids.push(id);
                said.push(format!("update {}", data["text/plain"].as_str().unwrap()));
            }
            Piece::Message(Message::Progress {
                done,
                total,
                finished,
                ..
            }) => said.push(format!("progress {done} of {total:?} {finished}")),
            Piece::Message(Message::Claim {
                holds, ours, paper, ..
            }) => said.push(format!("claim {holds} {ours} {paper}")),
            Piece::Message(Message::Finding { ours, paper, .. }) => {
                said.push(format!("finding {ours} {paper}"));
            }
            Piece::Message(other) => said.push(format!("{other:?}")),
        }
    }
    let expected = [
        "unfinished line",
        "display [HTML]",
        "between",
        "display a\n-\n1\n",
        // Of a hundred quick redraws the first and the last are shown.
        "display step\n----\n   0\n",
        "update step\n----\n  99\n",
        "progress 0 of Some(3) false",
        "progress 3 of Some(3) true",
        "display [holds] two is more than one (paper: 1; ours: 2)",
        "claim true 2 1",
        "display [finding] a figure (paper: 5.05; ours: 0.30 ± 0.40): 20 epochs",
        "finding 0.30 ± 0.40 5.05",
        "ClearOutput { wait: true }",
        "display budget quick",
    ];
    assert_eq!(said, expected);
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn the_stock_kernel_gets_content_blocks_and_the_last_state_of_a_live_display() {
    let out = String::from_utf8(run_cell(&[("EVCXR_IS_RUNTIME", "1")])).unwrap();
    assert!(out.contains("EVCXR_BEGIN_CONTENT text/html\n<b>bold</b>\nEVCXR_END_CONTENT\n"));
    assert!(
        out.contains("EVCXR_BEGIN_CONTENT text/plain\nstep\n----\n  99\n"),
        "{out}"
    );
    assert!(!out.contains("   0\n"), "{out}");
    assert!(out.contains("budget standard"), "{out}");
}

#[test]
fn a_terminal_gets_text() {
    let out = String::from_utf8(run_cell(&[("REBIT_BUDGET", "full")])).unwrap();
    for part in [
        "[HTML]\n",
        "a\n-\n1\n",
        "  99\n",
        "[holds] two is",
        "budget full\n",
    ] {
        assert!(out.contains(part), "{part} is not in {out}");
    }
    assert!(!out.contains("EVCXR") && !out.contains("\"kind\""), "{out}");
}
