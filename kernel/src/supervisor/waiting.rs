//! Whether a cell waits for its standard input.
//!
//! evcxr's protocol knows questions of its own functions only; a plain `stdin().read_line` says nothing
//! and waits. The system knows: a thread sleeps in a read of descriptor 0, and nothing is there to read.

use std::fs;

/// Whether a thread of `process` sleeps in a read of its standard input.
///
/// `false` also where the system does not tell; such a cell can be interrupted.
pub fn reads_stdin(process: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return false;
    };
    threads.flatten().any(|thread| {
        fs::read_to_string(thread.path().join("syscall")).is_ok_and(|call| is_read_of_stdin(&call))
    })
}

/// `/proc/ID/syscall`: number and arguments of the call in which a thread sleeps.
fn is_read_of_stdin(call: &str) -> bool {
    let mut words = call.split_whitespace();
    words.next().and_then(|number| number.parse().ok()) == Some(libc::SYS_read)
        && words.next() == Some("0x0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    #[test]
    fn a_call_is_recognised() {
        let read = libc::SYS_read;
        assert!(is_read_of_stdin(&format!(
            "{read} 0x0 0x7ffe 0x1000 0x0 0x0 0x0 0x7ffe 0x7f"
        )));
        assert!(!is_read_of_stdin(&format!(
            "{read} 0x3 0x7ffe 0x1000 0x0 0x0 0x0 0x7ffe 0x7f"
        )));
        assert!(!is_read_of_stdin("running"));
        assert!(!is_read_of_stdin("-1 0x7ffe 0x7f"));
    }

    #[test]
    fn a_process_that_waits_for_its_input_is_told_from_one_that_sleeps() {
        let mut reader = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut sleeper = Command::new("sleep")
            .arg("100")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !reads_stdin(reader.id()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(reads_stdin(reader.id()));
        assert!(!reads_stdin(sleeper.id()));
        for child in [&mut reader, &mut sleeper] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
