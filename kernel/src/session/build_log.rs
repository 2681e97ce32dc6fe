//! Cargo's progress for `:dep` lines, as text of the cell.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::output::Output;
use crate::workshop::session_files::BUILD_LOG;

/// Shows what the real cargo does for `:dep` lines.
pub struct BuildLog {
    path: PathBuf,
    shown: u64,
}

impl BuildLog {
    /// A log that nothing of is shown yet.
    pub fn new(folder: &Path) -> BuildLog {
        let path = folder.join(BUILD_LOG);
        let _ = fs::remove_file(&path);
        BuildLog { path, shown: 0 }
    }

    /// Shows the whole lines that are new.
    pub fn show(&mut self, sink: &mut dyn FnMut(Output)) {
        let Ok(mut file) = fs::File::open(&self.path) else {
            return;
        };
        let mut text = Vec::new();
        if file.seek(SeekFrom::Start(self.shown)).is_err() || file.read_to_end(&mut text).is_err() {
            return;
        }
        let Some(end) = text.iter().rposition(|&b| b == b'\n') else {
            return;
        };
        self.shown += end as u64 + 1;
        sink(Output::stderr(String::from_utf8_lossy(&text[..=end])));
    }
}
