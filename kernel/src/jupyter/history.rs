//! What was run, in this session and in earlier ones.
//!
//! The file is one JSON object a line, appended to under a lock, so that kernels which run side by side
//! share it; a half-written last line (a killed kernel) is skipped when reading.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use jupyter_protocol::messaging::{HistoryEntry, HistoryReply, HistoryRequest};
use regex::Regex;

use crate::files;

/// Files over this many bytes are cut to their younger half when a session starts.
const LARGEST_FILE: u64 = 16 << 20;

/// Longer values are kept by their beginning.
const LONGEST_OUTPUT: usize = 64 << 10;

/// One cell that was run, or (line 0) the start of a session.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Line {
    session: usize,
    line: usize,
    #[serde(default)]
    input: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<String>,
}

/// The history of all sessions, oldest first.
pub struct History {
    file: Option<File>,
    session: usize,
    lines: Vec<Line>,
}

impl History {
    /// Reads the file and starts a new session in it. Without a usable file the history lives in
    /// memory only; why goes to the log.
    pub fn open(path: Option<&Path>) -> History {
        let opened = path.map(|path| {
            open_session(path).map_err(|e| log::warn!("history: {}: {e}", path.display()))
        });
        match opened {
            Some(Ok(history)) => history,
            _ => History {
                file: None,
                session: 1,
                lines: Vec::new(),
            },
        }
    }

    /// Remembers a cell and the text of its value.
    pub fn add(&mut self, line: usize, input: &str, output: Option<&str>) {
        let output =
            output.map(|text| text[..text.floor_char_boundary(LONGEST_OUTPUT)].to_string());
        let entry = Line {
            session: self.session,
            line,
            input: input.to_string(),
            output,
        };
        if let Some(file) = &mut self.file
            && let Err(e) = append(file, &entry)
        {
            log::warn!("history: {e}; kept in memory only");
            self.file = None;
        }
        self.lines.push(entry);
    }

    /// Answers a request.
    pub fn answer(&self, request: &HistoryRequest) -> HistoryReply {
        let (found, output) = match request {
            HistoryRequest::Tail { n, output, .. } => (self.tail(*n), *output),
            HistoryRequest::Range {
                session,
                start,
                stop,
                output,
                ..
            } => (self.range(session.unwrap_or(0), *start, *stop), *output),
            HistoryRequest::Search {
                pattern,
                unique,
                output,
                n,
                ..
            } => (self.search(pattern, *unique, *n), *output),
        };
        let entries = found.into_iter().map(|line| {
            let text = line.input.clone();
            match output {
                false => HistoryEntry::Input(line.session, line.line, text),
                true => {
                    let value = line.output.clone().unwrap_or_default();
                    HistoryEntry::InputOutput(line.session, line.line, (text, value))
                }
            }
        });
        HistoryReply::new(entries.collect())
    }

    fn cells(&self) -> impl DoubleEndedIterator<Item = &Line> {
        self.lines.iter().filter(|line| line.line > 0)
    }

    fn tail(&self, n: i32) -> Vec<&Line> {
        let mut found: Vec<_> = self.cells().rev().take(n.max(0) as usize).collect();
        found.reverse();
        found
    }

    /// Cells `start..stop` of a session; 0 is this one, negative numbers count back from it.
    fn range(&self, session: i32, start: i32, stop: i32) -> Vec<&Line> {
        let session = match session {
            1.. => session as i64,
            _ => self.session as i64 + session as i64,
        };
        let wanted = |line: &&Line| {
            let cell = line.line as i64;
            line.session as i64 == session && cell >= start as i64 && cell < stop as i64
        };
        self.cells().filter(wanted).collect()
    }

    fn search(&self, pattern: &str, unique: bool, n: i32) -> Vec<&Line> {
        let Some(pattern) = glob(pattern) else {
            return Vec::new();
        };
        let mut seen = std::collections::HashSet::new();
        let mut found: Vec<_> = self
            .cells()
            .rev()
            .filter(|line| pattern.is_match(&line.input))
            .filter(|line| !unique || seen.insert(line.input.as_str()))
            .take(n.max(0) as usize)
            .collect();
        found.reverse();
        found
    }
}

fn open_session(path: &Path) -> std::io::Result<History> {
    let mut file = private_file(path)?;
    file.lock()?;
    if file.metadata()?.len() > LARGEST_FILE {
        halve(path)?;
        file = OpenOptions::new().read(true).append(true).open(path)?;
        file.lock()?;
    }
    file.seek(SeekFrom::Start(0))?;
    let mut lines: Vec<Line> = BufReader::new(&file)
        .split(b'\n')
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_slice(&line).ok())
        .collect();
    let session = 1 + lines.iter().map(|line| line.session).max().unwrap_or(0);
    let start = Line {
        session,
        line: 0,
        input: String::new(),
        output: None,
    };
    write_line(&mut file, &start)?;
    file.unlock()?;
    lines.push(start);
    Ok(History {
        file: Some(file),
        session,
        lines,
    })
}

fn append(file: &mut File, line: &Line) -> std::io::Result<()> {
    file.lock()?;
    let written = write_line(file, line);
    file.unlock()?;
    written
}

/// Opens (or makes) a file that only its owner can read: cells hold passwords now and then.
pub fn private_file(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    if file.metadata()?.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// One write call a line; it starts with a line break in case the last writer was killed in the middle.
fn write_line(file: &mut File, line: &Line) -> std::io::Result<()> {
    let json = serde_json::to_string(line)?;
    file.write_all(format!("\n{json}").as_bytes())
}

fn halve(path: &Path) -> std::io::Result<()> {
    let text = std::fs::read(path)?;
    let middle = text.len() / 2;
    let cut = text[middle..]
        .iter()
        .position(|&b| b == b'\n')
        .map_or(text.len(), |i| middle + i);
    files::write_private(path, &text[cut..]).map_err(std::io::Error::other)
}

/// A pattern of `*` (anything) and `?` (one character), from end to end.
fn glob(pattern: &str) -> Option<Regex> {
    let pattern = regex::escape(pattern)
        .replace(r"\*", ".*")
        .replace(r"\?", ".");
    // Only a pattern of megabytes is refused.
    Regex::new(&format!("(?s)^{pattern}$")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(lines: Vec<&Line>) -> Vec<&str> {
        lines.into_iter().map(|line| line.input.as_str()).collect()
    }

    #[test]
    fn sessions_follow_each_other_and_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/history.jsonl");
        let mut first = History::open(Some(&file));
        first.add(1, "let a = 1;", None);
        first.add(2, "a\n+ 1", Some("2"));
        drop(first);
        // A kernel was killed while it wrote.
        let mut broken = OpenOptions::new().append(true).open(&file).unwrap();
        broken.write_all(b"\n{\"session\": 1, \"li").unwrap();

        let mut second = History::open(Some(&file));
        second.add(1, "let b = 2;", None);
        assert_eq!(second.session, 2);
        assert_eq!(inputs(second.tail(2)), ["a\n+ 1", "let b = 2;"]);
        assert_eq!(inputs(second.range(0, 1, 2)), ["let b = 2;"]);
        assert_eq!(inputs(second.range(-1, 2, 99)), ["a\n+ 1"]);
        assert_eq!(inputs(second.range(1, 1, 2)), ["let a = 1;"]);
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let third = History::open(Some(&file));
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(third.session, 3);
        assert_eq!(third.cells().count(), 3);
    }

    #[test]
    fn searching_is_by_glob_from_end_to_end() {
        let mut history = History::open(None);
        for (i, input) in ["a1", "b", "a1", "a2"].iter().enumerate() {
            history.add(i + 1, input, None);
        }
        assert_eq!(inputs(history.search("a*", false, 99)), ["a1", "a1", "a2"]);
        assert_eq!(inputs(history.search("a*", true, 99)), ["a1", "a2"]);
        assert_eq!(inputs(history.search("a?", false, 2)), ["a1", "a2"]);
        assert!(history.search("2", false, 99).is_empty());
        let matches = |pattern, text| glob(pattern).unwrap().is_match(text);
        assert!(matches("*1*\n*", "x1y\nz") && !matches("?", "") && matches("**", ""));
        assert!(matches("fn f() {?[*", "fn f() {é[0]") && !matches("a.", "ab"));
    }

    #[test]
    fn answers_carry_outputs_when_asked() {
        let mut history = History::open(None);
        history.add(1, "1 + 1", Some("2"));
        let tail = |output| HistoryRequest::Tail {
            n: 5,
            output,
            raw: true,
        };
        let json = |output| serde_json::to_value(history.answer(&tail(output)).history).unwrap();
        assert_eq!(json(false), serde_json::json!([[1, 1, "1 + 1"]]));
        assert_eq!(json(true), serde_json::json!([[1, 1, ["1 + 1", "2"]]]));
    }
}
