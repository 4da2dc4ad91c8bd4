//! Why a segment can't be read.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::permission::Permissions;
use crate::printable::printable;

/// Result of reading a segment.
pub type Result<T> = std::result::Result<T, Error>;

/// A segment that can't be read. Each text is one line with the path, what was found and what was expected.
#[non_exhaustive]
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Nothing has this name.
    #[error("{}: no such file, expected a segment", Line(path))]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// The path leads to something that is no regular file.
    #[error("{}: found a {found}, expected a regular file", Line(path))]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is: `directory`, `FIFO`, `symbolic link`, ...
        found: &'static str,
    },
    /// This process may not read the file.
    #[error("{}: permission denied: {permissions}", Line(path))]
    PermissionDenied {
        /// The path.
        path: PathBuf,
        /// Who asked, whose file it is, and what would help.
        permissions: Permissions,
    },
    /// A system call failed.
    #[error("{}: {action} failed: {source}", Line(path))]
    Io {
        /// The path.
        path: PathBuf,
        /// Which call.
        action: &'static str,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The bytes are not those of a segment that this version reads.
    #[error("{}: {source}", Line(path))]
    Format {
        /// The path.
        path: PathBuf,
        /// What is wrong with them.
        source: dyn_metrics_layout::Error,
    },
    /// The file became shorter while it was mapped: somebody truncated it.
    #[error("{}: segment shrank: found {found} bytes, expected {expected}", Line(path))]
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

/// A path within one line of text.
struct Line<'p>(&'p Path);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0.to_string_lossy()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_path_stays_one_harmless_line() {
        let path = || PathBuf::from("/dev/shm/a\\n\n\x1b[31mb\u{202e}c");
        for error in [
            Error::NotFound { path: path() },
            Error::NotAFile { path: path(), found: "FIFO" },
            Error::io(path(), "open", io::Error::from_raw_os_error(libc::EIO)),
            Error::format(path(), dyn_metrics_layout::Error::WrongEndian),
            Error::Shrank { path: path(), found: 1, expected: 2 },
        ] {
            let text = error.to_string();
            assert!(text.starts_with(r"/dev/shm/a\\n\n\u{1b}[31mb\u{202e}c: "), "{text}");
        }
    }
}
