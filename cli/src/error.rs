//! What can stop a verb.

use std::io::{self, ErrorKind};

use crate::demo::DemoError;
use crate::segment::NotUtf8;

/// Why a verb could not run, or not to its end. Each text is one line.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The segment can't be read.
    #[error(transparent)]
    Reader(#[from] dyn_metrics_reader::Error),
    /// No segment was found in a directory, or where a glob leads.
    #[error("{pattern}: no segment found{left_out}")]
    NothingFound {
        /// The directory or glob.
        pattern: String,
        /// What was found and left out, if anything.
        left_out: String,
    },
    /// The environment names the segment in bytes that are no text.
    #[error(transparent)]
    NotUtf8(#[from] NotUtf8),
    /// An option that the chosen format has no use for.
    #[error("--buckets is for tables: json and prometheus have every bucket without it")]
    BucketsWithoutTable,
    /// A file of declared metrics can't be read.
    #[error("{file}: {reason}, expected what Metrics::declared_json() writes")]
    Declared {
        /// The file.
        file: String,
        /// What was found.
        reason: String,
    },
    /// Standard output has gone.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    /// The demo could not run, or not to its end.
    #[error(transparent)]
    Demo(#[from] DemoError),
}

impl CliError {
    /// Whether only the reader of our output has gone.
    pub fn is_broken_pipe(&self) -> bool {
        let (Self::Output(error) | Self::Demo(DemoError::Output(error))) = self else { return false };
        error.kind() == ErrorKind::BrokenPipe
    }

    /// 1 for what had started, else 2.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Output(_) | Self::Demo(DemoError::Output(_) | DemoError::Ended { .. }) => 1,
            Self::Reader(_) | Self::Demo(_) | Self::NotUtf8(_) => 2,
            Self::NothingFound { .. } | Self::BucketsWithoutTable | Self::Declared { .. } => 2,
        }
    }

    /// As an error of output, which it may be.
    pub fn into_io(self) -> io::Error {
        match self {
            Self::Output(error) => error,
            other => io::Error::other(other),
        }
    }
}
