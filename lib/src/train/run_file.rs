//! The state of a loop of one's own, in a file that tells its run from others.

use std::path::PathBuf;

use super::{check_same_run, from_bytes, read_state, to_bytes, write_state};
use crate::{Error, Result};

/// Where a loop of one's own keeps its state, and what makes its run what it is: the state of another run is refused, with
/// the first difference.
///
/// ```
/// use rebit::prelude::*;
/// use rebit::train::RunFile;
/// let path = std::env::temp_dir().join("rebit-doc-run.state");
/// let net = resnet20(10, rng(0));
/// let mut sgd = Sgd::new(0.1).momentum(0.9).over(&net)?;
/// let file = RunFile::new(Some(path.clone()), "my loop 1").of("settings", "lr: 0.1, seed: 0");
/// file.write(|| Ok((7usize, sgd.state()?)))?;
///
/// // Later, in another process:
/// if let Some((step, state)) = file.read::<(usize, Vec<rebit::nn::StateTensor>)>()? {
///     sgd.restore(&state)?;
///     assert_eq!(step, 7);
/// }
/// let other = RunFile::new(Some(path.clone()), "my loop 1").of("settings", "lr: 0.1, seed: 1");
/// let error = other.read::<(usize, Vec<rebit::nn::StateTensor>)>().unwrap_err().to_string();
/// assert!(error.contains("its settings: seed: 0 there, seed: 1 here"));
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RunFile {
    path: Option<PathBuf>,
    parts: Vec<(String, String)>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Written {
    parts: Vec<(String, String)>,
    state: Vec<u8>,
}

impl RunFile {
    /// The file at `path`, in a format of this name and version. Without a path nothing is ever found or written.
    pub fn new(path: Option<PathBuf>, format: &str) -> Self {
        let parts = Vec::new();
        RunFile { path, parts }.of("format", format)
    }

    /// Says what two runs must agree on too.
    pub fn of(mut self, what: &str, is: impl Into<String>) -> Self {
        self.parts.push((what.into(), is.into()));
        self
    }

    /// What was written; `None` where there is no file.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read, [`Error::Data`] for that of another run.
    pub fn read<S: serde::de::DeserializeOwned>(&self) -> Result<Option<S>> {
        let Some(path) = &self.path else {
            return Ok(None);
        };
        let Some(Written { parts, state }) = read_state(path)? else {
            return Ok(None);
        };
        let found = |what: &str| {
            let part = parts.iter().find(|(name, _)| name == what);
            part.map_or("", |(_, is)| is)
        };
        let pairs = self
            .parts
            .iter()
            .map(|(what, is)| (&what[..], found(what), &is[..]));
        check_same_run(path, &pairs.collect::<Vec<_>>())?;
        let state = from_bytes(&state);
        let broken = |e| Error::data(path, e, "Remove the file to start the run afresh");
        state.map(Some).map_err(broken)
    }

    /// Writes what `state` gives, which is asked only where there is a file; it appears whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written, and those of `state`.
    pub fn write<S: serde::Serialize>(&self, state: impl FnOnce() -> Result<S>) -> Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let written = Written {
            parts: self.parts.clone(),
            state: to_bytes(&state()?)?,
        };
        write_state(path, &written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_path_nothing_is_asked_or_found() -> Result<()> {
        let file = RunFile::new(None, "f");
        file.write(|| -> Result<u32> { panic!("asked") })?;
        assert!(file.read::<u32>()?.is_none());
        Ok(())
    }

    #[test]
    fn a_file_of_another_run_or_another_type_is_refused() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = Some(folder.path().join("run"));
        let file = RunFile::new(path.clone(), "f 1").of("network", "a");
        assert!(file.read::<u32>()?.is_none());
        file.write(|| Ok(5u32))?;
        assert_eq!(file.read::<u32>()?, Some(5));
        let error = |file: RunFile| file.read::<u32>().unwrap_err().to_string();
        let other = RunFile::new(path.clone(), "f 2").of("network", "b");
        assert!(error(other).contains("its format: f 1 there, f 2 here"));
        let other = RunFile::new(path.clone(), "f 1").of("network", "b");
        assert!(error(other).contains("its network"));
        let more = RunFile::new(path, "f 1").of("network", "a").of("seed", "1");
        assert!(error(more).contains("its seed"));
        let error = file.read::<Vec<String>>().unwrap_err().to_string();
        assert!(error.contains("Remove the file"), "{error}");
        Ok(())
    }
}
