//! What cargo always answers: remembered, and cut down to what an analyser of cells needs.
//!
//! Each time evcxr's analyser loads a manifest it asks cargo half a dozen questions (metadata, target,
//! configuration). For the library's own manifest the answers never change. Of the metadata it gets only
//! the packages whose types appear in the library's signatures: reading the sources of all hundred
//! dependencies took most of a session's start. What is missing there, rustc is asked for.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::files;
use crate::workshop::interface::cut_down;

/// Stands for the session folder in a remembered answer.
const SESSION: &str = "@SESSION@";
/// The library's dependencies whose types cells hold in variables.
const HELD_BY_CELLS: [&str; 2] = ["dfdx", "rebit-wire"];

/// One remembered answer.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Answer {
    /// Exit status.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Answer {
    /// Prints the answer as the program would have; returns its exit status.
    pub fn give(&self) -> i32 {
        use std::io::Write;
        let _ = std::io::stdout().write_all(self.stdout.as_bytes());
        let _ = std::io::stderr().write_all(self.stderr.as_bytes());
        self.code
    }
}

/// The answer to `command` with `args`, from `folder` if it was given before.
///
/// # Errors
/// When the command cannot be started.
pub fn answer(
    folder: &Path,
    session: &Path,
    manifest: &str,
    args: &[String],
    mut command: Command,
) -> std::io::Result<Answer> {
    let place = session.display().to_string();
    let mut hash = Sha256::new();
    for part in args.iter().map(|arg| arg.replace(&place, SESSION)) {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.update(manifest.as_bytes());
    let name: String = hash.finalize()[..12]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let file = folder.join(format!("{name}.json"));
    if let Ok(text) = fs::read_to_string(&file)
        && let Ok(answer) = serde_json::from_str::<Answer>(&text.replace(SESSION, &place))
    {
        return Ok(answer);
    }
    let output = command.stdin(Stdio::null()).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut answer = Answer {
        code: output.status.code().unwrap_or(1),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    };
    if args.iter().any(|arg| arg == "metadata") {
        answer.stdout = for_types(answer.stdout);
    }
    if let Ok(text) = serde_json::to_string(&answer)
        && fs::create_dir_all(folder).is_ok()
    {
        // Without it the next session asks again.
        let _ = files::write(&file, text.replace(&place, SESSION).as_bytes());
    }
    Ok(answer)
}

/// Cargo's metadata without what tells no type that a cell holds in a variable: an analyser takes ten seconds to read all that
/// the library depends on. A crate that a cell adds stays, with what that depends on.
pub fn for_types(metadata: String) -> String {
    match serde_json::from_str(&metadata) {
        Ok(mut found) => {
            cut_down(&mut found, &HELD_BY_CELLS);
            found.to_string()
        }
        Err(_) => metadata,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_moves_to_the_next_session() {
        let folder = tempfile::tempdir().unwrap();
        let ask = |session: &str, program: &str| {
            let mut command = Command::new(program);
            command.arg(format!("{session}/Cargo.toml"));
            let args = ["locate".to_string(), format!("{session}/Cargo.toml")];
            answer(folder.path(), Path::new(session), "", &args, command)
        };
        assert_eq!(ask("/s/one", "echo").unwrap().stdout, "/s/one/Cargo.toml\n");
        // The second time nothing is started.
        let second = ask("/s/two", "/no/such/program").unwrap();
        assert_eq!(second.stdout, "/s/two/Cargo.toml\n");
    }
}
