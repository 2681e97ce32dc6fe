//! What can go wrong outside a cell, said so that the reader knows what to do next.

use std::path::PathBuf;

/// The kernel's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every error of the kernel; an error *inside* a cell is a [`Failure`](crate::output::Failure) instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program that a session needs is missing or does not work.
    #[error("{what}. {remedy}")]
    Tool {
        /// What is missing or broken.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// The library could not be compiled.
    #[error("the library in {} does not compile:\n{report}", library.display())]
    Library {
        /// The folder of the library.
        library: PathBuf,
        /// The last lines of cargo's report.
        report: String,
    },
    /// A session could not be started or went away.
    #[error("session: {0}")]
    Session(String),
    /// A notebook is missing, is not JSON, or is not a notebook.
    #[error("{}: {why}", path.display())]
    Notebook {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// An input/output error that names its file; a full disk also says what to do.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        let path = path.into();
        if source.kind() == std::io::ErrorKind::StorageFull {
            return Error::Tool {
                what: format!("{}: the disk is full", path.display()),
                remedy: "Free some space, or set REBIT_CACHE to a folder on another disk"
                    .to_string(),
            };
        }
        Error::Io { path, source }
    }
}
