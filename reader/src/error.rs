//! Why a segment can't be read.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::permission::Permissions;

/// Result of reading a segment.
pub type Result<T> = std::result::Result<T, Error>;

/// A segment that can't be read. Each text is one line with the path, what was found and what was expected.
#[non_exhaustive]
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Nothing has this name.
    #[error("{}: no such file, expected a segment", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// The path leads to something that is no regular file.
    #[error("{}: found a {found}, expected a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is: `directory`, `FIFO`, `symbolic link`, ...
        found: &'static str,
    },
    /// This process may not read the file.
    #[error("{}: permission denied: {permissions}", path.display())]
    PermissionDenied {
        /// The path.
        path: PathBuf,
        /// Who asked, whose file it is, and what would help.
        permissions: Permissions,
    },
    /// A system call failed.
    #[error("{}: {action} failed: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Which call.
        action: &'static str,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The bytes are not those of a segment that this version reads.
    #[error("{}: {source}", path.display())]
    Format {
        /// The path.
        path: PathBuf,
        /// What is wrong with them.
        source: dyn_metrics_layout::Error,
    },
    /// The file became shorter while it was mapped: somebody truncated it.
    #[error("{}: segment shrank: found {found} bytes, expected {expected}", path.display())]
    Shrank {
        /// The path.
        path: PathBuf,
        /// Its length now.
        found: u64,
        /// Its length before.
        expected: u64,
    },
}

impl Error {
    /// Wraps what a system call said.
    pub(crate) fn io(path: impl Into<PathBuf>, action: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Io { path: path.into(), action, source: Arc::new(source.into()) }
    }

    /// Wraps a fault in the bytes.
    pub(crate) fn format(path: impl Into<PathBuf>, source: dyn_metrics_layout::Error) -> Self {
        Self::Format { path: path.into(), source }
    }
}
